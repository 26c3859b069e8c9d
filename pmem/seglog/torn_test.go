package seglog

import (
	"testing"

	"healkv/pmem/record"
)

// TestOlderOfTwoUnflushedHeadersTorn: two segments were begun since the last
// flush, and a power loss left the newer one's header whole and the older one's
// torn. What was durable is there; the rest is a torn end, not damage.
func TestOlderOfTwoUnflushedHeadersTorn(t *testing.T) {
	const segment, count = 64 << 10, 8
	arena := make([]byte, segment*count)
	c := Config{Arena: arena, SegmentBytes: segment, PoolTag: 7, Incarnation: 1}
	l := Format(c)
	value := make([]byte, 1000)
	put := func() uint64 {
		h := record.Header{TS: 1, Kind: record.Put}
		return l.Append(&h, []byte("k"), value)
	}
	put()
	durable := l.Tail()
	for l.Tail()>>16 < durable>>16+2 {
		put()
	}
	place := l.lookup((durable>>16 + 1) << 16)
	clear(arena[place*segment+16 : place*segment+64])
	r, info, err := Recover(c, durable, 0)
	if err != nil {
		t.Fatalf("recover: %v", err)
	}
	if info.Tail < durable || info.Tail > (durable>>16+1)<<16 {
		t.Fatalf("tail %d, durable %d", info.Tail, durable)
	}
	t.Logf("durable %d, tail %d, %+v", durable, r.Tail(), info)
}

// TestDiscardCutOffAnywhere: a Discard zeroes the headers of all segments, and
// a power loss leaves any part of that, torn at 8 bytes. Below the floor
// nothing is damage, whatever is left of it.
func TestDiscardCutOffAnywhere(t *testing.T) {
	const segment, count = 1024, 6
	arena := make([]byte, segment*count)
	c := Config{Arena: arena, SegmentBytes: segment, PoolTag: 7, Incarnation: 1}
	l := Format(c)
	value := make([]byte, 300)
	for range 8 {
		h := record.Header{TS: 1, Kind: record.Put}
		l.Append(&h, []byte("k"), value)
	}
	l.SetFlushed(l.Tail())
	durable, floor := l.Tail(), (l.Tail()+segment-1)&^(segment-1)
	whole, states := append([]byte(nil), arena...), 0
	freed := make([]byte, SegmentHeaderBytes)
	for place := range count {
		putFree(freed, place, c.PoolTag, uint64(place+1), 1, durable)
		for words := range 1 << (SegmentHeaderBytes / 8) {
			copy(arena, whole)
			for i := range SegmentHeaderBytes / 8 {
				if words>>i&1 == 1 {
					copy(arena[place*segment+8*i:][:8], freed[8*i:])
				}
			}
			if words&1 == 1 { // and some others are gone altogether
				putFree(arena[(place+1)%count*segment:], (place+1)%count, c.PoolTag, 0, 0, formatted)
			}
			r, info, err := Recover(c, durable, floor)
			if err != nil || r.Tail() != floor || info.Segments != 0 {
				t.Fatalf("place %d, words %b: %v, %+v, floor %d", place, words, err, info, floor)
			}
			r.ClearReleased(nil)
			for at := 0; at < len(arena); at += segment {
				if _, ok := r.settled(at/segment, arena[at:]); !ok {
					t.Fatalf("place %d, words %b: the header at %d is left", place, words, at)
				}
			}
			states++
		}
	}
	t.Logf("%d states", states)
}

// TestTornBeforeTheFirst: nothing was durable yet, of the two segments begun
// the first one's header is torn and the second one's whole: an empty log.
func TestTornBeforeTheFirst(t *testing.T) {
	const segment, count = 1024, 8
	for _, discarded := range []bool{false, true} {
		arena := make([]byte, segment*count)
		c := Config{Arena: arena, SegmentBytes: segment, PoolTag: 7, Incarnation: 1}
		l, floor := Format(c), uint64(0)
		value := make([]byte, 600)
		put := func() {
			h := record.Header{TS: 1, Kind: record.Put}
			l.Append(&h, []byte("k"), value)
		}
		if discarded { // a full copy has begun on a pool that was in use
			put()
			put()
			l.SetFlushed(l.Tail())
			floor = (l.Tail() + segment - 1) &^ (segment - 1)
			l.Discard(nil)
		}
		put()
		first := l.tail.Load() >> l.shift
		put()
		for words := 1; words < 1<<(SegmentHeaderBytes/8); words++ {
			work := append([]byte(nil), arena...)
			at := l.lookup(first<<l.shift) * segment
			for i := range SegmentHeaderBytes / 8 {
				if words>>i&1 == 1 {
					clear(work[at+8*i:][:8])
				}
			}
			c.Arena = work
			r, info, err := Recover(c, floor, floor)
			if err != nil || r.Tail() < floor {
				t.Fatalf("words %b: %v, %+v, floor %d", words, err, info, floor)
			}
			h := record.Header{TS: 1, Kind: record.Put}
			r.SetIncarnation(2)
			if pos := r.Append(&h, []byte("k"), value); pos < r.Tail()-segment || pos <= floor {
				t.Fatalf("words %b: the next record goes to %d", words, pos)
			}
		}
	}
}

// TestKilledInARelease: the process dies when the magic of a freed segment is
// zero in memory and not on the medium. The next recovery leaves the rest of
// the header alone until the zero is flushed (L4): else a power loss could
// bring back a header that verifies, without its seals, which is damage.
func TestKilledInARelease(t *testing.T) {
	const segment, count = 1024, 8
	arena := make([]byte, segment*count)
	c := Config{Arena: arena, SegmentBytes: segment, PoolTag: 7, Incarnation: 1}
	l := Format(c)
	value := make([]byte, 600)
	for range 4 {
		h := record.Header{TS: 1, Kind: record.Put}
		l.Append(&h, []byte("k"), value)
	}
	l.SetFlushed(l.Tail())
	durable := l.Tail()
	media := append([]byte(nil), arena...)
	l.Retire(2)
	at := l.lookup(2<<l.shift) * segment
	l.Release(2)

	r, info, err := Recover(c, durable, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The power goes: of what recovery wrote so far any words are there.
	for words := range 1 << (SegmentHeaderBytes / 8) {
		work := append([]byte(nil), media...)
		for i := range SegmentHeaderBytes / 8 {
			if words>>i&1 == 1 {
				copy(work[at+8*i:][:8], arena[at+8*i:])
			}
		}
		c.Arena = work
		if _, _, err := Recover(c, info.Durable, 0); err != nil {
			t.Fatalf("words %b: %v", words, err)
		}
	}
	if rs := r.Unflushed(nil); len(rs) != 1 || rs[0].Off != at {
		t.Errorf("flushed again are %v, the released header is at %d", rs, at)
	}
	rs := r.ClearReleased(nil)
	if _, ok := r.settled(at/segment, arena[at:]); len(rs) != 1 || rs[0].Off != at || !ok {
		t.Errorf("cleared %v, the released header is at %d", rs, at)
	}
}
