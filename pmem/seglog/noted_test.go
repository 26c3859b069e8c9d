package seglog

import (
	"bytes"
	"errors"
	"testing"

	"healkv/pmem/record"
)

// What was flushed goes further than what the superblock notes of it. The header
// of a segment up there comes back as one of an earlier segment, which no power
// loss leaves: it is found again. Or it comes back as that of the place when it
// was free, which a power loss leaves too: where no record says that it was
// flushed, the log ends before it, and what stands behind does not make up for
// the hole; members that saw more flushed can tell by the tail.
func TestOldHeaderAboveWhatIsNoted(t *testing.T) {
	genuine := func(h *record.Header, _ []byte) bool { return h.Hash == 99 }
	damaged, ended := 0, 0
	for _, flushed := range []bool{false, true} { // while it was written, as records say
		c := config(16, 1024, 3)
		c.Written = true
		l, noted := Format(c), uint64(0)
		l.number = 10
		for i := range 24 {
			l.Append(&record.Header{Kind: record.Put, TS: 1, Hash: 99}, []byte("key"), make([]byte, 150))
			if noted == 0 && l.Tail() > 11<<l.shift {
				noted = l.Tail()
			}
			if flushed || i < 6 {
				l.SetFlushed(l.Tail())
			}
		}
		whole, segments, tail := bytes.Clone(c.Arena), l.Segments(), l.Tail()
		for i := range segments {
			s := &segments[i]
			last := i == len(segments)-1
			if s.Start < noted {
				continue
			}
			b := l.place(l.lookup(s.Start))
			salvaged := func(name string) {
				told := false
				r, info, err := Salvage(c, noted, 0, 3, genuine, func(lost bool) error { told = lost; return nil })
				switch {
				case err != nil || info.Found != 1 || info.Refound != 0 || told != info.Cut:
					t.Errorf("records claim %v, segment at %d, %s: not found again: %v, %+v", flushed, s.Start, name, err, info)
				case info.Cut == (last || flushed), !info.Cut && r.Tail() != tail:
					t.Errorf("records claim %v, segment at %d, %s: ends at %d of %d, cut %v", flushed, s.Start, name, r.Tail(), tail, info.Cut)
				}
			}

			putSegmentHeader(b, 4, c.PoolTag, 2)
			putSeal(b, 4, 2, 800)
			if _, _, err := Recover(c, noted, 0); !errors.Is(err, ErrDamaged) {
				t.Errorf("records claim %v, segment at %d: an earlier segment's header is believed: %v", flushed, s.Start, err)
			}
			salvaged("an earlier segment's header")
			damaged++

			copy(c.Arena, whole)
			putFree(b, l.lookup(s.Start), c.PoolTag, 4, 2, 1)
			switch r, _, err := Recover(c, noted, 0); {
			case flushed && !last && errors.Is(err, ErrDamaged):
				salvaged("a free header")
				damaged++
			case flushed && !last, err != nil:
				t.Errorf("records claim %v, segment at %d: a free header is believed: %v", flushed, s.Start, err)
			case r.Tail() > s.Start:
				t.Errorf("segment at %d: the log goes on behind the hole to %d", s.Start, r.Tail())
			default:
				ended++
			}
			copy(c.Arena, whole)
		}
	}
	if t.Logf("%d damaged, %d taken for the end", damaged, ended); damaged == 0 || ended < 3 {
		t.Error("that is not what is meant")
	}
}
