//go:build verbs

package verbs

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"healkv/rdma"
	"healkv/rdma/conformance"
)

// deviceCounters are those of a port that Soft-RoCE keeps, and some adapters.
type deviceCounters struct {
	t   testing.TB
	dir string
}

func countersOf(t testing.TB, e *Endpoint) deviceCounters {
	t.Helper()
	name := os.Getenv("HEALKV_VERBS_DEVICE")
	d := deviceCounters{t, filepath.Join("/sys/class/infiniband", name, "ports", strconv.Itoa(e.dev.port), "hw_counters")}
	if _, err := os.Stat(filepath.Join(d.dir, "sent_pkts")); name == "" || err != nil {
		t.Skipf("missing feature: a device that is named in HEALKV_VERBS_DEVICE and counts its packets (%v)", err)
	}
	return d
}

func (d deviceCounters) read(name string) uint64 {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		d.t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// repeated grows when packets went more than once.
func (d deviceCounters) repeated() (n uint64) {
	for _, name := range []string{"completer_retry_err", "duplicate_request", "rcvd_seq_err"} {
		n += d.read(name)
	}
	return n
}

// The packets of a burst to one peer are at their minimum: as many as its bytes
// fill and one for the line behind them, and one acknowledgement for each of the
// two. Watermarks alone are one packet and its acknowledgement. Both ends are on
// one device, which counts all of them.
func TestPacketsOfABurst(t *testing.T) {
	c := newCluster(t)
	p := &pair{c: c, a: c.end(0, 1), b: c.end(1, 1)}
	p.attach(p.a, p.b)
	p.attach(p.b, p.a)
	p.a.Feed(1, 0)
	c.settle()
	d := countersOf(t, p.a)
	mtu := uint64(p.a.dev.mtu)
	var m rdma.Marks
	for _, x := range []struct {
		what    string
		entries uint64
	}{
		{"watermarks alone", 0}, {"an entry", 1}, {"a packet full of entries", mtu / entryBytes}, {"one entry more", mtu/entryBytes + 1}, {"three packets of entries", 3 * mtu / entryBytes},
	} {
		bytes := x.entries * entryBytes
		packets, writes := (bytes+mtu-1)/mtu+1, uint64(2)
		if x.entries == 0 {
			writes = 1
		}
		counted := 0
		for try := 0; counted < 10 && try < 200; try++ {
			before, again := d.read("sent_pkts"), d.repeated()
			whole := p.a.Out().Tail()%conformance.RingBytes+bytes <= conformance.RingBytes
			for range x.entries {
				if _, _, ok := p.a.Out().Next(entryBytes); !ok {
					t.Fatal("ring full")
				}
			}
			p.a.Publish()
			m.Visible++
			p.a.PublishMarks(1, &m)
			p.a.WakePeers()
			c.settle()
			sent := d.read("sent_pkts") - before
			p.a.Out().Reclaim(p.a.Out().Tail())
			if d.repeated() != again || !whole { // a busy machine; round the ring's end it is one write more
				continue
			}
			counted++
			if want := packets + writes; sent != want {
				t.Fatalf("%s: %d packets, want %d: %d of %d writes, and an acknowledgement of each", x.what, sent, want, packets, writes)
			}
		}
		if counted < 10 {
			t.Errorf("%s: only %d bursts went without a repetition", x.what, counted)
		}
		t.Logf("%s: %d bytes in %d packets and %d acknowledgements, path MTU %d, %d bursts", x.what, bytes, packets, writes, mtu, counted)
	}
}

// pingBytes is the stream entry whose latency is told.
const pingBytes = 64

// How long a 64-byte stream entry takes to the other end, as ib_write_lat tells
// it: half a round trip between two workers that look all the time. Each entry
// goes with the line behind it, and its reader's watermark comes back with the
// answer.
func TestLatencyOfAnEntry(t *testing.T) {
	c := newCluster(t)
	p := &pair{c: c, a: c.end(0, 1), b: c.end(1, 1)}
	p.attach(p.a, p.b)
	p.attach(p.b, p.a)
	p.a.Feed(1, 0)
	p.b.Feed(0, 0)
	c.settle()
	p.a.everySends, p.b.everySends = false, false
	const warm, rounds = 50, 1000
	deadline := time.Now().Add(2 * time.Minute)
	var lost atomic.Bool
	// throw sends number n, catch waits for it.
	throw := func(e *Endpoint, peer int, n uint64) {
		dst, _, ok := e.Out().Next(pingBytes)
		if !ok {
			t.Error("ring full")
			lost.Store(true)
			return
		}
		binary.LittleEndian.PutUint64(dst, n)
		e.Publish()
		var m rdma.Marks
		if in := e.Mirror(peer); in != nil {
			m.Applied = in.Cursor()
		}
		e.PublishMarks(peer, &m)
		e.WakePeers()
	}
	catch := func(e *Endpoint, peer int, n uint64) {
		for turns := 0; !lost.Load(); turns++ {
			e.Poll()
			var w []byte
			var err error
			m := e.Mirror(peer)
			if m != nil {
				w, err = m.Window()
			}
			if w != nil && err == nil {
				if x := binary.LittleEndian.Uint64(w); x != n {
					t.Errorf("entry %d, want %d", x, n)
					lost.Store(true)
				}
				m.Advance(pingBytes)
				var marks rdma.Marks
				e.Marks(peer, &marks)
				if marks.Applied > e.Out().Reclaimed() && marks.Applied <= e.Out().Tail() {
					e.Out().Reclaim(marks.Applied)
				}
				return
			}
			if err != nil || turns%1024 == 0 && time.Now().After(deadline) {
				t.Errorf("entry %d does not come: %v", n, err)
				lost.Store(true)
			}
			if turns%64 == 63 {
				e.cross() // what a full send queue put off
				runtime.Gosched()
			}
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for n := range uint64(warm + rounds) {
			catch(p.b, 0, n)
			throw(p.b, 0, n)
		}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	took := make([]time.Duration, 0, warm+rounds)
	for n := range uint64(warm + rounds) {
		began := time.Now()
		throw(p.a, 1, n)
		catch(p.a, 1, n)
		took = append(took, time.Since(began)/2)
	}
	<-done
	p.a.everySends, p.b.everySends = true, true
	if t.Failed() {
		return
	}
	took = took[warm:]
	slices.Sort(took)
	us := func(q float64) float64 {
		return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1e3
	}
	t.Logf("64-byte stream entry: typical %.2f µs, least %.2f, 99 %% below %.2f, most %.2f; %d round trips", us(0.5), us(0), us(0.99), us(1), len(took))
}
