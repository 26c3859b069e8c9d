//go:build verbs

package verbs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"healkv/cgo/ibverbs"
	"healkv/rdma"
)

// fault breaks something of a lane; mend undoes what does not mend by itself.
type fault struct {
	name string
	lane func(p *pair, o *outLane, n *inLane) (mend func())
	read func(p *pair, r *remote) (mend func())
	anew bool // nothing arrives before another lane is opened
	late bool // mend looks for a late write
}

const openedAnew = "opened anew, resumed"

func nothing() {}

// faults are the kinds that need one process only.
func faults(t *testing.T) []fault {
	netdev := os.Getenv("HEALKV_VERBS_NETDEV")
	ip := func(state string) {
		if out, err := exec.Command("ip", "link", "set", netdev, state).CombinedOutput(); err != nil {
			t.Fatalf("ip link set %s %s: %v: %s", netdev, state, err, out)
		}
	}
	down := func(p *pair) func() {
		ip("down")
		return func() { ip("up") }
	}
	all := []fault{
		{"queue pair to ERR", func(_ *pair, o *outLane, _ *inLane) func() {
			o.qp.Err()
			return nothing
		}, func(_ *pair, r *remote) func() {
			r.qp.Err()
			return nothing
		}, true, false},
		{"wrong rkey", func(_ *pair, o *outLane, _ *inLane) func() {
			o.ringKey ^= 0x5a00
			o.lineKey ^= 0x5a00
			return nothing
		}, func(_ *pair, r *remote) func() {
			r.windows[0].key ^= 0x5a00
			return nothing
		}, true, false},
		{"late write after fencing", func(p *pair, o *outLane, n *inLane) func() {
			p.b.mu.Lock()
			p.b.noted(n.fence())
			p.b.mu.Unlock()
			ring, words := bytes.Clone(n.ring), bytes.Clone(n.words[:lineBytes])
			// A write by the key that was good, behind the writer's back.
			late := []ibverbs.Request{{QP: o.qp.Handle(), ID: requestID(1<<20, kindWrite, 0), Local: p.a.stagingAt, LocalKey: p.a.stagingMR.LKey,
				Remote: o.ringAt, RemoteKey: o.ringKey, Bytes: 4096, Op: ibverbs.OpWrite}}
			ibverbs.Burst(p.a.dev.cq, late, nil)
			return func() {
				p.b.mu.Lock()
				defer p.b.mu.Unlock()
				if !slices.Contains(p.b.in[0], n) {
					return // given up meanwhile, with its memory
				}
				p.compared++
				if !bytes.Equal(ring, n.ring) || !bytes.Equal(words, n.words[:lineBytes]) {
					p.c.t.Error("a write after the fence arrived")
				}
			}
		}, func(p *pair, r *remote) func() { // the one that is read has fenced
			p.b.mu.Lock()
			p.b.exposed.readers[len(p.b.exposed.readers)-1].qp.Err()
			p.b.mu.Unlock()
			return nothing
		}, false, true},
		{"deregistration under way", func(p *pair, _ *outLane, n *inLane) func() {
			n.ringMR.Close()
			mr, err := p.b.dev.register(n.ring, ibverbs.AccessLocalWrite|ibverbs.AccessRemoteWrite)
			if err != nil {
				p.c.t.Fatal(err)
			}
			n.ringMR = mr
			return nothing
		}, func(p *pair, r *remote) func() {
			p.b.mu.Lock()
			defer p.b.mu.Unlock()
			w := &p.b.exposed.readers[len(p.b.exposed.readers)-1].windows[0]
			w.mr.Close()
			mr, err := p.b.dev.register(p.b.exposed.mem[:len(p.b.exposed.mem)/2], ibverbs.AccessRemoteRead)
			if err != nil {
				p.c.t.Fatal(err)
			}
			w.mr = mr
			return nothing
		}, false, false},
	}
	if netdev != "" {
		all = append(all, fault{"link down", func(p *pair, _ *outLane, _ *inLane) func() { return down(p) },
			func(p *pair, _ *remote) func() { return down(p) }, false, false})
	}
	return all
}

const rounds = 5

// TestFaultTable runs every kind of fault in every phase: each ends in a clear
// state, none hangs.
func TestFaultTable(t *testing.T) {
	needDevice(t)
	p := newPair(t)
	mem := p.c.memory(3 << 20)
	t.Cleanup(func() { p.a.Close(); p.b.Close(); unmapMemory(mem) })
	for i := range mem {
		mem[i] = byte(i ^ i>>8)
	}
	if err := p.b.Expose(rdma.Exposed{Mem: mem, Size: int64(len(mem))}); err != nil {
		t.Fatal(err)
	}
	phases := []struct {
		name string
		run  func(*testing.T, *pair, fault) string
	}{
		{"streaming", streaming}, {"asleep", asleep}, {"attaching", attaching}, {"recovering by READ", recovering},
	}
	table, cells := "", 0
	for _, f := range faults(t) {
		for _, phase := range phases {
			states, began, compared := map[string]int{}, time.Now(), p.compared
			for range rounds {
				state := phase.run(t, p, f)
				if t.Failed() {
					t.Fatalf("%s while %s", f.name, phase.name)
				}
				states[state]++
				cells++
			}
			row := fmt.Sprintf("%-26s %-20s %v %v", f.name, phase.name, states, (time.Since(began) / rounds).Round(time.Millisecond))
			t.Log(row)
			table += row + "\n"
			if f.anew && phase.name == "streaming" && states[openedAnew] != rounds {
				t.Errorf("%s while %s: %v; want %q every time", f.name, phase.name, states, openedAnew)
			}
			if f.late && phase.name != "recovering by READ" && p.compared == compared {
				t.Errorf("%s while %s: the lane's memory was not looked at once", f.name, phase.name)
			}
		}
	}
	kinds := 4 // with TestProcessKilled there are six
	if os.Getenv("HEALKV_VERBS_NETDEV") != "" {
		kinds = 5
	} else {
		t.Log("missing feature: HEALKV_VERBS_NETDEV, whose link may be cut: the kind \"link down\" is left out")
	}
	if cells != kinds*len(phases)*rounds {
		t.Fatalf("%d runs, want %d kinds in %d phases, %d times each", cells, kinds, len(phases), rounds)
	}
	t.Logf("%d runs, %d late writes looked for\n%s", cells, p.compared, table)
}

// laneOf is the lane from the writer to the reader, both ends.
func (p *pair) laneOf() (*outLane, *inLane) {
	o := p.a.peers[1].out
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	for _, n := range p.b.in[0] {
		if ibverbs.Address(n.words) == o.lineAt {
			return o, n
		}
	}
	p.c.t.Fatal("the writer's lane ends nowhere")
	return nil, nil
}

func streaming(t *testing.T, p *pair, f fault) string {
	p.send(20)
	if !p.arrived() {
		return "hangs"
	}
	remade := p.a.Counters().Remade
	o, n := p.laneOf()
	mend := f.lane(p, o, n)
	for range 10 {
		p.send(3)
		p.write()
		p.read()
	}
	broke := p.until("the lane breaks or goes on", func() bool { return o.broken || p.got == p.sent })
	mend()
	if !broke || !p.arrived() {
		return "hangs"
	}
	return p.state(remade)
}

// state says how the lane came through.
func (p *pair) state(remade uint64) string {
	p.send(1)
	if !p.arrived() {
		return "hangs"
	}
	if p.a.Counters().Remade == remade {
		return "went on"
	}
	return openedAnew
}

func asleep(t *testing.T, p *pair, f fault) string {
	if !p.arrived() {
		return "hangs"
	}
	p.c.settle()
	remade := p.a.Counters().Remade
	o, n := p.laneOf()
	target := p.sent + 3
	woken := make(chan struct{})
	var stop atomic.Bool
	go func() { // the reader's worker
		defer close(woken)
		for p.got < target && !stop.Load() {
			p.b.PrepareSleep()
			p.read()
			if p.got >= target {
				p.b.CancelSleep()
				return
			}
			p.b.Sleep(-1)
		}
	}()
	for p.b.bell.state.Load() != bellAsleep {
		p.write()
	}
	mend := f.lane(p, o, n)
	p.send(3)
	began := time.Now()
	mended := false
	for waiting := true; waiting; {
		select {
		case <-woken:
			waiting = false
		default:
			p.write()
			if !mended && (o.broken || time.Since(began) > time.Second) {
				mend()
				mended = true
			}
			if time.Since(began) > 30*time.Second { // lost wake-up
				stop.Store(true)
				p.b.Wake()
			}
		}
	}
	if !mended {
		mend()
	}
	if p.got != target {
		t.Errorf("hangs: %d entries of %d", p.got, target)
		return "hangs"
	}
	if !p.arrived() {
		return "hangs"
	}
	if s := p.state(remade); s != "went on" {
		return s + ", woken"
	}
	return "went on, woken"
}

func attaching(t *testing.T, p *pair, f fault) string {
	if !p.arrived() {
		return "hangs"
	}
	at := p.a.Out().Tail()
	p.detach(p.a, p.b)
	l := p.prepare(p.a, p.b)
	p.b.mu.Lock()
	in := p.b.in[0][len(p.b.in[0])-1]
	p.b.mu.Unlock()
	remade := p.a.Counters().Remade
	mend := f.lane(p, l.next, in)
	p.a.Attach(l)
	p.a.Feed(1, at)
	p.send(3)
	for began := time.Now(); time.Since(began) < 5*time.Second && p.got != p.sent; {
		if o := p.a.peers[1].out; o != nil && o.broken || p.a.Counters().Remade != remade {
			break
		}
		p.write()
		p.read()
	}
	mend()
	if !p.arrived() {
		return "hangs"
	}
	p.c.settle()
	return p.state(remade)
}

func recovering(t *testing.T, p *pair, f fault) string {
	r, err := p.a.Remote(1, 1)
	if err != nil {
		t.Errorf("remote: %v", err)
		return "hangs"
	}
	buf := make([]byte, 1<<20)
	if _, err := r.ReadAt(buf, 0); err != nil {
		t.Errorf("before the fault: %v", err)
	}
	mend := f.read(p, r.(*remote))
	began := time.Now()
	_, err = r.ReadAt(buf, 1<<20)
	mend()
	if !errors.Is(err, ErrRead) || time.Since(began) > 2*readTime {
		t.Errorf("after the fault: %v in %v", err, time.Since(began))
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if r, err = p.a.Remote(1, 1); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("hangs: %v", err)
			return "hangs"
		}
	}
	defer r.Close()
	if _, err := r.ReadAt(buf, 1<<20); err != nil {
		t.Error(err)
	}
	for i := range buf {
		if k := i + 1<<20; buf[i] != byte(k^k>>8) {
			t.Errorf("byte %d is wrong", k)
			break
		}
	}
	if !p.arrived() { // the link may have been broken with it
		return "hangs"
	}
	return "error, then read anew"
}
