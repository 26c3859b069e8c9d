package seglog

import (
	"math/rand/v2"
	"testing"

	"healkv/pmem/record"
)

// SureBytes is a promise that needs no condition: records of any sizes fit, up
// to that many bytes, whatever was appended before.
func TestSureBytesIsKept(t *testing.T) {
	c := config(6, 2<<20, 1)
	value := make([]byte, record.ValueBytesMax)
	n := 0
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 3))
		l := Format(c)
		h := record.Header{Kind: record.Put}
		for range r.IntN(5000) {
			l.Append(&h, []byte("k"), value[:r.IntN(900)])
		}
		sure := int(l.SureBytes())
		if free := int(l.FreeBytes()); sure > free || sure == 0 {
			t.Fatalf("seed %d: %d bytes sure, %d free", seed, sure, free)
		}
		for {
			size := record.ValueBytesMax - r.IntN(1+r.IntN(record.ValueBytesMax))
			b := record.Bytes(1, size)
			if b > sure {
				break
			}
			if !l.Fits(b) {
				t.Fatalf("seed %d: %d bytes promised, %d do not fit", seed, sure, b)
			}
			l.Append(&h, []byte("k"), value[:size])
			sure -= b
			n++
			if now := int(l.SureBytes()); now < sure {
				t.Fatalf("seed %d: %d bytes were promised and not used, now it is %d", seed, sure, now)
			}
		}
	}
	t.Logf("%d records", n)
}
