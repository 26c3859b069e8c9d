package seglog

import (
	"bytes"
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
