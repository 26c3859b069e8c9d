package blame

import (
	"testing"

	"healkv/dataplane/proto"
)

const (
	paceLooks    = 40 // ns; patience 1000, slow 500: a look every 40
	pacePatience = 1000
	paceSlow     = 500
)

// disk is how a member acknowledges: what was published before, late by some ns.
type disk func(now int64) (lag int64)

func always(lag int64) disk { return func(int64) int64 { return lag } }

// stream publishes an entry a ns, and members acknowledge it late.
func watchPaces(p *Paces, from, to int64, live proto.NodeSet, disks map[int]disk) {
	for now := from; now < to; now += paceLooks {
		var pairs []proto.Pair
		for n := range proto.NodesMax {
			d := disks[n]
			if d == nil {
				continue
			}
			done := uint64(max(0, now-d(now)))
			pairs = append(pairs, proto.Pair{Member: member(n), Tail: uint64(now), Applied: uint64(now), Durable: done, Linked: true})
		}
		p.See(now, pairs, live)
	}
}

// TestPaces: who is found slow, when, and when no more.
func TestPaces(t *testing.T) {
	live := proto.NodeSet(0b11111)
	quick := always(20)
	// A disk that flushes for 700 and acknowledges all of what came before.
	tooth := func(now int64) int64 { return now % 700 }
	cases := []struct {
		name  string
		disks map[int]disk
		for_  int64
		live  proto.NodeSet
		found proto.NodeSet
	}{
		{"all quick", map[int]disk{1: quick, 2: quick, 3: quick, 4: quick}, 9000, live, 0},
		{"one slow, not for long enough", map[int]disk{1: quick, 2: always(700), 3: quick, 4: quick}, 2400, live, 0},
		{"one slow", map[int]disk{1: quick, 2: always(700), 3: quick, 4: quick}, 4000, live, 0b100},
		{"one slow in teeth", map[int]disk{1: quick, 2: tooth, 3: quick, 4: quick}, 6000, live, 0b100},
		{"one less than slow", map[int]disk{1: quick, 2: always(480), 3: quick, 4: quick}, 9000, live, 0},
		{"all slow", map[int]disk{1: always(700), 2: always(900), 3: always(700), 4: always(800)}, 9000, live, 0},
		{"half slow", map[int]disk{1: always(700), 2: always(700), 3: quick, 4: quick}, 9000, live, 0b110},
		{"most slow", map[int]disk{1: always(700), 2: always(700), 3: always(700), 4: quick}, 9000, live, 0},
		{"the others are not quick", map[int]disk{1: always(200), 2: always(900), 3: always(200), 4: always(200)}, 9000, live, 0},
		{"slow now and then", map[int]disk{1: quick, 2: func(now int64) int64 {
			if now%2000 < 800 {
				return 700
			}
			return 20
		}, 3: quick, 4: quick}, 20000, live, 0},
		{"nobody to compare with", map[int]disk{1: always(700)}, 9000, 0b11, 0},
		{"a shadow", map[int]disk{1: quick, 2: always(700), 3: quick, 4: quick}, 4000, 0b11011, 0},
		{"a shadow for longer", map[int]disk{1: quick, 2: always(700), 3: quick, 4: quick}, 6000, 0b11011, 0b100},
	}
	for _, c := range cases {
		p := NewPaces(member(0), pacePatience, paceSlow)
		watchPaces(&p, 1, c.for_, c.live, c.disks)
		found := proto.NodeSet(0)
		for _, e := range p.Edges(nil, p.last) {
			found = found.With(e.Of.Node)
			if e.Kind != Slow || e.Lag < paceSlow || !e.valid(0) {
				t.Errorf("%s: %+v", c.name, e)
			}
		}
		// Half of four others slow leaves each of them two quick ones of three.
		if found != c.found {
			t.Errorf("%s: found %v, want %v", c.name, found.Nodes(nil), c.found.Nodes(nil))
		}
	}
	t.Logf("%d cases", len(cases))
}

// TestPacesOff: without a limit nobody is slow, and everybody keeps up.
func TestPacesOff(t *testing.T) {
	p := NewPaces(member(0), pacePatience, 0)
	watchPaces(&p, 1, 9000, 0b1111, map[int]disk{1: always(20), 2: always(900), 3: always(20)})
	if e := p.Edges(nil, 9000); len(e) != 0 || !p.KeepsUp(member(2), 9000) {
		t.Errorf("%v, keeps up %v", e, p.KeepsUp(member(2), 9000))
	}
}

// TestKeepsUp: a member is quick again when it has been for two patiences, in
// the same life.
func TestKeepsUp(t *testing.T) {
	disks := map[int]disk{1: always(20), 2: func(now int64) int64 {
		if now < 4000 {
			return 700
		}
		return 20
	}, 3: always(20)}
	p := NewPaces(member(0), pacePatience, paceSlow)
	asked := 0
	for now := int64(1); now < 9000; now += 10 * paceLooks {
		watchPaces(&p, now, now+10*paceLooks, 0b1111, disks)
		if got, want := p.KeepsUp(member(2), p.last), p.last > 4020+2*pacePatience; got != want && (p.last < 4000 || p.last > 4100+2*pacePatience+paceLooks) {
			t.Errorf("at %d: keeps up %v, want %v", p.last, got, want)
		}
		asked++
	}
	same := NewPaces(member(0), pacePatience, paceSlow)
	watchPaces(&same, 1, 9000, 0b1011, map[int]disk{1: always(300), 2: always(300), 3: always(300)})
	if !same.KeepsUp(member(2), same.last) {
		t.Error("a shadow that is as slow as all live members does not keep up")
	}
	if next := (proto.Member{Node: 2, Incarnation: 8}); p.KeepsUp(next, p.last) || asked == 0 {
		t.Error("a life that nobody saw keeps up")
	}
}

// TestPacesOwnStandstill: what was slow before this node stood still begins
// anew, and so does what seems slow after it.
func TestPacesOwnStandstill(t *testing.T) {
	disks := map[int]disk{1: always(20), 2: always(700), 3: always(20)}
	p := NewPaces(member(0), pacePatience, paceSlow)
	now := int64(1)
	for range 5 { // slow for 1.5 patiences, then a gap
		watchPaces(&p, now, now+1500, 0b1111, disks)
		now += 1500 + paceSlow
		if e := p.Edges(nil, p.last); len(e) != 0 {
			t.Fatalf("complains over a standstill of its own: %v", e)
		}
	}
	watchPaces(&p, now, now+4000, 0b1111, disks)
	if e := p.Edges(nil, p.last); len(e) != 1 {
		t.Errorf("complaints: %v", e)
	}
	if e := p.Edges(nil, p.last+paceSlow); len(e) != 0 {
		t.Errorf("complains, and has not looked lately: %v", e)
	}
}

// TestJudgeSlow: whom complaints of slowness name.
func TestJudgeSlow(t *testing.T) {
	slow := func(pairs ...[2]int) (out []Edge) {
		for _, p := range pairs {
			out = append(out, Edge{By: member(p[0]), Of: member(p[1]), Kind: Slow, For: 2000, Lag: 600})
		}
		return out
	}
	three := slow([2]int{0, 2}, [2]int{1, 2}, [2]int{3, 2})
	shadow := func(n int, s proto.NodeSet) proto.View {
		v := group(n)
		v.Live, v.Shadow = v.Live&^s, s
		return v
	}
	cold := shadow(5, 0b11111)
	cold.Cold = true
	cases := []struct {
		name          string
		v             proto.View
		edges         []Edge
		running, held proto.NodeSet
		victim        int
	}{
		{"nobody complains", group(5), nil, 0b11111, 0, -1},
		{"one of four", group(5), three[:1], 0b11111, 0, -1},
		{"two of four", group(5), three[:2], 0b11111, 0, -1},
		{"three of four", group(5), three, 0b11111, 0, 2},
		{"one of two", group(3), three[:1], 0b111, 0, -1},
		{"both of two", group(3), three[:2], 0b111, 0, 2},
		{"of two nodes", group(2), slow([2]int{0, 1}), 0b11, 0, -1},
		{"one does not run: three are left", group(5), three, 0b01111, 0, 2},
		{"two do not run: two would be left of five", group(5), three, 0b00111 | 1<<3, 0, 2},
		{"too few would run", group(5), three, 0b00111, 0, -1},
		{"something stands still", group(5), append(slow([2]int{0, 2}, [2]int{1, 2}, [2]int{3, 2}), by(1, 4)), 0b11111, 0, -1},
		{"a shadow is on its way back", shadow(5, 0b10000), three, 0b01111, 0, -1},
		{"a shadow that was never demoted", shadow(5, 0b00100), three, 0b11011, 0, -1},
		{"a shadow that was demoted", shadow(5, 0b00100), three, 0b11011, 0b00100, 2},
		{"a shadow's complaints", shadow(5, 0b00011), three, 0b11100, 0b00100, -1},
		{"a cold start", cold, three, 0b11111, 0b11111, -1},
		{"another life", group(5), []Edge{{By: member(0), Of: proto.Member{Node: 2, Incarnation: 6}, Kind: Slow}, {By: member(1), Of: proto.Member{Node: 2, Incarnation: 6}, Kind: Slow},
			{By: member(3), Of: proto.Member{Node: 2, Incarnation: 6}, Kind: Slow}}, 0b11111, 0, -1},
		{"two of them", group(5), append(slow([2]int{0, 1}, [2]int{2, 1}, [2]int{3, 1}), three...), 0b11111, 0, 2},
		{"more find the other slow", group(5), append(slow([2]int{0, 1}, [2]int{2, 1}, [2]int{3, 1}, [2]int{4, 1}), three...), 0b11111, 0, 1},
	}
	for _, c := range cases {
		x := JudgeSlow(&c.v, c.edges, c.running, c.held, c.v.Configured.Count()/2+1)
		got := -1
		if x.Victim.Incarnation != 0 {
			got = int(x.Victim.Node)
		}
		if got != c.victim || (got >= 0) != (x.Why != "") {
			t.Errorf("%s: names %d (%s), want %d", c.name, got, x.Why, c.victim)
		}
		var hears [proto.NodesMax]proto.NodeSet
		only := true
		for _, e := range c.edges {
			only = only && e.Kind == Slow
		}
		if y := Judge(&c.v, c.edges, &hears, c.running); only && y.Victim.Incarnation != 0 {
			t.Errorf("%s: taken for a bad link: %v", c.name, y)
		}
	}
	t.Logf("%d cases", len(cases))
}
