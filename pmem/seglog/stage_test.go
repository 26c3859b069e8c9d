package seglog

import (
	"bytes"
	"testing"

	"healkv/pmem/record"
)

// What was staged and taken back is no record after a crash, though it was
// whole: the key was another one than the sender said.
func TestUnstagedIsNoRecord(t *testing.T) {
	c := config(8, 1024, 1)
	l := Format(c)
	img := make([]byte, record.Bytes(3, 100))
	h := record.Header{Kind: record.Put, TS: 5}
	record.Encode(img, &h, []byte("key"), make([]byte, 100), 1)
	for _, keep := range []bool{true, false} {
		own, _, err := l.Stage(&h, img)
		if err != nil {
			t.Fatal(err)
		}
		if keep {
			l.Commit(own)
		} else {
			l.Unstage(own)
		}
	}
	c.Arena = bytes.Clone(c.Arena)
	_, info, err := Recover(c, 0, 0)
	if err != nil || info.Records != 1 || info.Tail != l.Tail() {
		t.Errorf("%d records, tail %d, want 1 and %d: %v", info.Records, info.Tail, l.Tail(), err)
	}
}
