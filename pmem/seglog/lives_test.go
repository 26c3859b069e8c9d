package seglog

import (
	"testing"

	"healkv/pmem/record"
)

// A life seals the segment it finds open and begins another one. Lives that
// end after a record or two must not eat the log up: what they left empty can
// be cleaned, however large the records are that made it.
func TestSegmentsOfShortLivesAreVictims(t *testing.T) {
	c := config(8, 4096, 1)
	l := Format(c)
	value := make([]byte, 900)
	for life := uint32(1); life <= 5; life++ {
		h := record.Header{Kind: record.Put, TS: uint64(life)}
		l.Append(&h, []byte("k"), value)
		l.SetFlushed(l.Tail())
		c.Incarnation = life + 1
		var err error
		if l, _, err = Recover(c, l.Flushed(), 0); err != nil {
			t.Fatal(err)
		}
	}
	h := record.Header{Kind: record.Put, TS: 6}
	last := l.Append(&h, []byte("k"), value)
	l.SetFlushed(l.Tail())
	for number, ok := l.Uncounted(); ok; number, ok = l.Uncounted() {
		start, end := l.Bounds(number)
		w := l.Walk(start, end)
		for pos, img := w.Next(&h); img != nil; pos, img = w.Next(&h) {
			l.Counted(w.Pos())
			if pos != last {
				l.Dead(pos, h.Bytes())
			}
		}
		l.Counted(end)
	}
	cleaned := 0
	for number, ok := l.Victim(l.Tail()); ok; number, ok = l.Victim(l.Tail()) {
		l.Retire(number)
		cleaned++
	}
	if cleaned != 5 {
		t.Errorf("%d of 5 segments of dead records can be cleaned", cleaned)
	}
}
