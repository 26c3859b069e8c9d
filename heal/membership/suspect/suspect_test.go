package suspect

import (
	"testing"

	"healkv/dataplane/proto"
)

const ms = 1_000_000

var limits = Limits{Quiet: 500 * ms, Away: 1000 * ms, Stall: 500 * ms, Slow: 500 * ms, Settle: 400 * ms, Tell: 1000 * ms, Gap: 500 * ms}

// step is what is seen from at on, every 100 ms until the next one.
type step struct {
	at    int64 // ms
	see   Sight // HeardAt 1: at every look; else it stays
	class Class // at the end of the step
	told  int   // how often, by then
}

// TestClasses walks what can be seen through time.
func TestClasses(t *testing.T) {
	life, next := proto.Member{Node: 1, Incarnation: 3}, proto.Member{Node: 1, Incarnation: 4}
	well := Sight{Life: life, HeardAt: 1}
	with := func(f func(s *Sight)) Sight { s := well; f(&s); return s }
	silent := Sight{Life: life}
	stalled := with(func(s *Sight) { s.Stalled = 600 * ms })
	slow := with(func(s *Sight) { s.Slow = 600 * ms })
	unlinked := with(func(s *Sight) { s.Unlinked, s.Stalled = 600*ms, 600*ms })
	dead := with(func(s *Sight) { s.Dead = true })
	cases := map[string][]step{
		"well":                           {{0, well, Alive, 0}, {3000, well, Alive, 0}},
		"silent":                         {{0, well, Alive, 0}, {1000, silent, Unreachable, 1}},
		"silent shortly":                 {{0, well, Alive, 0}, {1000, silent, Alive, 0}, {1400, well, Alive, 0}},
		"silent, back before its lease":  {{0, well, Alive, 0}, {1000, silent, Unreachable, 1}, {1700, well, Unreachable, 1}, {2000, well, Alive, 2}},
		"silent, back in the same life":  {{0, well, Alive, 0}, {1000, silent, Unreachable, 1}, {3000, well, Paused, 2}, {3900, well, Alive, 3}},
		"silent, back in the next life":  {{0, well, Alive, 0}, {1000, silent, Unreachable, 1}, {3000, Sight{Life: next, HeardAt: 1}, Alive, 2}},
		"never heard":                    {{0, silent, Unreachable, 1}, {2000, silent, Unreachable, 1}},
		"stands still shortly":           {{0, with(func(s *Sight) { s.Stalled = 400 * ms }), Alive, 0}},
		"stands still":                   {{0, well, Alive, 0}, {1000, stalled, Stalled, 1}, {1500, well, Stalled, 1}, {1900, well, Alive, 2}},
		"no data link goes before":       {{0, unlinked, Unlinked, 1}},
		"silence goes before":            {{0, well, Alive, 0}, {1000, with(func(s *Sight) { s.HeardAt, s.Unlinked = 0, 600*ms }), Unreachable, 1}},
		"slow":                           {{0, well, Alive, 0}, {1000, slow, Slow, 1}, {5000, slow, Slow, 1}},
		"slow, then stands still":        {{0, slow, Slow, 1}, {1500, stalled, Stalled, 2}},
		"stands still, then slow":        {{0, stalled, Stalled, 1}, {1500, slow, Slow, 2}},
		"dead":                           {{0, well, Alive, 0}, {1000, dead, Dead, 1}, {1500, Sight{Life: next, HeardAt: 1}, Alive, 1}, {2000, Sight{Life: next, HeardAt: 1}, Alive, 2}},
		"flaps: settled and told rarely": {{0, stalled, Stalled, 1}, {500, well, Stalled, 1}, {700, stalled, Stalled, 1}, {900, well, Stalled, 1}, {1200, stalled, Stalled, 1}},
	}
	walked := 0
	for name, steps := range cases {
		tr := New(limits)
		now, heard, told := int64(1), int64(0), 0
		look := func(s Sight) {
			if s.HeardAt != 0 {
				heard = now
			}
			s.HeardAt = heard
			var sights [proto.NodesMax]Sight
			sights[1] = s
			if tr.Look(now, &sights, proto.NodeSet(0).With(1)).Has(1) {
				told++
			}
			walked++
		}
		for i, s := range steps {
			end := s.at + 700 // ms
			if i+1 < len(steps) {
				end = steps[i+1].at
			}
			for ; now < end*ms; now += 100 * ms {
				look(s.see)
			}
			x := tr.State(1)
			if x.Class != s.class || told != s.told {
				t.Errorf("%s, until %d ms: %v, told %d times; want %v, %d", name, end, x.Class, told, s.class, s.told)
			}
			if x.Class == Paused && x.Silent < 1000*ms {
				t.Errorf("%s: paused after a silence of %d", name, x.Silent)
			}
		}
	}
	if walked == 0 {
		t.Error("nothing was looked at")
	}
	t.Logf("%d cases, %d looks", len(cases), walked)
}

// TestOwnGap: while this node stood still itself it heard nothing, and that says
// nothing about the others (U3).
func TestOwnGap(t *testing.T) {
	tr := New(limits)
	var sights [proto.NodesMax]Sight
	of := proto.NodeSet(0).With(1)
	now := int64(1)
	sights[1] = Sight{Life: proto.Member{Node: 1, Incarnation: 1}}
	for range 10 {
		sights[1].HeardAt = now
		tr.Look(now, &sights, of)
		now += 100 * ms
	}
	now += 5000 * ms
	for range 5 { // what waited is heard a little later
		tr.Look(now, &sights, of)
		if c := tr.State(1).Class; c != Alive {
			t.Fatalf("%v after a gap of its own", c)
		}
		now += 100 * ms
	}
	sights[1].HeardAt = now
	tr.Look(now, &sights, of)
	if c := tr.State(1).Class; c != Alive {
		t.Errorf("%v: the silence was this node's own", c)
	}
}
