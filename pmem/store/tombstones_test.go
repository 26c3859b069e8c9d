package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

// Tombstones go, and no key comes back by it: not after a power loss at any
// moment either, which leaves any part of what was not flushed.
func TestTombstonesGo(t *testing.T) {
	crashes, dropped, swept := 0, 0, 0
	for seed := range uint64(8) {
		n, d, s, err := dropAndCrash(t, seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		crashes, dropped, swept = crashes+n, dropped+d, swept+s
	}
	if dropped == 0 || swept == 0 {
		t.Errorf("%d tombstones dropped, %d sweeps", dropped, swept)
	}
	t.Logf("%d tombstones dropped, %d sweeps, %d crashes", dropped, swept, crashes)
}

func dropAndCrash(t *testing.T, seed uint64) (crashes, dropped, swept int, err error) {
	const cold, hot = 60, 240
	r := rand.New(rand.NewPCG(seed, 4))
	m := makeStore(t, 32, 2048, 1000)
	media := make([]byte, len(m.arena))
	model, durable := map[int]known{}, map[int]known{}
	floor, epoch, version := uint64(0), uint64(1), uint64(0)
	bounds := Upto(0)
	flush := func() {
		to := m.Tail()
		for _, x := range m.log.Ranges(nil, m.Flushed(), to) {
			from, end := x.Off&^63, min((x.Off+x.Len+63)&^63, len(media))
			copy(media[from:end], m.arena[from:end])
		}
		m.SetFlushed(to)
		floor = to
		clear(durable)
		for n, k := range model {
			durable[n] = k
		}
	}
	find := func(n int) (e Entry) {
		m.Find(&e, m.Hash(keyOf(n)), keyOf(n))
		return e
	}
	clean := func(budget int) error {
		before := map[int]Entry{}
		for n, k := range model {
			if k.deleted {
				before[n] = find(n)
			}
		}
		was, sweeping := m.clean.dropped, m.clean.sweep.to
		res := m.Clean(budget, bounds, m.Flushed())
		if res.Err != nil {
			return res.Err
		}
		if m.clean.sweep.to != 0 && sweeping == 0 {
			swept++
		}
		dropped += int(m.clean.dropped - was)
		for n, e := range before {
			if !e.OK || find(n).OK {
				continue
			}
			if e.Pos >= bounds.Stable || e.TS >= bounds.Drop {
				return fmt.Errorf("the tombstone of key %d at %d, timestamp %#x, was dropped under %+v", n, e.Pos, e.TS, bounds)
			}
		}
		return nil
	}
	put := func(n int, del bool) {
		e := find(n)
		if del && (!e.OK || e.Tombstone) || !m.Fits(record.Bytes(10, 100)) {
			return
		}
		version++
		h := record.Header{Kind: record.Put, TS: epoch<<32 | version}
		value := valueOf(nil, n, h.TS, 16+r.IntN(60))
		if del {
			h.Kind, value = record.Delete, nil
		}
		m.Put(&e, &h, keyOf(n), value, false)
		model[n] = known{ts: h.TS, deleted: del}
	}
	for n := range cold {
		put(n, false)
	}
	for step := range 2500 {
		if step%200 == 199 {
			epoch++
		}
		if step%400 > 100 {
			bounds.Drop = epoch << 32
		} else {
			bounds.Drop = 0
		}
		if r.IntN(150) == 0 {
			bounds.Stable = m.Flushed()
		}
		bounds.Below = m.Flushed()
		if r.IntN(3) != 0 {
			put(cold+r.IntN(hot), r.IntN(2) == 0)
		}
		if r.IntN(5) == 0 {
			flush()
		}
		if err := clean(r.IntN(1200)); err != nil {
			return crashes, dropped, swept, fmt.Errorf("step %d: %w", step, err)
		}
		if step%7 != 0 {
			continue
		}
		state := bytes.Clone(media)
		for line := 0; line < len(state); line += 64 {
			if r.IntN(2) == 0 {
				copy(state[line:line+64], m.arena[line:line+64])
			}
		}
		c := m.c
		c.Arena, c.Incarnation = state, 2
		l, _, err := seglog.Recover(c, floor, 0)
		if err != nil {
			return crashes, dropped, swept, fmt.Errorf("step %d: %w", step, err)
		}
		after := overLog(t, c, l, 1000)
		if err := after.rebuild(); err != nil {
			return crashes, dropped, swept, fmt.Errorf("step %d: %w", step, err)
		}
		for n, k := range durable {
			var e Entry
			after.Find(&e, after.Hash(keyOf(n)), keyOf(n))
			switch {
			case e.OK && e.TS < k.ts:
				return crashes, dropped, swept, fmt.Errorf("step %d: key %d came back with timestamp %#x, it was deleted or replaced by %#x", step, n, e.TS, k.ts)
			case !e.OK && !k.deleted:
				return crashes, dropped, swept, fmt.Errorf("step %d: key %d is gone", step, n)
			}
		}
		crashes++
	}
	for n, k := range model {
		if e := find(n); e.OK && e.TS != k.ts || !e.OK && !k.deleted {
			return crashes, dropped, swept, fmt.Errorf("key %d: %v with timestamp %#x, want %#x", n, e.OK, e.TS, k.ts)
		}
	}
	return crashes, dropped, swept, m.deadMatches()
}

// With cold keys at the low end of the log a sweep takes all tombstones of
// earlier views, and the keys' words with them.
func TestSweepTakesAllTombstones(t *testing.T) {
	m := makeStore(t, 64, 4096, 2000)
	model, r := map[int]known{}, rand.New(rand.NewPCG(1, 9))
	for n := range 400 {
		m.put(r, model, n, 40, false)
	}
	for n := 100; n < 300; n++ {
		m.put(r, model, n, 0, true)
	}
	for n := range 50 { // not all of the last segment is sealed
		m.put(r, model, 300+n, 40, false)
	}
	b := Upto(m.Tail())
	b.Drop = 1 << 32
	steps := 0
	for ; m.Tombstones() > 0 && steps < 10_000; steps++ {
		m.SetFlushed(m.Tail())
		b.Below, b.Stable = m.Flushed(), m.Flushed()
		if x := m.Clean(1024, b, m.Flushed()); x.Err != nil {
			t.Fatal(x.Err)
		}
	}
	if n := m.Tombstones(); n != 0 || m.x.Len() != 200 {
		t.Errorf("%d tombstones are left, %d words, after %d steps", n, m.x.Len(), steps)
	}
	for n, k := range model {
		if k.deleted {
			delete(model, n)
		}
	}
	if err := m.compare(model); err != nil {
		t.Error(err)
	}
	if err := m.rebuild(); err != nil {
		t.Error(err)
	}
	t.Logf("%d steps", steps)
}

// A segment out of which tombstones were dropped stays until the older ones,
// given back before it, are zeroed on the media: else a power loss could bring
// the records back that they buried.
func TestTombstonesOutliveWhatTheyBury(t *testing.T) {
	m := makeStore(t, 16, 1024, 200)
	model, r := map[int]known{}, rand.New(rand.NewPCG(1, 10))
	segments := func() int { return len(m.log.Segments()) }
	n := 0
	for ; segments() < 2; n++ {
		m.put(r, model, n, 16, false)
	}
	var last uint64
	for k := range n {
		last = m.put(r, model, k, 0, true)
	}
	for k := n; segments() < 6; k++ {
		m.put(r, model, k, 16, false)
	}
	m.SetFlushed(m.Tail())
	b := Upto(m.Tail())
	b.Drop = 1 << 40
	for range 20 { // no flush
		if x := m.Clean(1<<16, b, m.Flushed()); x.Err != nil {
			t.Fatal(x.Err)
		}
	}
	if m.clean.dropped == 0 || m.log.Record(1<<10) != nil {
		t.Fatalf("%d tombstones dropped, the segment below them is there: %v", m.clean.dropped, m.log.Record(1<<10) != nil)
	}
	if m.log.Record(2<<10) == nil {
		t.Error("the tombstones' segment is given back, and the one below may still come back")
	}
	for range 20 {
		m.SetFlushed(m.Tail())
		m.Clean(1<<16, b, m.Flushed())
	}
	if m.log.Record(last) != nil {
		t.Error("the tombstones' segment stays after the flush")
	}
}
