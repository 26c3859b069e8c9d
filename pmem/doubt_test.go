package pmem

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"healkv/bench/tally"
	"healkv/pmem/store"
)

// A page of the kept index is damaged, and so is the log that it would be made
// of: the opening makes the index of the log and knows what it cannot know.
func TestIndexAndLogDamaged(t *testing.T) {
	b := makeBits(t)
	errs, doubtful := 0, 0
	for at := 2 << 10; at < bitsPool; at += 61 << 10 {
		m := b.scratch(1)
		copy(m.Pool, b.m.Pool)
		copy(m.Index, b.m.Index)
		clear(m.Pool[dataOffset+at:][:512])
		clear(m.Index[len(m.Index)/2:]) // pages, but not the directory
		for off := 4096; off < len(m.Index)/2; off += 4096 {
			m.Index[off+8] ^= 1
		}
		p, err := m.Open(bitsIdentity())
		if err != nil {
			t.Fatalf("at %d: %v", at, err)
		}
		if strings.Contains(p.Recovered().Why, "never finished") {
			errs++ // the first try had begun to mend it
		}
		if p.Recovered().Doubtful != "" {
			doubtful++
		}
		var v verdicts
		if err := b.read(p.Store(), p.Recovered().Doubtful != "", &v); err != nil {
			t.Fatalf("at %d: %v", at, err)
		}
	}
	t.Logf("%d indexes given up while they were mended, %d pools doubtful afterwards", errs, doubtful)
	if errs == 0 || doubtful == 0 {
		t.Error("it never happened")
	}
}

const headersSegment = 8 << 10

// headed is a pool whose cleaner drops tombstones, so that a segment given back
// and found again could bring deleted keys back.
type headed struct {
	m       HeapMedium
	want    [bitsKeys]struct{ ts, value uint64 } // value 0: deleted
	dropped int
	older   [][]byte // what stood in the pool at some moments
}

func makeHeaded(t testing.TB) *headed {
	b := &headed{m: HeapMedium{BootID: [16]byte{1}, PoolID: [16]byte{2}, SuperEvery: 4 << 10}}
	o := FormatOptions{Identity: bitsIdentity(), SizeBytes: dataOffset + 48*headersSegment, SegmentBytes: headersSegment, MaxKeys: 4096}
	formatWatched(t, o, &b.m)
	rng := rand.New(rand.NewPCG(3, 25))
	ts := uint64(0)
	for life := uint32(1); life <= 3; life++ {
		p := lifeOn(t, &b.m, life)
		s := p.Store()
		s.OnDrop(func(uint64, uint64) { b.dropped++ })
		clean := func() {
			p.SetStable(s.Tail())
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
			bounds := store.Upto(p.Stable())
			bounds.Drop = ts + 1
			s.Clean(32<<10, bounds, s.Flushed())
		}
		for n := range 3000 {
			if n%1000 == 500 {
				b.older = append(b.older, append([]byte(nil), b.m.Pool...))
			}
			i := rng.IntN(bitsKeys)
			ts++
			w := &b.want[i]
			w.ts, w.value = ts, ts
			value := fmt.Appendf(nil, "%020d of %d: %x", ts, i, make([]byte, rng.IntN(100)))
			if rng.IntN(3) == 0 {
				w.value, value = 0, nil
			}
			putBits(t, s, life, i, ts, value)
			if rng.IntN(10) == 0 {
				clean()
			}
		}
		for range 3 {
			clean()
		}
		if err := p.WriteSuperblock(func(*Super) {}); err != nil {
			t.Fatal(err)
		}
	}
	if b.dropped == 0 {
		t.Fatal("no tombstone was dropped")
	}
	return b
}

// read says whether every key is as it was left, or refused.
func (b *headed) read(s *store.Store) (refused bool, err error) {
	rd := s.NewReader()
	defer rd.Close()
	for i := range b.want {
		w := &b.want[i]
		value, ts, st := rd.Get(s.Hash(bitsKey(i)), bitsKey(i), nil)
		switch {
		case st == store.Damaged:
			refused = true
		case w.value == 0 && (st == store.Missing || st == store.Deleted), w.ts == ts && st == store.Locked:
		case w.value != 0 && st == store.Found && ts == w.ts && bytes.HasPrefix(value, fmt.Appendf(nil, "%020d of %d", w.value, i)):
		default:
			return refused, fmt.Errorf("key %d: %v at %d, %.30q; want %d, %d", i, st, ts, value, w.ts, w.value)
		}
	}
	return refused, nil
}

// Every segment header of a pool is hit in every way, with the index of the last
// life and without, and the pool opened: the segment is found again by its
// records, and every key is as it was. Only where a segment may have been given
// back before, the oldest one, and where nothing stands that could tell which
// segment it was, the pool is doubtful.
func TestEverySegmentHeader(t *testing.T) {
	b := makeHeaded(t)
	clean := append([]byte(nil), b.m.Pool...)
	places := (len(clean) - dataOffset) / headersSegment
	header := func(pool []byte, place int) []byte { return pool[dataOffset+place*headersSegment:][:64] }
	isLive := func(place int) bool { return string(header(clean, place)[:8]) == "HEALSEG1" }
	oldest, lowest := 0, ^uint64(0)
	for place := range places {
		if n := binary.LittleEndian.Uint64(header(clean, place)[8:]); isLive(place) && n < lowest {
			oldest, lowest = place, n
		}
	}
	var v verdicts
	states, certain, back, live := 0, 0, 0, 0
	for _, boot := range []byte{1, 9} { // kept index, rebuilt index
		m := &HeapMedium{Pool: heapAligned(len(clean)), Index: heapAligned(len(b.m.Index)), BootID: [16]byte{boot}, PoolID: b.m.PoolID, SuperEvery: b.m.SuperEvery}
		open := func() (*Pool, error) {
			p, err := m.Open(bitsIdentity())
			if err != nil {
				v.failed++
				return nil, fmt.Errorf("does not open: %w", err)
			}
			refused, err := b.read(p.Store())
			doubtful := p.Recovered().Doubtful != ""
			switch {
			case doubtful:
				v.doubtful++ // nothing is served before it was compared
				return p, nil
			case refused:
				v.refused++
			default:
				v.right++
			}
			return p, err
		}
		hit := func(name string, place int, with []byte) {
			copy(m.Pool, clean)
			copy(m.Index, b.m.Index)
			m.BootID[0] = boot
			if bytes.Equal(with, header(clean, place)) {
				return
			}
			copy(header(m.Pool, place), with)
			states++
			p, err := open()
			if err != nil {
				t.Fatalf("boot %d, header %d of %d (live %v), %s: %v", boot, place, places, isLive(place), name, err)
			}
			if p.Recovered().Doubtful == "" {
				certain++
				if isLive(place) {
					live++
				}
			} else if !isLive(place) {
				back++
			} else if place != oldest {
				t.Fatalf("boot %d, header %d of %d, %s: doubtful: %s", boot, place, places, name, p.Recovered().Doubtful)
			}
			// What was made of it must hold without the index, too.
			m.BootID[0] = 11
			if _, err := open(); err != nil {
				t.Fatalf("boot %d, header %d of %d (live %v), %s, opened once more: %v", boot, place, places, isLive(place), name, err)
			}
		}
		for place := range places {
			h := header(clean, place)
			hit("zeroed", place, make([]byte, 64))
			for cut := 8; cut < 64; cut += 8 {
				hit(fmt.Sprintf("zero from %d on", cut), place, append(bytes.Clone(h[:cut]), make([]byte, 64-cut)...))
				hit(fmt.Sprintf("zero up to %d", cut), place, append(make([]byte, cut), h[cut:]...))
			}
			for other := range places {
				if other != place {
					hit(fmt.Sprintf("that of place %d (live %v)", other, isLive(other)), place, header(clean, other))
				}
			}
			if isLive(place) { // an older one, of when it was free or of an earlier segment
				for i, o := range b.older {
					if x := header(o, place); string(x[:8]) != "HEALSEG1" || string(x[8:16]) != string(h[8:16]) {
						hit(fmt.Sprintf("older %d", i), place, x)
					}
				}
			}
		}
	}
	t.Logf("%d headers damaged, %d tombstones dropped before: %d certain (%d of live segments), doubtful over one given back %d; %+v",
		states, b.dropped, certain, live, back, v)
	tally.Add("damage", "segment headers damaged before an opening", states)
	if v.failed > 0 || v.right == 0 || live == 0 || back == 0 {
		t.Errorf("%+v", v)
	}
}
