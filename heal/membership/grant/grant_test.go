package grant

import (
	"math/rand/v2"
	"slices"
	"testing"

	"healkv/dataplane/proto"
)

const lease, drift = 1000, 100

func view(live proto.NodeSet, inc proto.Incarnation) *proto.View {
	v := &proto.View{Epoch: 1, Configured: 0b111, Live: live, Shards: 1}
	for n := range v.Incarnation {
		v.Incarnation[n] = inc
	}
	return v
}

// TestGuardOfSeveral: of two whose leases are in the way of a view neither gets
// more of its own, or each would have it again while the other's runs out (H29).
func TestGuardOfSeveral(t *testing.T) {
	all, alone := view(0b111, 1), view(0b010, 1)
	g := NewGranter(lease, -lease)
	for _, n := range []proto.NodeID{0, 2} {
		if a := g.Grant(all.Member(n), all, 10+int64(n)); a != Granted {
			t.Fatalf("node %d: %v", n, a)
		}
	}
	if m, wait, b := g.Guard(alone, all, 20); !b || m.Node != 0 || wait != 990 {
		t.Fatalf("%v %d %v", m, wait, b)
	}
	for _, n := range []proto.NodeID{0, 2} {
		if a := g.Grant(all.Member(n), all, 900); a != Complained {
			t.Errorf("node %d: %v", n, a)
		}
	}
	if a := g.Grant(all.Member(1), all, 900); a != Granted {
		t.Errorf("who stays: %v", a)
	}
	if _, _, b := g.Guard(alone, all, 1013); b {
		t.Error("blocked when both leases are over")
	}
	if _, _, b := g.Guard(all, all, 1013); b {
		t.Error("a view that drops nobody is blocked")
	}
}

func TestGranter(t *testing.T) {
	all, without1 := view(0b111, 1), view(0b101, 1)
	m := proto.Member{Node: 1, Incarnation: 1}
	g := NewGranter(lease, 0)
	if _, _, b := g.Blocks(all, all, 10); b {
		t.Fatal("a view that drops nobody is refused")
	}
	if who, wait, b := g.Blocks(without1, all, 10); !b || who != m || wait != 990 || g.MayDrop(m, 10) {
		t.Fatalf("H22: a restarted acceptor lets %v go (%v, %d)", who, b, wait)
	}
	if _, _, b := g.Blocks(without1, without1, 10); b {
		t.Fatal("refused for somebody who was not live")
	}
	if _, _, b := g.Blocks(without1, all, 1000); b {
		t.Fatal("quiet for longer than a lease")
	}
	if a := g.Grant(m, without1, 2000); a != NotLive {
		t.Fatalf("L2: %v", a)
	}
	if a := g.Grant(proto.Member{Node: 1, Incarnation: 2}, all, 2000); a != NotLive {
		t.Fatalf("another life: %v", a)
	}
	if a := g.Grant(m, all, 2000); a != Granted || !slices.Equal(g.Holds(2001), []proto.Member{m}) {
		t.Fatalf("grant: %v", a)
	}
	if who, wait, b := g.Blocks(without1, without1, 2999); !b || who != m || wait != 1 || g.MayDrop(m, 2999) {
		t.Fatalf("L1: %v %d %v", who, wait, b)
	}
	if _, _, b := g.Blocks(view(0b111, 2), all, 2999); !b {
		t.Fatal("L1: another life in its place")
	}
	if _, _, b := g.Blocks(without1, all, 3000); b || !g.MayDrop(m, 3000) {
		t.Fatal("guarded after the lease")
	}
	if u, v := g.Until(m), g.Until(proto.Member{Node: 2, Incarnation: 1}); u != 3000 || v != 1000 {
		t.Fatalf("guarded until %d, and one that never asked until %d", u, v)
	}
	g.Grant(m, all, 4000)
	g.Complain(m, 4600)
	if a := g.Grant(m, all, 4500); a != Complained || g.MayDrop(m, 4500) {
		t.Fatalf("complaint: %v", a)
	}
	next := proto.Member{Node: 1, Incarnation: 2}
	if a := g.Grant(next, view(0b111, 2), 4500); a != Granted {
		t.Fatalf("complained about its last life: %v", a)
	}
	if a := g.Grant(m, all, 4600); a != Granted {
		t.Fatalf("complaint over: %v", a)
	}
	g.Complain(next, 4601)
	g.Complain(m, 9000) // of a life before: too late
	if a := g.Grant(next, view(0b111, 2), 4600); a != Complained {
		t.Fatalf("complaint about the next life: %v", a)
	}
	if a := g.Grant(next, view(0b111, 2), 4601); a != Granted {
		t.Fatalf("a late complaint about the last life: %v", a)
	}
	g.Grant(m, all, 4601)
	g.End(m)
	if _, _, b := g.Blocks(without1, all, 4601); b || !g.MayDrop(m, 4601) || g.Until(m) != 0 || g.Grant(m, all, 4602) != Over {
		t.Fatal("L3: the dead hold a lease")
	}
	if a := g.Grant(proto.Member{Node: 1, Incarnation: 2}, view(0b111, 2), 4603); a != Granted {
		t.Fatalf("the next life: %v", a)
	}
}

func TestRenewalCountsTheMajority(t *testing.T) {
	r := NewRenewal(3)
	for i, want := range []int64{0, 0, 10 + lease, 20 + lease, 30 + lease} {
		r.Granted(proto.NodeID(i), int64(10*(i+1)))
		if got := r.Until(lease); got != want {
			t.Fatalf("after %d grants: until %d, want %d", i+1, got, want)
		}
	}
	r.Granted(4, 5) // an answer that comes late takes nothing away
	if got := r.Until(lease); got != 30+lease {
		t.Fatal(got)
	}
	r.Reset()
	if r.Until(lease) != 0 {
		t.Fatal("reset")
	}
}

// TestHolderAndViewsNeverOverlap runs holders and acceptors with clocks that
// drift apart as much as allowed, with delays, losses and restarts: at no
// time does a holder count on its lease when a majority would accept, or has
// accepted, a view without it (L1).
func TestHolderAndViewsNeverOverlap(t *testing.T) {
	const n, runs = 5, 300
	served, dropped, refused, restarts := 0, 0, 0, 0
	for seed := range uint64(runs) {
		r := rand.New(rand.NewPCG(seed, 2))
		// Clock i runs at rate[i]; over one lease two of them differ by less than drift.
		var rate [n]float64
		var offset [n]int64
		for i := range rate {
			rate[i] = 1 + (r.Float64()-0.5)*0.09
			offset[i] = r.Int64N(100000)
		}
		// In some runs messages arrive at once and the holder's clock is as slow,
		// the acceptors' as fast as allowed: only the drift is between them.
		delay := int64(1500)
		if seed%3 == 0 {
			delay = 5
			for i := range rate {
				rate[i] = 1.049
			}
			rate[1] = 0.951
		}
		clock := func(i int, now int64) int64 { return offset[i] + int64(float64(now)*rate[i]) + 1 }
		with, without := view(0b11111, 1), view(0b11101, 1)
		with.Configured, without.Configured = 0b11111, 0b11111
		m := proto.Member{Node: 1, Incarnation: 1}
		var acc [n]Granter
		var accepted [n]bool // the view without m, durable
		for i := range acc {
			acc[i] = NewGranter(lease, clock(i, 0))
		}
		type request struct {
			arrive, sent int64
			to           int
		}
		var wire, answers []request
		ren := NewRenewal(3)
		for now := int64(1); now < 12000; now += 10 {
			if r.IntN(25) == 0 && now < 6000 {
				for i := range acc {
					if r.IntN(4) != 0 {
						wire = append(wire, request{now + r.Int64N(delay), clock(1, now), i})
					}
				}
			}
			wire = slices.DeleteFunc(wire, func(q request) bool {
				if q.arrive > now {
					return false
				}
				v := with
				if accepted[q.to] {
					v = without
				}
				if acc[q.to].Grant(m, v, clock(q.to, now)) == Granted && r.IntN(5) != 0 {
					answers = append(answers, request{now + r.Int64N(delay), q.sent, q.to})
				}
				return true
			})
			answers = slices.DeleteFunc(answers, func(q request) bool {
				if q.arrive > now {
					return false
				}
				ren.Granted(proto.NodeID(q.to), q.sent)
				return true
			})
			if i := r.IntN(n); r.IntN(300) == 0 {
				acc[i] = NewGranter(lease, clock(i, now))
				restarts++
			}
			if i := r.IntN(n); r.IntN(10) == 0 && !accepted[i] {
				if _, _, b := acc[i].Blocks(without, with, clock(i, now)); b {
					refused++
				} else {
					accepted[i] = true
				}
			}
			count := 0
			for _, a := range accepted {
				if a {
					count++
				}
			}
			serving := ren.Until(Hold(lease, drift)) > clock(1, now)
			if serving {
				served++
			}
			if count >= 3 {
				dropped++
				if serving {
					t.Fatalf("seed %d, %d: serves in spite of a chosen view without it", seed, now)
				}
			}
		}
	}
	t.Logf("%d runs: %d moments served, %d after the drop, %d refusals, %d restarts", runs, served, dropped, refused, restarts)
	if served == 0 || dropped == 0 || refused == 0 || restarts == 0 {
		t.Fatal("nothing shown")
	}
}

// TestLateRequestShortensNothing: of two requests the older one, handled last,
// leaves the guard of the newer one as it is.
func TestLateRequestShortensNothing(t *testing.T) {
	v := proto.View{Epoch: 1, Configured: 0b111, Live: 0b111}
	m := proto.Member{Node: 1, Incarnation: 4}
	v.Incarnation[1] = m.Incarnation
	g := NewGranter(1000, 0)
	const later = 10_000
	for _, now := range []int64{later, later - 250} {
		if a := g.Grant(m, &v, now); a != Granted {
			t.Fatalf("at %d: %v", now, a)
		}
	}
	without := v
	without.Live = 0b101
	if _, wait, blocked := g.Blocks(&without, &v, later+999); !blocked || wait != 1 {
		t.Errorf("a view without the holder: blocked %v for another %d, want true, 1", blocked, wait)
	}
}

// L4: who is refused is not guarded until it speaks; then what it was granted is
// guarded again, unless it was over for certain. No other life's refusal counts.
func TestRefusedUntilItSpeaks(t *testing.T) {
	const lease = 1000
	v := proto.View{Epoch: 1, Configured: 0b11, Live: 0b11, Shards: 1}
	v.Incarnation[0], v.Incarnation[1] = 1, 3
	without := v.Without(0b10)
	m := v.Member(1)
	g := NewGranter(lease, 0)
	now := int64(lease)
	if a := g.Grant(m, &v, now); a != Granted {
		t.Fatal(a)
	}
	blocks := func() bool { _, _, b := g.Blocks(&without, &v, now); return b }
	g.Refuse(proto.Member{Node: 1, Incarnation: 2})
	if !blocks() || g.MayDrop(m, now) {
		t.Error("the refusal of the life before lets this one go")
	}
	g.Refuse(m)
	if blocks() || !g.MayDrop(m, now) || g.Ended(m) || !g.Refused(m) || len(g.Holds(now)) != 0 {
		t.Error("refused, and guarded or over for good")
	}
	g.Spoke(proto.Member{Node: 1, Incarnation: 2})
	if !g.Refused(m) {
		t.Error("an earlier life spoke for it")
	}
	g.Spoke(m)
	if !blocks() || g.MayDrop(m, now) || g.Refused(m) || g.Until(m) != now+lease {
		t.Error("it spoke, and what it was granted is not guarded")
	}
	g.Refuse(m)
	g.End(m)
	g.Spoke(m)
	if blocks() || !g.Ended(m) || g.Refused(m) {
		t.Error("what is over for certain came back")
	}
	// After a restart too, when it is not known what was granted.
	g = NewGranter(lease, 0)
	now = 1
	if !blocks() {
		t.Error("a restarted acceptor lets go at once")
	}
	g.Refuse(m)
	if blocks() {
		t.Error("a restarted acceptor guards whose connections are refused")
	}
}
