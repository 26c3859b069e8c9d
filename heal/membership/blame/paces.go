package blame

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// How long a member is slow, in patiences, before it is complained about. A
// shadow that came back after a demotion has longer: its way back costs both.
const (
	slowLive   = 2
	slowShadow = 4
	calmFor    = 2 // that a shadow keeps up before it may be live again
	quicker    = 4 // times: what the others are, and what it has to be again
)

// Paces is one coordinator's measure of how late its entries become durable at
// each member (B7). It is told of looks at its streams as Watcher is. Times are
// nanoseconds of its own clock, above 0.
//
// The lag of a member is how old the oldest entry is that it has not
// acknowledged as durable. Between two acknowledgements that is a saw tooth:
// what counts is its peak, until the next one can have come.
type Paces struct {
	self     proto.Member
	patience int64
	slow     int64 // lag, ns; 0: nobody is ever slow
	last     int64 // time of the newest look, 0: none
	trails   []trail
	nodes    [proto.NodesMax]pace
}

// NewPaces measures for the life self; slow is the lag, in ns, from which a
// member is slow, at most the patience. 0: none ever is.
func NewPaces(self proto.Member, patience, slow int64) Paces {
	return Paces{self: self, patience: patience, slow: slow}
}

// Every is how often to look, at most.
func (p *Paces) Every() int64 { return p.slow / 4 }

// peaks is how far two peaks of a member that is slow lie apart, at most.
func (p *Paces) peaks() int64 { return p.slow + p.patience/4 }

// pace is what is known of a member.
type pace struct {
	of      proto.Member
	seen    int64
	lag     int64 // at the newest look, of its latest shard
	peak    int64 // the highest since slow began
	over    int64 // the last look at which it was slow; 0: none
	quarter int64 // the last look at which it was not quick, and the first one of all
	behind  int64 // the last look at which it was not quick and most others were, and the first one of all
	since   int64 // it has been slow without interruption since then; 0: it is not
	live    bool
}

// trail is when the end of a stream was seen where, for one member.
type trail struct {
	of   proto.Member
	n    int // ever noted
	at   [16]int64
	tail [16]uint64
}

// see notes a look; the result is how old the oldest entry beyond acked is, at
// least: it was published before the look that first saw it.
func (t *trail) see(now int64, p *proto.Pair) int64 {
	if t.of != p.Member {
		*t = trail{of: p.Member}
	}
	if last := (t.n + len(t.at) - 1) % len(t.at); t.n == 0 || p.Tail > t.tail[last] {
		t.at[t.n%len(t.at)], t.tail[t.n%len(t.at)] = now, p.Tail
		t.n++
	}
	acked := min(p.Applied, p.Durable)
	for k := max(0, t.n-len(t.at)); k < t.n; k++ {
		if i := k % len(t.at); t.tail[i] > acked {
			return now - t.at[i]
		}
	}
	return 0
}

// See takes in a look at all pairs of all shards; live are the live members of
// the view. When looks come too far apart this process stood still, and
// everything begins anew (B4).
func (p *Paces) See(now int64, pairs []proto.Pair, live proto.NodeSet) {
	if p.slow == 0 {
		return
	}
	if p.last != 0 && now-p.last > p.slow/2 && !plant.Is(plant.SlowOwn) {
		p.Reset()
	}
	p.last = now
	for i := range pairs {
		x := &pairs[i]
		if x.Member.Node >= proto.NodesMax || x.Shard >= proto.ShardsMax || x.Member == p.self {
			continue
		}
		at := int(x.Shard)*proto.NodesMax + int(x.Member.Node)
		for len(p.trails) <= at {
			p.trails = append(p.trails, trail{})
		}
		lag := p.trails[at].see(now, x)
		n := &p.nodes[x.Member.Node]
		if n.of != x.Member {
			*n = pace{of: x.Member, quarter: now, behind: now}
		}
		if n.seen != now {
			n.seen, n.lag = now, 0
		}
		n.lag = max(n.lag, lag)
	}
	for i := range p.nodes {
		n := &p.nodes[i]
		if n.seen != now {
			*n = pace{}
			continue
		}
		n.live = live.Has(proto.NodeID(i))
		n.look(now, p)
	}
	for i := range p.nodes {
		switch n := &p.nodes[i]; {
		case n.seen != now:
		case p.others(proto.NodeID(i), now) || plant.Is(plant.SlowAll):
			if n.quarter == now {
				n.behind = now
			}
		default: // it is no slower than they are
			n.since, n.peak = 0, 0
		}
	}
}

// look counts the newest look at a member in.
func (n *pace) look(now int64, p *Paces) {
	if n.lag >= p.slow/quicker {
		n.quarter = now
	}
	if n.lag >= p.slow {
		n.over = now
		if n.since == 0 {
			n.since = now
		}
		n.peak = max(n.peak, n.lag)
	}
	if n.since != 0 && now-n.over > p.peaks() {
		n.since, n.peak = 0, 0
	}
}

// others reports whether more than half of the other live members are quick: if
// not, it is everybody who is slow, or this node.
func (p *Paces) others(x proto.NodeID, now int64) bool {
	all, quick := 0, 0
	for i := range p.nodes {
		if n := &p.nodes[i]; proto.NodeID(i) != x && n.seen == now && n.live {
			all++
			if n.lag < p.slow/quicker && now-n.quarter > p.peaks() {
				quick++
			}
		}
	}
	return 2*quick > all
}

// Reset starts all times anew.
func (p *Paces) Reset() {
	p.last, p.trails, p.nodes = 0, p.trails[:0], [proto.NodesMax]pace{}
}

// Edges appends the complaints to dst. There are none if nobody has looked
// lately.
func (p *Paces) Edges(dst []Edge, now int64) []Edge {
	for i := range proto.NodeID(proto.NodesMax) {
		need := int64(slowLive)
		if !p.nodes[i].live {
			need = slowShadow
		}
		if plant.Is(plant.SlowOnce) {
			need = 0
		}
		if e := p.Edge(i, now); e.Kind != 0 && e.For >= need*p.patience {
			dst = append(dst, e)
		}
	}
	return dst
}

// Edge is how slow a node is, complained about or not; Kind 0: it is not.
func (p *Paces) Edge(i proto.NodeID, now int64) Edge {
	n := &p.nodes[i]
	if p.slow == 0 || n.since == 0 || now-p.last > p.slow/2 {
		return Edge{}
	}
	return Edge{By: p.self, Of: n.of, Kind: Slow, For: p.last - n.since, Lag: n.peak}
}

// Uneasy reports whether somebody is slow: then everybody should have something
// to wait for, as those who write nothing see nothing.
func (p *Paces) Uneasy(now int64) bool {
	for i := range p.nodes {
		if p.Edge(proto.NodeID(i), now).Kind != 0 {
			return true
		}
	}
	return false
}

// KeepsUp reports whether a member has been quick, or no slower than most, for
// long enough that it may be live again.
func (p *Paces) KeepsUp(m proto.Member, now int64) bool {
	if p.slow == 0 {
		return true
	}
	n := &p.nodes[m.Node%proto.NodesMax]
	return n.of == m && now-p.last <= p.slow/2 && now-n.behind >= calmFor*p.patience
}
