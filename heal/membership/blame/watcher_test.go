package blame

import (
	"testing"

	"healkv/dataplane/proto"
)

const patience = 1000

// watched is a watcher of node 0 that looks every 100 ns.
type watched struct {
	t   *testing.T
	w   Watcher
	now int64
}

func newWatched(t *testing.T) *watched {
	return &watched{t: t, w: NewWatcher(member(0), patience), now: 10_000}
}

// looks lets time pass with the same pairs.
func (w *watched) looks(d int64, pairs ...proto.Pair) {
	for end := w.now + d; w.now < end; {
		w.now += 100
		w.w.See(w.now, pairs)
	}
}

// want looks at the complaints: by kind of each node, 0 for none.
func (w *watched) want(what string, kinds ...Kind) {
	w.t.Helper()
	var got [proto.NodesMax]Kind
	for _, e := range w.w.Edges(nil, w.now) {
		if e.By != member(0) || e.For < patience || !e.valid(0) || e.String() == "" {
			w.t.Errorf("%s: complaint %+v", what, e)
		}
		got[e.Of.Node] = e.Kind
	}
	for n, k := range kinds {
		if got[n] != k {
			w.t.Errorf("%s: about node %d %v, want %v", what, n, got[n], k)
		}
	}
}

// pair is one with node n that has come that far with 1000 bytes.
func pair(n int, applied, durable uint64) proto.Pair {
	return proto.Pair{Member: member(n), Tail: 1000, Applied: applied, Durable: durable, Linked: true}
}

func TestWhatStandsStill(t *testing.T) {
	w := newWatched(t)
	w.looks(5*patience, pair(1, 1000, 1000), pair(2, 1000, 1000))
	w.want("nothing to wait for", 0, 0, 0)
	w.looks(patience, pair(1, 500, 500), pair(2, 1000, 900))
	w.want("not yet for so long", 0, 0, 0)
	if !w.w.Uneasy(w.now) {
		t.Error("not uneasy")
	}
	w.looks(100, pair(1, 500, 500), pair(2, 1000, 900))
	w.want("both", 0, Unapplied, Undurable)
	w.looks(100, pair(1, 501, 501), pair(2, 1000, 900))
	w.want("node 1 moved", 0, 0, Undurable)
	w.looks(100, pair(1, 501, 501))
	w.want("node 2 is no member any more", 0, 0, 0)
	w.looks(100, pair(2, 1000, 900))
	w.want("and is one again", 0, 0, 0)
	// With writes coming, applied moves on while nothing is flushed any more.
	for i := range uint64(20) {
		w.looks(100, pair(1, 100+i, 50))
	}
	w.want("nothing is flushed", 0, Undurable)
	// A pair that moves, however slowly, makes no complaint (B6).
	for i := range uint64(20) {
		w.looks(900, pair(3, 100+i, 100+i))
		w.want("slow", 0, 0, 0, 0)
	}
	w.looks(2*patience, proto.Pair{Member: member(1)})
	w.want("no connection", 0, NoLink)
	p := pair(1, 500, 500)
	p.Member.Incarnation++
	w.looks(100, p)
	w.want("another life", 0, 0)
	p = pair(2, 1000, 1000)
	q := p
	q.Shard, q.Applied = 3, 10
	w.looks(2*patience, p, q)
	w.want("one shard of two", 0, 0, Unapplied)
	w.looks(100, p)
	if w.w.Uneasy(w.now) {
		t.Error("uneasy about a shard that is not there any more")
	}
}

// TestOwnStandstill: what this process did not look at is nobody's fault (B4).
func TestOwnStandstill(t *testing.T) {
	w := newWatched(t)
	w.looks(patience/2, pair(1, 1, 1))
	w.now += 10 * patience // SIGSTOP
	w.want("before it has looked", 0, 0)
	if w.w.Uneasy(w.now) {
		t.Error("uneasy without having looked")
	}
	w.looks(100, pair(1, 1, 1))
	w.want("the first look", 0, 0)
	w.looks(patience-200, pair(1, 1, 1))
	w.want("not yet", 0, 0)
	w.looks(200, pair(1, 1, 1))
	w.want("now it is", 0, Unapplied)
	w.w.Reset(w.now)
	w.want("a new view", 0, 0)
	w.looks(patience, pair(1, 1, 1))
	w.want("the time began with the first look", 0, 0)
	w.looks(100, pair(1, 1, 1))
	w.want("in the new view too", 0, Unapplied)
}

func TestConnectionsThatCannotBeMade(t *testing.T) {
	w := newWatched(t)
	w.looks(100)
	w.w.NoLink(w.now, member(2), w.now)
	w.looks(patience)
	w.want("none for the patience", 0, 0, NoLink)
	w.w.NoLink(w.now, member(2), w.now) // said again
	w.want("still", 0, 0, NoLink)
	w.w.NoLink(w.now, member(3), 0)
	w.want("another node's works", 0, 0, NoLink, 0)
	w.w.NoLink(w.now, member(2), 0)
	w.want("it works", 0, 0, 0)
	w.w.NoLink(w.now, member(0), w.now)
	w.w.NoLink(w.now, proto.Member{Node: 99, Incarnation: 1}, w.now)
	w.looks(2 * patience)
	w.want("itself, and nobody", 0, 0, 0)
}

func TestLooksAllocateNothing(t *testing.T) {
	w := NewWatcher(member(0), patience)
	pairs := []proto.Pair{pair(1, 1, 1), pair(2, 1000, 1000)}
	now, edges := int64(10_000), make([]Edge, 0, proto.NodesMax)
	if n := testing.AllocsPerRun(1000, func() {
		now += 100
		w.See(now, pairs)
		edges = w.Edges(edges[:0], now)
		w.Uneasy(now)
	}); n != 0 {
		t.Errorf("%v allocations a look", n)
	}
	if len(edges) != 1 {
		t.Errorf("complaints: %v", edges)
	}
}
