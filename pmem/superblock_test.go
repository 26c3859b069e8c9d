package pmem

import (
	"errors"
	"strings"
	"testing"
)

func sampleSuper() Super {
	return Super{
		Generation: 7, Identity: Identity{Cluster: [16]byte{1, 2, 3}, Node: 4, Shard: 1, Shards: 2, HashSeed: 0xfeed},
		PoolID: [16]byte{9}, SizeBytes: 64 << 20, SegmentBytes: 1 << 20, MaxKeys: 1000, Domain: DomainFile,
		BootID: [16]byte{8}, Incarnation: 3, ViewEpoch: 5, LostThrough: 2, Stable: 100, Durable: 200, LastMarker: 64, Base: 16,
		Complete: true, Clean: true, FailedFlush: true,
		Seen: [nodesMax]Seen{0: {2, 1 << 40}, 3: {1<<32 - 1, 7}, 15: {9, 1<<64 - 1}},
	}
}

func TestSuperRoundTrip(t *testing.T) {
	want := sampleSuper()
	var buf [superBytes]byte
	want.encode(buf[:])
	got, err := decodeSuper(buf[:])
	if err != nil || got != want {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestSuperEveryBitFlipIsFound(t *testing.T) {
	s := sampleSuper()
	var buf [superBytes]byte
	s.encode(buf[:])
	n := 0
	for i := range buf {
		for bit := range 8 {
			if i > 400 && i%64 != bit { // the zero tail: a sample
				continue
			}
			buf[i] ^= 1 << bit
			if _, err := decodeSuper(buf[:]); !errors.Is(err, errDamagedCopy) {
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			}
			buf[i] ^= 1 << bit
			n++
		}
	}
	t.Logf("%d bit flips", n)
}

func TestSuperCopiesAlternate(t *testing.T) {
	r := HeapRegion(2 * superBytes)
	s := sampleSuper()
	for i := range 5 {
		s.Stable = uint64(1000 + i)
		writeSuper(r, &s)
		got, _, err := readSuper(r.Bytes(), nil)
		if err != nil || got != s {
			t.Fatalf("write %d: %+v, %v", i, got, err)
		}
	}
	newest := int(s.Generation&1) * superBytes
	r.Bytes()[newest+200] ^= 1
	got, damaged, err := readSuper(r.Bytes(), nil)
	if err != nil || damaged != 1 || got.Stable != 1003 {
		t.Fatalf("one copy damaged: %+v, %d, %v", got, damaged, err)
	}
	r.Bytes()[superBytes-newest] ^= 1
	if _, _, err := readSuper(r.Bytes(), nil); !errors.Is(err, ErrSuperblock) {
		t.Fatalf("both damaged: %v", err)
	}
}

func TestLayoutMismatchNamesBoth(t *testing.T) {
	s := sampleSuper()
	var buf [2 * superBytes]byte
	s.encode(buf[:])
	buf[12] = 77
	c := superCRC(buf[:superBytes])
	buf[8], buf[9], buf[10], buf[11] = byte(c), byte(c>>8), byte(c>>16), byte(c>>24)
	_, _, err := readSuper(buf[:], nil)
	if !errors.Is(err, ErrLayout) || !strings.Contains(err.Error(), "77") || !strings.Contains(err.Error(), "is 77 in the pool and 2 in") {
		t.Fatalf("got %v", err)
	}
}

func TestIdentityMismatchNamesBoth(t *testing.T) {
	have := sampleSuper().Identity
	for what, change := range map[string]func(*Identity){
		"cluster":          func(i *Identity) { i.Cluster[0] = 0xab },
		"node":             func(i *Identity) { i.Node = 15 },
		"shard":            func(i *Identity) { i.Shard = 0 },
		"number of shards": func(i *Identity) { i.Shards = 8 },
		"hash seed":        func(i *Identity) { i.HashSeed = 1 },
	} {
		want := have
		change(&want)
		err := have.match(want)
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), what+" is") {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if err := have.match(have); err != nil {
		t.Fatal(err)
	}
}

func FuzzDecodeSuper(f *testing.F) {
	s := sampleSuper()
	var buf [2 * superBytes]byte
	s.encode(buf[:])
	f.Add(buf[:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeSuper(b); err == nil {
			var out [superBytes]byte
			s.encode(out[:])
			if back, err := decodeSuper(out[:]); err != nil || back != s {
				t.Fatal("accepted bytes do not round trip")
			}
		}
	})
}
