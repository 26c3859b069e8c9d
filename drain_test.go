package healkv_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"healkv"
	"healkv/dataplane/proto"
)

// load keeps writes under way at one node until it is told to stop, and counts
// how they end.
type load struct {
	stop, over chan struct{}
	mu         sync.Mutex
	done       map[string]int // value of each key that was answered
	ended      map[string]int // by outcome
	longest    time.Duration  // between two answered writes
}

func startLoad(n *healkv.Node, name string) *load {
	l := &load{stop: make(chan struct{}), over: make(chan struct{}), done: map[string]int{}, ended: map[string]int{}}
	go l.run(n.NewSession(), name)
	return l
}

func (l *load) run(s *healkv.Session, name string) {
	defer close(l.over)
	defer s.Close()
	const window = 64
	var ops [window]healkv.Op
	free := make([]*healkv.Op, 0, window)
	for i := range ops {
		free = append(free, &ops[i])
	}
	done, last, stopped := make([]*healkv.Op, window), time.Now(), false
	for i := 1; !stopped || s.Outstanding() > 0; {
		select {
		case <-l.stop:
			stopped = true
		default:
		}
		for !stopped && len(free) > 0 {
			op := free[len(free)-1]
			free = free[:len(free)-1]
			*op = healkv.Op{Kind: healkv.OpPut, Key: fmt.Append(nil, name, i%200), Value: fmt.Append(nil, i)}
			if err := s.Submit(op); err != nil {
				panic(err)
			}
			i++
		}
		s.Wait(time.Second)
		rejected := false
		l.mu.Lock()
		for _, op := range done[:s.Poll(done)] {
			free = append(free, op)
			switch {
			case op.Err == nil:
				l.ended["done"]++
				l.done[string(op.Key)], _ = strconv.Atoi(string(op.Value))
				l.longest = max(l.longest, time.Since(last))
				last = time.Now()
			case errors.Is(op.Err, healkv.ErrTryAgain):
				l.ended["rejected"]++
				rejected = true
			default:
				l.ended[op.Err.Error()]++
			}
		}
		l.mu.Unlock()
		if rejected {
			time.Sleep(time.Millisecond) // a client that was turned away waits a little
		}
	}
}

func (l *load) end() {
	close(l.stop)
	<-l.over
}

func (l *load) count(outcome string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended[outcome]
}

// await waits for something that a load brings about.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("no %s", what)
		}
	}
}

// A drained node's clients are turned away and told so: every write of theirs
// is done or certainly not applied. The others go on, and the node comes back
// with what it missed.
func TestDrain(t *testing.T) {
	for _, provider := range []string{"shm", "tcp"} {
		t.Run(provider, func(t *testing.T) { drain(t, newGroupOver(t, provider, 3, 2, proto.Synchronous, 64<<20)) })
	}
}

func drain(t *testing.T, g *group) {
	g.start()
	n := g.nodes[1]
	if err := n.Resume(); !errors.Is(err, healkv.ErrDrain) {
		t.Errorf("brought back without having been drained: %v", err)
	}
	here, there := startLoad(n, "here"), startLoad(g.nodes[0], "there")
	await(t, "load", func() bool { return here.count("done") > 100 && there.count("done") > 100 })

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	began := time.Now()
	if err := n.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	s := n.Status()
	parts := ""
	for _, e := range s.Events {
		if e.Name == "left" || e.Name == "drained" {
			parts += fmt.Sprintf(", %s %s", e.Name, e.Detail)
		}
	}
	// A majority knows; node 0 need not be of it yet.
	await(t, "the others go on without it", func() bool {
		v := g.nodes[0].Status()
		return !slices.Contains(v.Live, 1) && !slices.Contains(v.Shadow, 1)
	})
	if s.Role != "drained" || s.Serving || !strings.Contains(s.Blocked, "--back") {
		t.Errorf("drained: %q, serving %v, %q", s.Role, s.Serving, s.Blocked)
	}
	if err := n.Drain(ctx); err != nil {
		t.Errorf("drained again: %v", err)
	}
	rejected, away := here.count("rejected"), there.count("done")
	await(t, "refusals", func() bool { return here.count("rejected") > rejected && there.count("done") > away+100 })

	if err := n.Resume(); err != nil {
		t.Fatal(err)
	}
	g.ready(1)
	back := here.count("done")
	await(t, "writes at the node that came back", func() bool { return here.count("done") > back })
	here.end()
	there.end()
	for _, l := range []*load{here, there} {
		if n := len(l.ended); n != 1 && (n != 2 || l.ended["rejected"] == 0) {
			t.Errorf("operations ended with %v: want done and rejected only", l.ended)
		}
	}
	if there.ended["rejected"] != 0 {
		t.Errorf("node 0 refused %d operations", there.ended["rejected"])
	}
	if r := n.Status().LastRecovery; r == nil || r.Kind != "heal" {
		t.Errorf("came back by %+v", r)
	}
	x := n.NewSession()
	defer x.Close()
	keys := 0
	for _, l := range []*load{here, there} {
		for key, want := range l.done {
			got, _, err := x.Get([]byte(key), nil)
			if err != nil || string(got) != fmt.Sprint(want) {
				t.Errorf("%s at the node that came back: %q %v, want %d", key, got, err, want)
			}
			keys++
		}
	}
	t.Logf("drained in %v%s; longest time between two writes at another node %v; there %v, here %v; %d keys compared",
		took, parts, there.longest, there.ended, here.ended, keys)
}

// What must not be drained is not, and serves on.
func TestDrainRefused(t *testing.T) {
	g := newGroup(t, 3, 1, proto.Synchronous, 64<<20)
	g.open(0)
	if err := g.nodes[0].Drain(t.Context()); !errors.Is(err, healkv.ErrDrain) || !strings.Contains(err.Error(), "no view yet") {
		t.Errorf("before the first view: %v", err)
	}
	if s := g.nodes[0].Status(); !strings.Contains(s.Blocked, "waits for node 1,2 (first view)") && !strings.Contains(s.Blocked, "acceptors 0 of 0-2 answer, 2 needed") {
		t.Errorf("alone before the first view: %q is blocked by %q", s.Role, s.Blocked)
	}
	g.open(1)
	g.open(2)
	for i := range 3 {
		g.ready(i)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := g.nodes[0].MayStop(); err != nil {
		t.Errorf("one of three: %v", err)
	}
	if err := g.nodes[0].Drain(ctx); err != nil {
		t.Fatal(err)
	}
	// A drained process still votes, so another may leave, but not for good.
	if err := g.nodes[1].Drain(ctx); err != nil {
		t.Fatal(err)
	}
	last := g.nodes[2]
	if err := last.Drain(ctx); !errors.Is(err, healkv.ErrDrain) || !strings.Contains(err.Error(), "last live") {
		t.Errorf("the last one: %v", err)
	}
	s := last.NewSession()
	defer s.Close()
	if _, err := s.Put([]byte("k"), []byte("v"), 0); err != nil {
		t.Errorf("the last one does not serve on: %v", err)
	}
	g.close(0) // a drained node is stopped
	await(t, "lost connection", func() bool { return last.MayStop() != nil })
	if err := last.MayStop(); !errors.Is(err, healkv.ErrDrain) || !strings.Contains(err.Error(), "--force") {
		t.Errorf("the second of three: %v", err)
	}
	if err := g.nodes[1].Resume(); err != nil {
		t.Fatal(err)
	}
	g.ready(1)
	if got, _, err := getUntil(g.nodes[1], "k"); err != nil || string(got) != "v" {
		t.Errorf("brought back: %q %v", got, err)
	}
}

// getUntil reads once the node serves.
func getUntil(n *healkv.Node, key string) (v []byte, ts proto.TS, err error) {
	s := n.NewSession()
	defer s.Close()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(time.Millisecond) {
		if v, ts, err = s.Get([]byte(key), nil); !errors.Is(err, healkv.ErrTryAgain) {
			break
		}
	}
	return v, ts, err
}
