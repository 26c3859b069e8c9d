package healkv_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"healkv"
	"healkv/dataplane/proto"
)

// alone is a group of four of which two have gone without a word, so that node
// 1 has no majority to ask, though one who could take over.
func alone(t *testing.T) (*group, *healkv.Node) {
	t.Helper()
	// Over TCP nothing proves that a life is over, so nobody is suspected before
	// the lease has passed: three of four would agree on a view without the first
	// that goes, and no write begins while a member of it that is gone has not
	// installed it.
	g := newGroupOver(t, "tcp", 4, 1, proto.Synchronous, 64<<20)
	for i := range g.cfgs {
		g.cfgs[i].Lease = 20 * time.Second // node 1 takes writes until the test is over
	}
	g.start()
	// Whoever is ready need not know yet that the others are: a write that is done
	// had their room.
	s := g.nodes[1].NewSession()
	loadKeys(t, s, 1, 1)
	s.Close()
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for _, i := range []int{0, 2} {
		if err := g.nodes[i].Close(gone); err != nil {
			t.Error(err)
		}
		g.nodes[i] = nil
	}
	return g, g.nodes[1]
}

// within runs what must not take long. What takes longer is left behind.
func within(t *testing.T, most time.Duration, what string, do func() error) (time.Duration, error) {
	t.Helper()
	over, began := make(chan error, 1), time.Now()
	go func() { over <- do() }()
	select {
	case err := <-over:
		return time.Since(began), err
	case <-time.After(most):
		t.Fatalf("%s takes longer than %v", what, most)
		return 0, nil
	}
}

// A node that nobody could be told of is drained, and whoever asked learns that
// the others do not know.
func TestDrainUnannounced(t *testing.T) {
	_, n := alone(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := within(t, 30*time.Second, "draining alone", func() error { return n.Drain(ctx) })
	if !errors.Is(err, healkv.ErrDrained) || !strings.Contains(err.Error(), "no majority") || !strings.Contains(err.Error(), "lease") {
		t.Errorf("drained without a majority: %v", err)
	}
	if s := n.Status(); s.Role != "drained" {
		t.Errorf("it is %s", s.Role)
	}
}

// An order that is under way does not hold up the end of the process, whatever
// it waits for.
func TestEndTakesOver(t *testing.T) {
	const order = 40 * time.Second // what would be waited for
	for _, waitsFor := range []string{"writes", "a majority"} {
		t.Run(waitsFor, func(t *testing.T) {
			g, n := alone(t)
			if waitsFor == "writes" {
				s, before := n.NewSession(), n.Status().Counters["writes"]
				defer s.Close()
				if err := s.Submit(&healkv.Op{Kind: healkv.OpPut, Key: []byte("k"), Value: []byte("v")}); err != nil {
					t.Fatal(err)
				}
				await(t, "write under way", func() bool { s.Wait(time.Millisecond); return n.Status().Counters["writes"] > before })
			}
			long, cancel := context.WithTimeout(t.Context(), order)
			defer cancel()
			ordered := make(chan error, 1)
			go func() { ordered <- n.Drain(long) }()
			await(t, "drain", func() bool { r := n.Status().Role; return r == "draining" })
			if waitsFor != "writes" {
				await(t, "leaving", func() bool { return !n.Status().LeaseValid })
			}
			if err := n.Resume(); !errors.Is(err, healkv.ErrDrain) || !strings.Contains(err.Error(), "busy: drain is under way since") {
				t.Errorf("beside a drain: %v", err)
			}
			g.nodes[1] = nil // closed here, or left behind
			took, err := within(t, 15*time.Second, "ending", func() error {
				n.End()
				out, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				first := n.Drain(out)
				if !errors.Is(first, healkv.ErrDrain) {
					t.Errorf("draining in a second: %v", first)
				}
				return n.Close(out)
			})
			if err != nil {
				t.Error(err)
			}
			err = <-ordered
			if waitsFor != "writes" && !errors.Is(err, healkv.ErrDrained) {
				t.Errorf("the order that was taken over: %v", err)
			}
			if waitsFor == "writes" && (!errors.Is(err, healkv.ErrDrain) || !strings.Contains(err.Error(), "takes over")) {
				t.Errorf("the order that was taken over: %v", err)
			}
			t.Logf("ended %v after it was told, with an order of %v under way", took, order)
		})
	}
}

// Nobody brings a node back whose process is ending.
func TestEndIsFinal(t *testing.T) {
	g := newGroup(t, 3, 1, proto.Synchronous, 64<<20)
	g.start()
	n := g.nodes[1]
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	n.End()
	if err := n.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if err := n.Resume(); !errors.Is(err, healkv.ErrDrain) || !strings.Contains(err.Error(), "ending") {
		t.Errorf("brought back while its process ends: %v", err)
	}
	if s := n.Status(); s.Role != "drained" {
		t.Errorf("it is %s", s.Role)
	}
}

// A life that was admitted after it had ended, since somebody carried its
// request through, is out of the view long before its lease would be over.
func TestDrainedAdmittedLate(t *testing.T) {
	g := newGroupOver(t, "tcp", 3, 1, proto.Synchronous, 64<<20) // nothing proves that a life is over
	for i := range g.cfgs {
		g.cfgs[i].Lease = 20 * time.Second
	}
	g.start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := g.nodes[1].Drain(ctx); err != nil {
		t.Fatal(err)
	}
	at := g.nodes[0].Members()
	life, err := g.nodes[1].Members().NextIncarnation(ctx) // one that has not left
	if err != nil {
		t.Fatal(err)
	}
	v, err := at.Admit(ctx, proto.Member{Node: 1, Incarnation: life}, false)
	if err != nil || !v.Shadow.Has(1) {
		t.Fatalf("%+v, %v", v, err)
	}
	for began := time.Now(); v.Members().Has(1); time.Sleep(time.Millisecond) {
		v = at.Current()
		if time.Since(began) > 10*time.Second {
			t.Fatal("the drained node is a shadow still")
		}
	}
	if err := g.nodes[1].Resume(); err != nil {
		t.Fatal(err)
	}
	if err := g.nodes[1].WaitReady(ctx); err != nil {
		t.Error(err)
	}
}
