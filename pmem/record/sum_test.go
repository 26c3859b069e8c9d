package record

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

// The sums are those of hash/crc32, for every length, wherever it begins, and copying
// touches nothing else.
func TestSumsAreCRC32C(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	src := make([]byte, 2200)
	for i := range src {
		src[i] = byte(r.Uint32())
	}
	n := 0
	for length := range 2048 {
		for _, at := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 16} {
			p := src[at : at+length]
			want := crc32.Update(0, castagnoli, p)
			if got := bodySum(p); got != want {
				t.Fatalf("%d bytes at %d: %#x, want %#x", length, at, got, want)
			}
			split := r.IntN(length + 1)
			dst := bytes.Repeat([]byte{0xee}, length+40)
			if got := copySum(dst[at:], p[:split], p[split:]); got != want {
				t.Fatalf("%d and %d bytes at %d: %#x, want %#x", split, length-split, at, got, want)
			}
			other := bytes.Repeat([]byte{0xee}, length+40)
			if copyBody(other[at:], p); !bytes.Equal(other, dst) {
				t.Fatalf("%d bytes at %d: copyBody does what copySum does not", length, at)
			}
			if !bytes.Equal(dst[at:at+length], p) || bytes.Count(dst[:at], dst[:1]) != at && at > 0 || !bytes.Equal(dst[at+length:], bytes.Repeat([]byte{0xee}, 40-at)) {
				t.Fatalf("%d and %d bytes at %d: not copied as they were", split, length-split, at)
			}
			n++
		}
	}
	for i := range 1000 {
		seed, d := r.Uint32(), src[i:i+HeaderBytes]
		if got, want := headCRC(d, seed), crc32.Update(seed, castagnoli, d[offBodyCRC:]); got != want {
			t.Fatalf("header at %d, seed %#x: %#x, want %#x", i, seed, got, want)
		}
		n++
	}
	if n == 0 {
		t.Fatal("nothing compared")
	}
	t.Logf("%d sums compared", n)
}

// What an apply does with an entry: its header is checked, it is copied to where nothing
// of it was in the cache, and summed there.
func BenchmarkCopyAndVerify(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 10))
	h, key, value := sample(r, 16, 158)
	n := Bytes(16, 158)
	img, arena := make([]byte, n), make([]byte, 64<<20)
	clear(arena)
	Encode(img, &h, key, value, 1)
	b.ReportAllocs()
	for i := range b.N {
		dst := arena[i*n%(len(arena)-n)&^15:][:n]
		if VerifyHeader(img, 1, &h) != nil {
			b.Fatal("does not verify")
		}
		EncodeCopy(dst, &h, img, Seed(uint64(i)<<4, 1))
		if VerifyBody(dst, &h) != nil {
			b.Fatal("does not verify")
		}
	}
}
