package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"healkv"
	"healkv/bench/matrix"
)

// Rows about what operators do, and about settings that a row needs.

// drained takes a node out by the operator's command: its process ends, or stays
// and is brought back.
func (x *chaos) drained(ctx context.Context, f *ChaosFault) (bool, error) {
	a, stay := x.some(1)[0], x.rng.IntN(2) == 0
	f.says("node %d, its process stays: %v", a, stay)
	f.comesBack(a, "heal")
	order := func(args ...string) error {
		return x.program(ctx, append([]string{"drain", "--config", x.c.ConfigPath(a), "--within", "30s"}, args...)...)
	}
	if !stay {
		p := x.k.procs[a]
		x.felled[p] = true
		if err := order(); err != nil {
			return false, err
		}
		select {
		case <-p.ended: // as the command says
		case <-time.After(eventPatience):
			return false, fmt.Errorf("node %d was drained, and its process has not ended %v later", a, eventPatience)
		}
		if !p.cmd.ProcessState.Success() {
			return false, fmt.Errorf("node %d was drained and ended with %v", a, p.cmd.ProcessState)
		}
		return true, x.pause(ctx, 500*time.Millisecond)
	}
	if err := order("--stay"); err != nil {
		return false, err
	}
	if s, err := x.k.status(ctx, a); err != nil || s.Role != "drained" || !happened(s, "drained") {
		return false, fmt.Errorf("node %d was drained and is %q: %w", a, s.Role, err)
	}
	if err := x.awaitRemoved(ctx, a); err != nil {
		return false, err
	}
	if err := x.pause(ctx, 500*time.Millisecond); err != nil {
		return false, err
	}
	return true, order("--back")
}

// forceColdStart ends all processes and takes one pool away. The others wait for
// it until the operator orders to go on.
func (x *chaos) forceColdStart(ctx context.Context, f *ChaosFault) (bool, error) {
	n := x.some(2)
	lost, to := n[0], n[1]
	f.says("all %d, node %d has lost its pool, node %d is ordered to go on", x.o.Nodes, lost, to)
	f.comesBack(lost, "full")
	x.fell(x.k.all()...)
	if err := x.makePoolAnew(ctx, lost); err != nil {
		return false, err
	}
	for _, i := range x.others(lost) {
		if err := x.start(i); err != nil {
			return false, err
		}
	}
	wait, cancel := context.WithTimeout(ctx, eventPatience)
	defer cancel()
	blocked, last := "", error(nil)
	for {
		s, err := x.k.status(wait, to)
		if err == nil && s.Role == "live" {
			return false, fmt.Errorf("node %d is live without node %d, and nobody ordered it", to, lost)
		}
		if err == nil && strings.Contains(s.Blocked, "cold start") && s.Epoch > 0 {
			blocked = s.Blocked
			last = x.program(wait, "cold-start", "--config", x.c.ConfigPath(to), "--epoch", fmt.Sprint(s.Epoch), "--without", fmt.Sprint(lost), "--within", "30s")
			if last == nil {
				break
			}
			// It is refused until all the others have been heard.
		}
		if sleep(wait, 50*time.Millisecond) != nil {
			return false, fmt.Errorf("the order to go on without node %d came to nothing: %w; node %d said %q", lost, errors.Join(last, err, wait.Err()), to, blocked)
		}
	}
	if s, err := x.k.status(ctx, to); err != nil || !happened(s, "cold_start_forced") {
		return false, fmt.Errorf("node %d took the order, and its events do not have it: %v, %w", to, s.Events, err)
	}
	return true, nil
}

// refusedConnection restarts all with refusals that are trusted, and kills one:
// another one must say that this is why it goes.
func (x *chaos) refusedConnection(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("node %d", a)
	was := x.flags
	defer func() { x.flags = was }()
	x.flags = append(slices.Clone(was), "--trust-refused")
	x.fell(x.k.all()...)
	if err := x.calm(ctx, nil); err != nil {
		return false, err
	}
	x.measureFromHere()
	x.fell(a)
	if err := x.awaitRemoved(ctx, a); err != nil {
		return false, err
	}
	took := time.Duration(now() - x.from)
	for _, i := range x.others(a) {
		s, err := x.k.status(ctx, i)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(s.Events, func(e healkv.Event) bool {
			return e.Name == "suspected" && e.At > x.from && strings.HasPrefix(e.Detail, fmt.Sprintf("node %d: ", a)) &&
				(strings.Contains(e.Detail, "its process is dead") || strings.Contains(e.Detail, "refused"))
		}) {
			f.says("node %d, out after %v", a, took.Round(time.Millisecond))
			return true, nil
		}
	}
	return false, fmt.Errorf("node %d was removed after %v, and nobody says that its connections were refused", a, took)
}

// certificatesRotated exchanges the authority and all certificates in the steps
// of the operations page. Nothing else may change.
func (x *chaos) certificatesRotated(ctx context.Context, f *ChaosFault) (bool, error) {
	f.says("an authority replaced, %d nodes", x.o.Nodes)
	authority := filepath.Join(x.c.Dir, "authority")
	wait, cancel := context.WithTimeout(ctx, healPatience)
	defer cancel()
	before := make([]healkv.Status, x.o.Nodes)
	if err := x.k.each(x.k.all(), func(i int) (err error) { before[i], err = x.k.status(ctx, i); return err }); err != nil {
		return false, err
	}
	ports := x.ports()
	first, err := established(ports)
	if err != nil || len(first) == 0 {
		return false, fmt.Errorf("no connection that was made with certificates is found: %w", err)
	}
	for _, args := range [][]string{nil, {"--rotate-authority"}, nil, {"--drop-old-authority"}} { // first those of this very authority
		if err := x.program(ctx, append([]string{"certs", "--dir", authority, "--nodes", fmt.Sprint(x.o.Nodes)}, args...)...); err != nil {
			return false, err
		}
		for i := range x.o.Nodes {
			if err := x.giveCertificates(wait, i, filepath.Join(authority, fmt.Sprint("node-", i))); err != nil {
				return false, err
			}
		}
	}
	for {
		left, err := established(ports)
		if err != nil {
			return false, err
		}
		maps.DeleteFunc(left, func(c string, _ bool) bool { return !first[c] })
		if len(left) == 0 {
			break
		}
		if sleep(wait, 50*time.Millisecond) != nil {
			return false, fmt.Errorf("%d of %d ends of connections are as old as the authority that is gone: %w", len(left), len(first), wait.Err())
		}
	}
	for i := range before {
		s, err := x.k.status(ctx, i)
		if err != nil {
			return false, err
		}
		if s.Epoch != before[i].Epoch || s.Incarnation != before[i].Incarnation || s.Role != "live" {
			return false, fmt.Errorf("node %d was in view %d with life %d and is %s in view %d with life %d", i, before[i].Epoch, before[i].Incarnation, s.Role, s.Epoch, s.Incarnation)
		}
	}
	return true, nil
}

// giveCertificates copies them to a node, as an operator does, and waits until it
// has taken them.
func (x *chaos) giveCertificates(ctx context.Context, i int, from string) error {
	taken := func() (int, error) {
		log, err := os.ReadFile(x.c.LogPath(i))
		return strings.Count(string(log), "new certificates"), err
	}
	was, err := taken()
	if err != nil {
		return err
	}
	for _, name := range []string{"ca.pem", "key.pem", "cert.pem"} {
		to := filepath.Join(x.c.NodeDir(i), "tls", name)
		if err := copyFile(to+".new", filepath.Join(from, name)); err != nil {
			return err
		}
		if err := os.Rename(to+".new", to); err != nil {
			return err
		}
	}
	for {
		n, err := taken()
		if err != nil || n > was {
			return err
		}
		if sleep(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("node %d does not take the certificates in %s: %w", i, from, ctx.Err())
		}
	}
}

// ports are those of the connections that are made with certificates.
func (x *chaos) ports() map[int]bool {
	ports := map[int]bool{}
	add := func(listen string, n int) {
		if _, port, err := net.SplitHostPort(listen); err == nil {
			first, _ := strconv.Atoi(port)
			for i := range n {
				ports[first+i] = true
			}
		}
	}
	for i := range x.o.Nodes {
		c := &x.c.Configs[i]
		add(c.Control.Listen, 1)
		if c.Data.TLS == "on" {
			add(c.Data.Listen, c.Shards)
		}
	}
	return ports
}

// established are the ends of TCP connections from or to these ports.
func established(ports map[int]bool) (map[string]bool, error) {
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != "01" {
			continue
		}
		for _, end := range f[1:3] {
			var host, port int
			if _, err := fmt.Sscanf(end, "%X:%X", &host, &port); err == nil && ports[port] {
				found[f[1]+" "+f[2]] = true
			}
		}
	}
	return found, nil
}

// Of a cluster that begins with one node missing.
const (
	firstView     = "first view with one missing"
	firstViewWait = "1s" // bootstrap_wait, the least there may be
)

// begins starts all nodes and waits until they serve. Where the cluster is to
// begin with one missing, that one comes when the others serve; cell is filled
// in then.
func (x *chaos) begins(ctx context.Context, cell *matrix.Cell) error {
	if cell == nil {
		for i := range x.o.Nodes {
			if err := x.start(i); err != nil {
				return err
			}
		}
		return x.k.awaitServing(ctx, x.k.all())
	}
	late := x.some(1)[0]
	there := x.others(late)
	began := now()
	for _, i := range there {
		if err := x.start(i, "--bootstrap-wait", firstViewWait); err != nil {
			return err
		}
	}
	if err := x.k.awaitServing(ctx, there); err != nil {
		return err
	}
	for _, i := range there {
		if s, err := x.k.status(ctx, i); err != nil || slices.Contains(s.Live, late) || len(s.Live) != len(there) {
			return fmt.Errorf("the first view without node %d has live %v: %w", late, s.Live, err)
		}
	}
	// One client writes from the first answer on until the last node is live.
	writing, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan firstWrites, 1)
	go func() { done <- x.writeFirst(writing, there[0], began) }()
	came := now()
	if err := x.start(late, "--bootstrap-wait", firstViewWait); err != nil {
		return err
	}
	if err := x.agreed(ctx); err != nil {
		return err
	}
	cell.Healed = time.Duration(now() - came)
	stop()
	w := <-done
	f := &ChaosFault{}
	f.comesBack(late, "full")
	if err := errors.Join(w.err, x.cameBack(ctx, f)); err != nil {
		return err
	}
	cell.Stall = w.stall
	c := x.dial(late)
	defer c.close()
	for key, value := range w.last {
		if got, err := c.do("GET", key); err != nil || got != value {
			return fmt.Errorf("node %d, which came late, has %q of %s, want %q: %w", late, got, key, value, err)
		}
	}
	if len(w.last) == 0 {
		return errors.New("nothing was written before the last node came")
	}
	return nil
}

// firstWrites is what a client wrote while a cluster began.
type firstWrites struct {
	last  map[string]string // what each key was set to, as far as answered
	stall time.Duration
	err   error
}

func (x *chaos) writeFirst(ctx context.Context, node int, began int64) (w firstWrites) {
	w.last = map[string]string{}
	c := x.dial(node)
	defer c.close()
	answered := began
	for n := 0; ctx.Err() == nil || n == 0; n++ {
		key, value := fmt.Sprint("first:", n%50), fmt.Sprint(n)
		if err := c.ok("SET", key, value); err != nil {
			if !rejected(err) {
				w.err = fmt.Errorf("%s at node %d while the cluster begins: %w", key, node, err)
				return w
			}
			n--
			delete(w.last, key) // it may have happened
		} else {
			w.last[key] = value
			w.stall, answered = max(w.stall, time.Duration(now()-answered)), now()
		}
		time.Sleep(time.Millisecond)
	}
	w.stall = max(w.stall, time.Duration(now()-answered))
	return w
}
