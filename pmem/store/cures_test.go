package store

import (
	"errors"
	"math/rand/v2"
	"testing"

	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

// moveOne asks the cleaner to move the record at pos.
func (m *made) moveOne(pos uint64) (bytes int, ok bool, err error) {
	var h record.Header
	img := m.Record(pos)
	record.Decode(img, &h)
	b := Upto(m.Tail())
	return m.move(pos, &h, img, &b)
}

// What the cleaner must leave where it is: locked records, since their stream
// names the position; damaged ones, which a copy would make look new.
func TestWhatIsNotMoved(t *testing.T) {
	m := makeStore(t, 8, 4096, 100)
	model, r := map[int]known{}, rand.New(rand.NewPCG(1, 2))
	pos := m.put(r, model, 1, 100, false)
	hash := m.Hash(keyOf(1))
	m.Lock(hash, pos)
	if n, ok, err := m.moveOne(pos); n != 0 || ok || err != nil {
		t.Errorf("locked: moved %d bytes, %v, %v", n, ok, err)
	}
	if current, locked := m.References(hash, pos); !current || !locked {
		t.Error("the locked record is no longer where it was")
	}
	m.Unlock(hash, pos)
	off, _ := m.log.ArenaOffset(pos)
	m.arena[off+record.HeaderBytes+20] ^= 1
	if n, ok, err := m.moveOne(pos); n != 0 || ok || !errors.Is(err, seglog.ErrDamaged) {
		t.Errorf("damaged: moved %d bytes, %v, %v", n, ok, err)
	}
	m.arena[off+record.HeaderBytes+20] ^= 1
	if n, ok, err := m.moveOne(pos); n == 0 || !ok || err != nil {
		t.Errorf("moved %d bytes, %v, %v", n, ok, err)
	}
	if err := m.compare(model); err != nil {
		t.Error(err)
	}
}

// A pin that was made after a segment was examined holds it all the same.
func TestLaterPinHoldsASegment(t *testing.T) {
	m := makeStore(t, 16, 4096, 100)
	model, r := map[int]known{}, rand.New(rand.NewPCG(1, 3))
	for m.log.FreeSegments() > 4 {
		m.put(r, model, r.IntN(5), 100, false)
	}
	for range 50 { // nothing is flushed: emptied segments wait
		m.Clean(4096, Upto(m.Tail()), 0)
	}
	if m.clean.waiting == 0 {
		t.Fatal("no segment waits")
	}
	m.SetFlushed(m.Tail())
	if c := m.Clean(0, Upto(seglog.SegmentHeaderBytes), m.Flushed()); c.FreedSegments != 0 {
		t.Errorf("%d segments freed above the pin", c.FreedSegments)
	}
	if c := m.Clean(0, Upto(m.Tail()), m.Flushed()); c.FreedSegments == 0 {
		t.Error("nothing freed without a pin")
	}
}

// Neighbours of different lock states are listed as what they are.
func TestRunsHaveOneLockState(t *testing.T) {
	m := makeStore(t, 8, 4096, 100)
	model, r := map[int]known{}, rand.New(rand.NewPCG(1, 4))
	want := map[uint64]bool{}
	for n := range 12 {
		pos := m.put(r, model, n, 40, false)
		if want[pos] = n%3 == 1; want[pos] {
			m.Lock(m.Hash(keyOf(n)), pos)
		}
	}
	got, locks := 0, 0
	err := m.Manifest(0, m.Tail(), false, func(pos uint64, _ int64, n int, _ uint32, locked bool) bool {
		for end := pos + uint64(n); pos < end; pos += uint64(record.ImageBytes(m.Record(pos))) {
			if w, ok := want[pos]; !ok || w != locked {
				t.Errorf("record at %d (known %v) listed as locked %v", pos, ok, locked)
			}
			got++
		}
		if locked {
			locks++
		}
		return true
	})
	if err != nil || got != len(want) || locks != 4 {
		t.Errorf("%d records in the list, %d locked runs, %v", got, locks, err)
	}
}

// Between Find and Put other keys came in and the key's page was split: the
// word is looked for again.
func TestPutAfterTheIndexMoved(t *testing.T) {
	m := makeStore(t, 64, 1<<16, 20000)
	model, r := map[int]known{}, rand.New(rand.NewPCG(1, 5))
	for _, there := range []bool{true, false} {
		n := 1_000_000
		if there {
			n = 2_000_000
			m.put(r, model, n, 20, false)
		}
		var e Entry
		key := keyOf(n)
		m.Find(&e, m.Hash(key), key)
		for i := range 6000 {
			k := i
			if there {
				k += 6000
			}
			m.put(r, model, k, 20, false)
		}
		h := record.Header{Kind: record.Put, TS: e.TS + 1}
		value := valueOf(nil, n, h.TS, 20)
		if m.Put(&e, &h, key, value, false) == 0 {
			t.Fatal("full")
		}
		model[n] = known{ts: h.TS}
	}
	if err := m.compare(model); err != nil {
		t.Error(err)
	}
}
