package store

import (
	"healkv/dataplane/plant"
	"healkv/pmem/index"
	"healkv/pmem/record"
)

// manifestStride is how many records Manifest looks at between leaving and
// entering again, so that it holds up neither the reuse of index pages nor Shut.
const manifestStride = 256

// Manifest lists the records in the log range [from, to) that are their key's
// current ones, for a node that fetches them: copies the cleaner made of what
// lay below every missed range are left out unless full (see Bounds).
//
// fn is called with the position of a run of such records, its offset in the
// arena, its length in bytes, the incarnation its headers are seeded with, and
// whether its records are locked: neighbours of one segment and one lock state
// are one run. fn returns false to stop. Headers are verified, bodies are not
// (whoever fetches them does).
//
// Any goroutine but the worker; the caller holds a pin, so that nothing at or
// above from is moved or given back. A record that is replaced while this runs may be listed.
// Errors: *seglog.Damage, ErrShut, ErrUnsure (precondition: Sure).
func (s *Store) Manifest(from, to uint64, full bool, fn func(pos uint64, off int64, n int, inc uint32, locked bool) bool) error {
	r := s.NewReader()
	defer r.Close()
	defer r.leave() // after a fault, too
	m := manifest{s: s, full: full, walk: s.log.Walk(from, to)}
	for {
		if !r.enter() {
			return ErrShut
		}
		more := m.stride(fn)
		r.leave()
		if !more {
			if m.err != nil {
				return m.err
			}
			return m.walk.Err()
		}
	}
}

type manifest struct {
	s     *Store
	full  bool
	walk  walker
	err   error
	ahead ahead

	// The run so far; n is 0 if there is none.
	pos    uint64
	off    int64
	n      int
	inc    uint32
	locked bool
}

// stride goes on by some records; false at the end, an error or fn's no.
func (m *manifest) stride(fn func(pos uint64, off int64, n int, inc uint32, locked bool) bool) bool {
	var h record.Header
	var c index.Cursor
	for range manifestStride {
		m.ahead.look(m.s, &m.walk)
		pos, img := m.walk.Next(&h)
		if img == nil {
			if m.s.skip(&m.walk) {
				continue
			}
			if !plant.Is(plant.StoreListed) {
				m.emit(fn)
			}
			return false
		}
		if h.Kind != record.Put && h.Kind != record.Delete || !m.full && !listed(h.Flags) ||
			!m.s.seek(&c, h.Hash, pos) && !c.Unsure() {
			continue
		}
		if c.Unsure() {
			m.err = ErrUnsure
			return false
		}
		locked, n := c.Word().Locked(), h.Bytes()
		if m.n != 0 && pos == m.pos+uint64(m.n) && (locked == m.locked || plant.Is(plant.StoreRun)) {
			m.n += n
			continue
		}
		if !m.emit(fn) {
			return false
		}
		off, ok := m.s.log.ArenaOffset(pos)
		inc, _ := m.s.log.IncarnationOf(pos)
		assert(ok, "a pinned segment went")
		m.pos, m.off, m.n, m.inc, m.locked = pos, off, n, inc, locked
	}
	return true
}

func (m *manifest) emit(fn func(pos uint64, off int64, n int, inc uint32, locked bool) bool) bool {
	if m.n == 0 {
		return true
	}
	ok := fn(m.pos, m.off, m.n, m.inc, m.locked)
	m.n = 0
	return ok
}
