package seglog

import (
	"bytes"
	"errors"
	"testing"

	"healkv/pmem/record"
)

// A client that knows where its value will lie can write bytes that look like a
// record there. Behind a damaged header only what has a hash that nobody
// outside can compute is taken for one.
func TestForgedRecordInAValue(t *testing.T) {
	c := config(8, 4096, 1)
	l := Format(c)
	hash := func(key []byte) uint64 { return uint64(len(key))*7919 + uint64(key[0]) } // a secret
	genuine := func(h *record.Header, img []byte) bool { return hash(record.Key(img)) == h.Hash }
	put := func(key, value []byte) uint64 {
		return l.Append(&record.Header{Kind: record.Put, TS: 1, Hash: hash(key)}, key, value)
	}
	put([]byte("first"), make([]byte, 100))
	at := l.Tail()
	const in = record.HeaderBytes + 16 // where the forged image begins: key of 8, 8 of value
	value := make([]byte, 8, 300)
	forged := make([]byte, record.Bytes(6, 40))
	record.Encode(forged, &record.Header{Kind: record.Put, TS: 1 << 60, Hash: 12345}, []byte("victim"), bytes.Repeat([]byte("x"), 40), record.Seed(at+in, 1))
	put([]byte("attacker"), append(value, forged...))
	last := put([]byte("last"), make([]byte, 50))
	see := func() (keys []string, gaps []Extent) {
		err := l.ScanAround(0, l.Tail(), genuine, func(_ uint64, _ *record.Header, img []byte, sound bool) bool {
			if !sound {
				t.Fatal("a body does not verify")
			}
			keys = append(keys, string(record.Key(img)))
			return true
		}, func(x Extent) { gaps = append(gaps, x) })
		if err != nil {
			t.Fatal(err)
		}
		return keys, gaps
	}
	if keys, gaps := see(); len(keys) != 3 || len(gaps) != 0 {
		t.Fatal(keys, gaps)
	}
	l.Record(at)[20] ^= 1
	keys, gaps := see()
	if len(keys) != 2 || keys[0] != "first" || keys[1] != "last" || len(gaps) != 1 || gaps[0] != (Extent{at, last}) {
		t.Fatalf("%v, %v, want a gap of %v", keys, gaps, Extent{at, last})
	}
	var h record.Header
	if record.VerifyHeader(l.Record(at+in), record.Seed(at+in, 1), &h) != nil {
		t.Fatal("the forgery is none")
	}
}

// A segment lost its header, and its seal with it, after more was flushed than
// anything notes. Records of it that nobody promised tell where it ended no
// more than those that are gone: the log is cut there, and says so. A power
// loss alone, which leaves the header and any part of what follows, does not.
func TestSealLostWithItsHeader(t *testing.T) {
	genuine := func(h *record.Header, _ []byte) bool { return h.Hash == 99 }
	fill := func() (*Log, Config, uint64) {
		c := config(8, 1024, 1)
		c.Written = true
		l, noted := Format(c), uint64(0)
		for i := range 9 { // the second segment is sealed, the third one open
			l.Append(&record.Header{Kind: record.Put, TS: 1, Hash: 99}, []byte("key"), make([]byte, 150))
			if i == 4 {
				noted = l.Tail()
			}
		}
		return l, c, noted
	}
	for _, x := range []struct {
		name      string
		lost, cut bool
		hit       func(l *Log, at []byte, noted uint64) (durable uint64)
	}{
		{"header zeroed", true, true, func(_ *Log, at []byte, noted uint64) uint64 {
			clear(at[:SegmentHeaderBytes])
			return noted
		}},
		{"header zeroed, all was noted", false, false, func(l *Log, at []byte, _ uint64) uint64 {
			clear(at[:SegmentHeaderBytes])
			return l.Tail()
		}},
		{"header zeroed but for the seal, end torn", false, false, func(l *Log, at []byte, noted uint64) uint64 {
			clear(at[:offSeal])
			clear(at[offNumber2:offSeal2])
			clear(at[l.segs[l.lookup(noted)].end-64:][:64])
			return noted
		}},
		{"header zeroed, nothing follows", false, false, func(l *Log, at []byte, noted uint64) uint64 {
			clear(at[:SegmentHeaderBytes])
			l.settle(l.lookup(l.Tail()), 0, 0, l.Tail())
			return noted
		}},
	} {
		l, c, noted := fill()
		place := l.lookup(noted)
		if place != 1 || l.lookup(l.Tail()) != 2 {
			t.Fatal("another log than is meant")
		}
		durable := x.hit(l, l.place(place), noted)
		if _, _, err := Recover(c, durable, 0); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s: recovered as if nothing was: %v", x.name, err)
		}
		told := false
		_, info, err := Salvage(c, durable, 0, 1, genuine, func(lost bool) error { told = lost; return nil })
		if err != nil || info.Cut != x.cut || told != x.lost {
			t.Errorf("%s: %v, told of a loss %v, %+v", x.name, err, told, info)
		}
	}
	// The same without damage: neither the seal nor the end was flushed.
	l, c, noted := fill()
	at := l.place(l.lookup(noted))
	clear(at[offSeal:offNumber2])
	clear(at[offSeal2:SegmentHeaderBytes])
	if _, info, err := Recover(c, noted, 0); err != nil || info.Tail >= 3<<l.shift {
		t.Errorf("a power loss: %v, %+v", err, info)
	}
}

// The header that comes back over a segment is one of when its place was free, or
// of a segment that lay there before, above the floor or below; or it is gone. Some
// segments are alone of their life, so that no other says which one to look for.
func TestOldHeaderOverASegment(t *testing.T) {
	genuine := func(h *record.Header, _ []byte) bool { return h.Hash == 99 }
	c := config(16, 1024, 1)
	c.Written = true
	l := Format(c)
	l.number = 10
	for _, inc := range []uint32{3, 7, 41, 42} {
		if l.Tail() > 0 {
			l, _, _ = Recover(c, l.Tail(), 0)
		}
		l.SetIncarnation(inc)
		for from := l.Tail() | 9<<10; l.Tail() < from+1500; {
			l.Append(&record.Header{Kind: record.Put, TS: 1, Hash: 99}, []byte("key"), make([]byte, 150))
		}
	}
	old := func(b []byte, number uint64) {
		putSegmentHeader(b, number, c.PoolTag, 2)
		putSeal(b, number, 2, 800)
	}
	whole, segments := bytes.Clone(c.Arena), l.Segments()
	states, alone := 0, 0
	for i := range segments[:len(segments)-1] {
		s := &segments[i]
		place := l.lookup(s.Start)
		b := l.place(place)
		for _, x := range []struct {
			name  string
			floor uint64
			hit   func()
		}{
			{"free", 0, func() { putFree(b, place, c.PoolTag, 0, 0, formatted) }},
			{"zeroed", 0, func() { clear(b[:SegmentHeaderBytes]) }},
			{"of an earlier segment", 0, func() { old(b, 4) }},
			{"of an earlier segment below the floor", 5 << 10, func() { old(b, 4) }},
		} {
			copy(c.Arena, whole)
			x.hit()
			states++
			if _, _, err := Recover(c, l.Tail(), x.floor); !errors.Is(err, ErrDamaged) {
				t.Errorf("segment at %d, life %d, header %s: believed: %v", s.Start, s.Incarnation, x.name, err)
			}
			r, info, err := Salvage(c, l.Tail(), x.floor, 42, genuine, func(bool) error { return nil })
			if err != nil || info.Segments != len(segments) || info.Found+info.Refound != 1 {
				t.Errorf("segment at %d, life %d, header %s: not found again: %v, %+v", s.Start, s.Incarnation, x.name, err, info)
				continue
			}
			if inc, _ := r.IncarnationOf(s.Start); inc != s.Incarnation {
				t.Errorf("segment at %d, header %s: found again as one of life %d, it is of %d", s.Start, x.name, inc, s.Incarnation)
			}
		}
		if (i == 0 || segments[i-1].Incarnation != s.Incarnation) && segments[i+1].Incarnation != s.Incarnation {
			alone++
		}
	}
	if t.Logf("%d states, %d segments alone of their life", states, alone); alone == 0 || states == 0 {
		t.Error("that is not what is meant")
	}
}
