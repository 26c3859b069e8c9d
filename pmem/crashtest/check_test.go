package crashtest

import (
	"bytes"
	"fmt"
	"slices"

	"healkv/pmem"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
	"healkv/pmem/store"
)

var identity = pmem.Identity{Cluster: [16]byte{1}, Node: 2, Shard: 0, Shards: 1, HashSeed: 5}

// found is where a crash has left a pool.
type found struct {
	tail, gen, stable uint64
	restored          bool // the index is a checkpoint's
}

// check opens a pool as a crash left it and compares all that it says with the
// model. kept: the process crashed, and memory is as it was.
func (m *model) check(mem *pmem.HeapMedium, kept bool) (at found, err error) {
	p, err := mem.Open(identity)
	if err != nil {
		return at, fmt.Errorf("refused: %w", err)
	}
	return m.compare(p, kept)
}

func (m *model) compare(p *pmem.Pool, kept bool) (at found, err error) {
	r, c := p.Recovered(), claimsOf(p.Super())
	at = found{r.Tail, c.gen, r.Stable, r.Restored}
	switch {
	case !slices.Contains(m.supers, c):
		return at, fmt.Errorf("superblock %v was never written; the last was %v", c, m.supers[len(m.supers)-1])
	case r.Salvaged != "" || r.Doubtful != "" || len(r.Extents) != 0:
		return at, fmt.Errorf("a crash taken for damage: %s, %s, %v", r.Salvaged, r.Doubtful, r.Extents)
	case c.gen < m.gen:
		return at, fmt.Errorf("superblock of generation %d, %d was durable", c.gen, m.gen)
	case c.durable > r.Tail:
		return at, fmt.Errorf("tail %d below the durable position %d", r.Tail, c.durable)
	case r.Tail < c.base:
		return at, fmt.Errorf("tail %d below the base %d", r.Tail, c.base)
	case r.Tail < m.flushed:
		return at, fmt.Errorf("tail %d, flushed through %d", r.Tail, m.flushed)
	case r.Tail > m.scanned && r.Tail > c.base:
		return at, fmt.Errorf("tail %d, appended through %d", r.Tail, m.scanned)
	case kept && r.Tail != max(m.scanned, c.base):
		return at, fmt.Errorf("tail %d after a process crash at %d", r.Tail, m.scanned)
	case !r.Kept && r.Stable != min(c.stable, r.Tail):
		return at, fmt.Errorf("stable %d, the superblock says %d", r.Stable, c.stable)
	case r.Stable > m.said:
		return at, fmt.Errorf("stable %d, said %d", r.Stable, m.said)
	case r.Complete != c.complete || r.LostThrough != c.lost || r.ViewEpoch != c.view || r.PreviousIncarnation != c.inc:
		return at, fmt.Errorf("recovered %+v, superblock %v", r, c)
	}
	m.findHoles(p.Store().Log(), r.Tail)
	marker := uint64(0)
	for _, pos := range m.markers {
		if pos >= c.base && pos < r.Tail && !m.inHole(pos) {
			marker = max(marker, pos)
		}
	}
	if r.LastMarker != marker {
		return at, fmt.Errorf("marker at %d, want %d", r.LastMarker, marker)
	}
	return at, m.contents(p, c.base, r)
}

// findHoles looks for parts of the log above the promise that a crash took out
// of its middle. Two ways lead to them. Of two segments begun since the last
// flush only the second has left a trace; the first looks like one that the
// cleaner gave back, so the log goes on behind it. And a recovery that ended
// the log within a segment dies itself when that end is on the medium, and the
// zeroed header of the next segment is not. Nothing in them was promised to
// anybody.
func (m *model) findHoles(log *seglog.Log, tail uint64) {
	m.holes = m.holes[:0]
	segment := uint64(log.SegmentBytes())
	for start := m.flushed &^ (segment - 1); start < tail; start += segment {
		from := start
		if _, live := log.ArenaOffset(start); live {
			_, from = log.Bounds(start / segment)
		}
		if from = max(from, m.flushed); from < start+segment {
			m.holes = append(m.holes, [2]uint64{from, start + segment})
		}
	}
}

func (m *model) inHole(pos uint64) bool {
	for _, h := range m.holes {
		if pos >= h[0] && pos < h[1] {
			return true
		}
	}
	return false
}

// contents compares every key, its lock and the leftovers.
func (m *model) contents(p *pmem.Pool, base uint64, r pmem.Recovered) error {
	var buf [valueMax]byte
	known, locked := uint64(0), 0
	s := p.Store()
	for i, name := range keyNames {
		var e store.Entry
		s.Find(&e, s.Hash(name), name)
		want, ok := m.current(i, base, r.Tail)
		if ok && !e.OK && want.del && want.ts <= m.dropped[i] {
			continue // it may come back, what it buried may not
		}
		if ok != e.OK || want.ts != e.TS || want.pos != e.Pos || ok && want.del != e.Tombstone {
			return fmt.Errorf("key %d: found %v, TS %d at %d, deleted %v; want %v %+v (tail %d)", i, e.OK, e.TS, e.Pos, e.Tombstone, ok, want, r.Tail)
		}
		if !ok {
			continue
		}
		known++
		if lock := want.pos >= r.Stable && !want.relocated; e.Locked != lock {
			return fmt.Errorf("key %d: at %d, stable %d, relocated %v, and locked is %v", i, want.pos, r.Stable, want.relocated, e.Locked)
		}
		if e.Locked {
			locked++
		}
		if got := record.Value(s.Record(e.Pos)); !bytes.Equal(got, fill(buf[:want.bytes], i, want.ts)) {
			return fmt.Errorf("key %d: value %x at TS %d", i, got, want.ts)
		}
	}
	if r.Restored {
		r.Keys = p.Store().Index().Len() // what the log adds to a page is counted when that is loaded
	}
	if r.Keys != known {
		return fmt.Errorf("%d keys in the index, %d known", r.Keys, known)
	}
	left := 0
	err := p.Leftovers(func(hash, pos, ts uint64) { left++ })
	if err == nil && left != locked {
		err = fmt.Errorf("%d leftovers, %d locked records", left, locked)
	}
	return err
}
