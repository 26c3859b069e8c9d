package membership

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/control"
)

func TestBootstrapLeaseAndUpdates(t *testing.T) {
	c := up(t, 3, time.Second)
	var mu sync.Mutex
	handed := map[proto.Incarnation]bool{}
	var wg sync.WaitGroup
	for i := range 8 { // two callers at once on most nodes: all compete
		x := c.nodes[i%3]
		wg.Go(func() {
			for range 5 {
				v, err := x.s.Update(patience(t), func(v *proto.View) error { v.Issued[0]++; return nil })
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if handed[v.Issued[0]] {
					t.Errorf("incarnation %d was handed out twice", v.Issued[0])
				}
				handed[v.Issued[0]] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	until(t, "everybody has heard", func() bool {
		a := c.nodes[0].s.Current()
		return c.nodes[1].s.Current() == a && c.nodes[2].s.Current() == a && len(handed) == 40 && int(a.Issued[0]) >= 40
	})
	st := c.nodes[0].s.Status()
	t.Logf("40 competing changes, %d views told, node 0: %+v", c.agree(), st.Counts)
	if st.Counts.LeasesLost != 0 || !st.LeaseValid || !st.Voting {
		t.Errorf("%+v", st)
	}
}

func TestUpdateErrors(t *testing.T) {
	c := up(t, 3, time.Second)
	s := c.nodes[1].s
	mine := errors.New("not today")
	v, err := s.Update(patience(t), func(*proto.View) error { return mine })
	if !errors.Is(err, mine) || !errors.Is(err, ErrChange) || v.Epoch != 1 {
		t.Errorf("declined: %v", err)
	}
	if v, err := s.Update(patience(t), func(*proto.View) error { return ErrNoChange }); err != nil || v.Epoch != 1 {
		t.Errorf("nothing to do: %v", err)
	}
	for name, fn := range map[string]func(*proto.View) error{
		"skip an epoch":   func(v *proto.View) error { v.Epoch += 2; return nil },
		"same epoch":      func(v *proto.View) error { v.Live = 1; return nil },
		"take back":       func(v *proto.View) error { v.Issued[1] = 0; return nil },
		"never issued":    func(v *proto.View) error { *v = v.Next(v.Live, 0); v.Incarnation[1] = 99; return nil },
		"both":            func(v *proto.View) error { *v = v.Next(v.Live, v.Live); return nil },
		"another model":   func(v *proto.View) error { *v = v.Next(v.Live, 0); v.Model = proto.Scope; return nil },
		"unknown node":    func(v *proto.View) error { *v = v.Next(v.Live|1<<9, 0); return nil },
		"another cluster": func(v *proto.View) error { *v = v.Next(v.Live, 0); v.Configured |= 1 << 9; return nil },
	} {
		if _, err := s.Update(patience(t), fn); !errors.Is(err, ErrChange) && !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v := s.Current(); v.Epoch != 1 || v.Live != 7 {
		t.Errorf("a refused change took effect: %+v", v)
	}
	c.nodes[0].stop()
	c.nodes[2].stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Update(ctx, func(v *proto.View) error { v.Issued[0]++; return nil }); !errors.Is(err, ErrNoMajority) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("alone: %v", err)
	}
	until(t, "without a majority the lease runs out", func() bool { return !s.Lease().Valid() })
	if s.Current().Epoch != 1 {
		t.Error("a view was decided without a majority")
	}
}

func TestProvenDeathSkipsTheLease(t *testing.T) {
	c := up(t, 5, 10*time.Second) // longer than the test waits
	begin := time.Now()
	c.nodes[0].die()
	c.nodes[3].die()
	c.serving(0b10110)
	took := time.Since(begin)
	if took > 5*time.Second {
		t.Errorf("took %v: waited for the lease", took)
	}
	v := c.nodes[1].s.Current()
	if v.LiveUntil[0] == 0 || v.LiveUntil[3] == 0 || v.LiveUntil[1] < v.LiveUntil[0] {
		t.Errorf("liveUntil %v", v.LiveUntil)
	}
	// The last live members stay in the view.
	c.nodes[4].die()
	until(t, "no majority", func() bool { return !c.nodes[1].ctl.Connected(4) })
	t.Logf("two of five dead: next view after %v, epoch %d; %d views told", took, v.Epoch, c.agree())
}

func TestSilentMemberIsRemovedAfterItsLeaseOnly(t *testing.T) {
	c := up(t, 3, 200*time.Millisecond)
	x := c.nodes[2]
	x.ctl.Close() // cut off: it lives, and nothing proves otherwise
	valid := false
	until(t, "view without it", func() bool {
		v := c.nodes[0].s.Current()
		if v.Live == 0b011 {
			valid = x.s.Lease().Valid() // still, although a view without it is decided
			return true
		}
		return false
	})
	if valid {
		t.Fatal("the removed node still holds a lease")
	}
	c.serving(0b011)
	n := c.nodes[0]
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.suspects) == 0 || !strings.Contains(strings.Join(n.suspects, " "), "2: nothing heard") {
		t.Errorf("suspicions: %q", n.suspects)
	}
	t.Logf("%q", n.suspects)
}

func TestStuckShardsCostTheLease(t *testing.T) {
	c := up(t, 3, 200*time.Millisecond)
	c.nodes[1].stuck.Store(true)
	c.serving(0b101)
	if st := c.nodes[1].s.Status(); st.Counts.NoProgress == 0 || st.LeaseValid {
		t.Errorf("%+v", st)
	}
	until(t, "it hears that it is out", func() bool { return c.nodes[1].s.Current().Live == 0b101 })
	c.nodes[0].mu.Lock()
	defer c.nodes[0].mu.Unlock()
	t.Logf("%q", c.nodes[0].suspects)
}

func TestRejoin(t *testing.T) {
	c := up(t, 3, time.Second)
	old := c.nodes[2].member
	g := c.nodes[0].s.Lease().Generation()
	c.nodes[2].die()
	c.serving(0b011)
	x := c.start(2)
	m := x.incarnate()
	if m.Incarnation <= old.Incarnation {
		t.Fatalf("%v after %v", m, old)
	}
	ctx := patience(t)
	if _, err := x.s.Admit(ctx, proto.Member{Node: 2, Incarnation: m.Incarnation + 5}, false); !errors.Is(err, ErrNotMember) {
		t.Errorf("admission of a life that was never handed out: %v", err)
	}
	v, err := x.s.Admit(ctx, m, false)
	if err != nil || !v.Shadow.Has(2) || v.Incarnation[2] != m.Incarnation || v.LiveUntil[2] == 0 {
		t.Fatalf("admit: %+v, %v", v, err)
	}
	if v2, err := x.s.Admit(ctx, m, false); err != nil || v2.Epoch != v.Epoch {
		t.Errorf("admitted again: epoch %d, %v", v2.Epoch, err)
	}
	if v, err = x.s.Admit(ctx, m, true); err != nil || v.LiveUntil[2] != 0 {
		t.Errorf("full copy after all: %+v, %v", v, err)
	}
	if _, err := x.s.Admit(ctx, old, false); !errors.Is(err, ErrStale) {
		t.Errorf("admission of an earlier life: %v", err)
	}
	if x.s.Lease().Valid() {
		t.Error("a shadow holds a lease")
	}
	if _, err := x.s.Promote(ctx, m, v.Epoch-1); !errors.Is(err, ErrMoved) {
		t.Errorf("promotion in a view that is past: %v", err)
	}
	if _, err := x.s.Promote(ctx, old, v.Epoch); !errors.Is(err, ErrNotMember) {
		t.Errorf("promotion of an earlier life: %v", err)
	}
	if v, err = x.s.Promote(ctx, m, v.Epoch); err != nil || v.Live != 0b111 {
		t.Fatalf("promote: %+v, %v", v, err)
	}
	c.serving(0b111)
	if c.nodes[0].s.Lease().Generation() != g {
		t.Error("views with us in them changed the lease's generation")
	}
	if v, err = x.s.SameMembers(ctx, v.Epoch); err != nil || v.Live != 0b111 {
		t.Errorf("same members: %+v, %v", v, err)
	}
	t.Logf("epoch %d, %d views told", v.Epoch, c.agree())
}

func TestRestartFasterThanAnybodyNoticed(t *testing.T) {
	c := up(t, 3, 10*time.Second)
	x := c.nodes[1]
	old := x.member
	x.s.Close()
	x.ctl.Close()
	// Nothing proves the old life dead but the new one's hello.
	x = c.start(1)
	m := x.incarnate()
	begin := time.Now()
	v, err := x.s.Admit(patience(t), m, false)
	if err != nil || !v.Shadow.Has(1) || v.Has(old) || v.LiveUntil[1] == 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("admission took %v: it waited for the lease of the life before", took)
	}
}

func TestLeaveNeedsNoLeaseToRunOut(t *testing.T) {
	c := up(t, 3, 10*time.Second)
	begin := time.Now()
	g := c.nodes[1].s.Lease().Generation()
	v, err := c.nodes[1].s.Leave(patience(t), c.nodes[1].member)
	if err != nil || v.Live != 0b101 {
		t.Fatalf("%+v, %v", v, err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if l := c.nodes[1].s.Lease(); l.Valid() || l.Generation() == g {
		t.Error("left and still serves")
	}
	c.serving(0b101)
	if _, err := c.nodes[2].s.Leave(patience(t), c.nodes[2].member); err != nil {
		t.Fatal(err)
	}
	if _, err := c.nodes[0].s.Leave(patience(t), c.nodes[0].member); !errors.Is(err, ErrLastLive) {
		t.Errorf("the last one left: %v", err)
	}
	if v := c.nodes[0].s.Current(); v.Live != 0b001 {
		t.Errorf("%+v", v)
	}
}

func TestAcceptorsRememberOverARestart(t *testing.T) {
	c := up(t, 3, 300*time.Millisecond)
	v, err := c.nodes[0].s.SameMembers(patience(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range c.nodes {
		x.die()
	}
	for i := range 3 {
		c.start(i)
	}
	for i, x := range c.nodes {
		if m := x.incarnate(); m.Incarnation < 2 {
			t.Errorf("node %d is %v again", i, m)
		}
		if w := x.s.Current(); w.Epoch != v.Epoch || w.Live != 0b111 || w.Incarnation != v.Incarnation {
			t.Errorf("node %d: %+v, want %+v", i, w, v)
		}
		if x.s.Lease().Valid() {
			t.Errorf("node %d, which is not the life in the view, holds a lease", i)
		}
	}
	// Bootstrap of a cluster that is there already makes nothing new.
	if w, err := c.nodes[1].s.Bootstrap(patience(t)); err != nil || w.Epoch != v.Epoch {
		t.Errorf("bootstrap again: %+v, %v", w, err)
	}
	if _, err := c.nodes[0].s.Admit(patience(t), c.nodes[0].member, false); !errors.Is(err, ErrCold) {
		t.Errorf("admission to a view none of whose live members runs: %v", err)
	}
	if w := c.nodes[0].s.Current(); w.Live != 0b111 || w.Epoch != v.Epoch {
		t.Errorf("what the cold start goes by is gone: %+v", w)
	}
	// A cold start is a change like any other.
	var lives [proto.NodesMax]proto.Incarnation
	for i, x := range c.nodes {
		lives[i] = x.member.Incarnation
	}
	w, err := c.nodes[0].s.Update(patience(t), func(v *proto.View) error {
		if v.Cold {
			return ErrNoChange
		}
		*v = v.Next(0, v.Live)
		v.Cold, v.Incarnation = true, lives
		return nil
	})
	if err != nil || !w.Cold {
		t.Fatalf("cold start: %v", err)
	}
	if _, err := c.nodes[0].s.Promote(patience(t), c.nodes[0].member, w.Epoch); !errors.Is(err, ErrCold) {
		t.Errorf("promoted alone: %v", err)
	}
	if _, err = c.nodes[0].s.Update(patience(t), func(v *proto.View) error {
		*v = v.Next(v.Shadow, 0)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	c.serving(0b111)
}

func TestOtherConfigurationIsRefused(t *testing.T) {
	c := up(t, 3, 10*time.Second)
	c.nodes[2].die()
	c.serving(0b011)
	c.model = proto.Scope
	ctl, err := control.New(control.Config{RunDir: c.run(), ClusterID: testCluster, Node: 2, Configured: c.nodeset()})
	if err != nil {
		t.Fatal(err)
	}
	defer ctl.Close()
	if _, err := New(c.config(2, ctl)); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "scope") || !strings.Contains(err.Error(), "synchronous") {
		t.Fatalf("another model than in the own file: %v", err)
	}
	// With a file that knows nothing yet the register says no.
	c.nodes[2] = nil
	fresh := c.state(2) + "x"
	if err := FormatState(fresh, testCluster, 2, true); err != nil {
		t.Fatal(err)
	}
	cfg := c.config(2, ctl)
	cfg.StateDir = fresh
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := ctl.Start(); err != nil {
		t.Fatal(err)
	}
	s.Start()
	if _, err := s.NextIncarnation(patience(t)); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "scope") || !strings.Contains(err.Error(), "synchronous") {
		t.Fatalf("another model than in the register: %v", err)
	}
}

func TestHostileMessages(t *testing.T) {
	c := up(t, 3, 10*time.Second)
	before := c.nodes[0].s.Current()
	evil := c.nodes[2].ctl
	b := map[string]any{"round": 9, "node": 2, "life": 1}
	for _, m := range []struct {
		kind string
		body any
	}{
		{kindVote, "text"},
		{kindVote, map[string]any{"kind": 2, "from": 2, "to": 0, "ballot": b}},
		{kindVote, map[string]any{"kind": 1, "from": 1, "to": 0, "ballot": b}},
		{kindVote, map[string]any{"kind": 1, "from": 2, "to": 0, "ballot": map[string]any{"round": uint64(1) << 63, "node": 2}}},
		{kindVote, map[string]any{"kind": 3, "from": 2, "to": 0, "ballot": b}},
		{kindVote, map[string]any{"kind": 3, "from": 2, "to": 0, "ballot": b, "value": map[string]any{"seq": 99, "crc": 1, "view": proto.View{Epoch: 9}}}},
		{kindChosen, map[string]any{"ballot": b, "value": map[string]any{"seq": 99, "crc": 1, "view": proto.View{Epoch: 9}}}},
		{kindBeat, 7},
		{kindBeat, beat{Life: proto.Member{Node: 1, Incarnation: 1}, Want: true}},
		{kindMayDrop, mayDrop{proto.Member{Node: 200}}},
		{kindMayDrop, mayDrop{proto.Member{Node: 1, Incarnation: 1 << 31}}},
		{kindVote, map[string]any{"kind": 1, "from": 2, "to": 0, "ballot": map[string]any{"round": uint64(roundMost + 1), "node": 2}}},
	} {
		if err := evil.Call(patience(t), 0, m.kind, m.body, nil); !errors.Is(err, control.ErrRemote) {
			t.Errorf("%s %v: %v", m.kind, m.body, err)
		}
	}
	if v := c.nodes[0].s.Current(); v != before || c.nodes[0].s.Status().Counts.Damaged == 0 {
		t.Errorf("%+v", c.nodes[0].s.Status())
	}
	if _, err := c.nodes[0].s.SameMembers(patience(t), before.Epoch); err != nil {
		t.Error(err)
	}
}
