package blame

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Watcher is one coordinator's eye on the members that follow its streams.
// Times are nanoseconds of its own clock, above 0. The zero Watcher is of
// nobody.
type Watcher struct {
	self     proto.Member
	patience int64
	last     int64  // time of the newest look, 0: none
	books    []book // by shard and node
	links    [proto.NodesMax]link
}

// book is what is known of one member at one shard. The times are since when
// it stands still with something to do, 0: it does not.
type book struct {
	of               proto.Member
	seen             int64 // the look it was part of
	applied, durable uint64
	tail             uint64
	unapplied        int64
	undurable        int64
	unlinked         int64
}

// link is a connection that somebody else tries to make.
type link struct {
	to    proto.Member
	since int64 // 0: it works
}

// NewWatcher watches for the life self. patience, in ns, is how long something
// stands still before it is complained about.
func NewWatcher(self proto.Member, patience int64) Watcher {
	return Watcher{self: self, patience: patience}
}

// See takes in a look at all pairs of all shards. A member that is not among
// them any more is forgotten. When looks come too far apart this process stood
// still, and so may have the copies it looked at: everything begins anew (B4).
func (w *Watcher) See(now int64, pairs []proto.Pair) {
	if w.last != 0 && now-w.last > w.patience/2 && !plant.Is(plant.H34Gap) {
		w.Reset(now)
	}
	w.last = now
	for i := range pairs {
		p := &pairs[i]
		if p.Member.Node >= proto.NodesMax || p.Shard >= proto.ShardsMax || p.Member == w.self {
			continue
		}
		at := int(p.Shard)*proto.NodesMax + int(p.Member.Node)
		for len(w.books) <= at {
			w.books = append(w.books, book{})
		}
		w.books[at].see(now, p)
	}
	for i := range w.books {
		if b := &w.books[i]; b.seen != now {
			*b = book{}
		}
	}
}

func (b *book) see(now int64, p *proto.Pair) {
	if b.of != p.Member {
		*b = book{of: p.Member}
	}
	b.unapplied = standing(b.unapplied, now, p.Tail > p.Applied, p.Applied != b.applied)
	b.undurable = standing(b.undurable, now, p.Tail > p.Durable, p.Durable != b.durable)
	b.unlinked = standing(b.unlinked, now, !p.Linked, false)
	b.applied, b.durable, b.tail, b.seen = p.Applied, p.Durable, p.Tail, now
}

// standing is since when something stands still, after a look at now.
func standing(since, now int64, waits, moved bool) int64 {
	switch {
	case !waits:
		return 0
	case since == 0 || moved:
		return now
	}
	return since
}

// Reset starts all times anew: the view is another one, or this process stood
// still.
func (w *Watcher) Reset(now int64) {
	w.last = now
	for i := range w.books {
		b := &w.books[i]
		b.unapplied, b.undurable, b.unlinked = 0, 0, 0 // the next look begins
	}
	for i := range w.links {
		if k := &w.links[i]; k.since != 0 {
			k.since = now
		}
	}
}

// NoLink tells that no connection to a member can be made since then; 0: there
// is one.
func (w *Watcher) NoLink(now int64, to proto.Member, since int64) {
	if to.Node >= proto.NodesMax || to == w.self {
		return
	}
	k := &w.links[to.Node]
	switch {
	case since == 0 && k.to == to:
		*k = link{}
	case since != 0 && (k.to != to || k.since == 0):
		*k = link{to, now} // what was before this is hearsay
	}
}

// Edges appends the complaints to dst, at most one about each node: the one
// that stands still the longest. There are none if nobody has looked lately.
func (w *Watcher) Edges(dst []Edge, now int64) []Edge {
	if now-w.last > w.patience/2 {
		return dst
	}
	for n := range proto.NodeID(proto.NodesMax) {
		e := w.worst(n)
		if e.For >= w.patience && !plant.Is(plant.H29Mute) {
			dst = append(dst, e)
		}
	}
	return dst
}

// worst is what stands still the longest between us and a node, as of the
// newest look.
func (w *Watcher) worst(n proto.NodeID) Edge {
	worst := Edge{}
	note := func(of proto.Member, kind Kind, shard int, since int64) {
		if since != 0 && w.last-since > worst.For {
			worst = Edge{By: w.self, Of: of, Kind: kind, Shard: uint8(shard), For: w.last - since}
		}
	}
	note(w.links[n].to, NoLink, 0, w.links[n].since)
	for at := int(n); at < len(w.books); at += proto.NodesMax {
		b, shard := &w.books[at], at/proto.NodesMax
		note(b.of, NoLink, shard, b.unlinked)
		note(b.of, Unapplied, shard, b.unapplied)
		note(b.of, Undurable, shard, b.undurable)
	}
	return worst
}

// Standing is what stands still the longest between this node and n, with the
// figures of that pair; Edge.For 0: nothing does.
type Standing struct {
	Edge
	Applied, Durable, Tail uint64
}

// Standing may say less than the patience: Edges has what is complained about.
func (w *Watcher) Standing(n proto.NodeID, now int64) (s Standing) {
	if now-w.last > w.patience/2 || n >= proto.NodesMax {
		return s
	}
	s.Edge = w.worst(n)
	if at := int(s.Shard)*proto.NodesMax + int(n); at < len(w.books) {
		b := &w.books[at]
		s.Applied, s.Durable, s.Tail = b.applied, b.durable, b.tail
	}
	return s
}

// Uneasy reports whether something stands still for a quarter of the patience:
// then everybody should have something to wait for, so that it is seen which
// pairs do not move.
func (w *Watcher) Uneasy(now int64) bool {
	if now-w.last > w.patience/2 {
		return false
	}
	for n := range proto.NodeID(proto.NodesMax) {
		if w.worst(n).For >= w.patience/4 {
			return true
		}
	}
	return false
}
