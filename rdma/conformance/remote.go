package conformance

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"healkv/rdma"
)

// exposedMemory is longer than what any provider moves at once, and no two
// places in it look alike.
func exposedMemory() []byte {
	mem := make([]byte, 3<<20+4096+17)
	for i := range mem {
		mem[i] = byte(i) ^ byte(i>>8) ^ byte(i>>16)
	}
	return mem
}

func remote(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	_, err := a.Remote(1, 1)
	wantErr(t, err, rdma.ErrNoPeer)
	mem := exposedMemory()
	f.Expose(b.Endpoint, mem)
	r, err := a.Remote(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if r.Size() != int64(len(mem)) {
		t.Fatalf("size %d, want %d", r.Size(), len(mem))
	}
	read := uint64(0)
	buf := make([]byte, 1<<20)
	for _, x := range []struct{ off, n int }{{0, 1}, {0, 0}, {1, 4095}, {4095, 2}, {100000, 1 << 20}, {len(mem) - 1, 1}, {len(mem), 0}, {len(mem) - 1<<20, 1 << 20}} {
		clear(buf)
		n, err := r.ReadAt(buf[:x.n], int64(x.off))
		if err != nil || n != x.n {
			t.Fatalf("read %d at %d: %d, %v", x.n, x.off, n, err)
		}
		for i := range x.n {
			if buf[i] != mem[x.off+i] {
				t.Fatalf("read %d at %d: byte %d is %#x, want %#x", x.n, x.off, i, buf[i], mem[x.off+i])
			}
		}
		read += uint64(x.n)
	}
	for _, x := range []struct {
		off int64
		n   int
	}{{-1, 1}, {int64(len(mem)), 1}, {int64(len(mem)) - 5, 6}, {1 << 62, 1}, {-1 << 63, 1}} {
		_, err := r.ReadAt(buf[:x.n], x.off)
		wantErr(t, err, rdma.ErrRange)
	}
	if r.BytesRead() != read {
		t.Fatalf("counted %d bytes, want %d", r.BytesRead(), read)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = r.ReadAt(buf[:1], 0)
	wantErr(t, err, rdma.ErrClosed)
	_, err = a.Remote(1, 2)
	wantErr(t, err, rdma.ErrNoPeer)
}

// Many ranges come with one call, in the order they were asked for, wherever
// they lie and however long they are.
func gather(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	mem := exposedMemory()
	f.Expose(b.Endpoint, mem)
	r, err := a.Remote(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	size := len(mem)
	rng := rand.New(rand.NewPCG(5, 6))
	every := func(n, step, length int) (all []rdma.Range) {
		for i := range n {
			all = append(all, rdma.Range{Off: int64(i * step % (size - length)), Len: length})
		}
		return all
	}
	var random, backwards []rdma.Range
	for range 3000 {
		n := rng.IntN(1 << rng.IntN(14))
		random = append(random, rdma.Range{Off: int64(rng.IntN(size - n)), Len: n})
	}
	for i := 700; i >= 0; i-- {
		backwards = append(backwards, rdma.Range{Off: int64(i * 4096), Len: 300})
	}
	read := uint64(0)
	cases := map[string][]rdma.Range{
		"none":          nil,
		"empty":         {{Off: 0}, {Off: int64(size)}, {Off: 5}},
		"one":           {{Off: 1, Len: size - 1}},
		"all twice":     {{Off: 0, Len: size}, {Off: 0, Len: size}},
		"neighbours":    every(10000, 208, 208),
		"small gaps":    every(9000, 320, 208),
		"large gaps":    every(1500, 2048, 208),
		"single bytes":  every(20000, 149, 1),
		"backwards":     backwards,
		"the same":      every(2000, 0, 777),
		"random":        random,
		"empty between": {{Off: 9, Len: 3}, {Off: 70}, {Off: 12, Len: 200000}, {Off: 3}, {Off: int64(size - 1), Len: 1}, {Off: 1}},
	}
	for name, ranges := range cases {
		var want []byte
		for _, x := range ranges {
			want = append(want, mem[x.Off:x.Off+int64(x.Len)]...)
		}
		got := bytes.Repeat([]byte{0xa5}, len(want)+8)
		if err := r.Gather(got[:len(want)], ranges); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(got[:len(want)], want) {
			t.Errorf("%s: %d bytes in %d ranges are not what they should be", name, len(want), len(ranges))
		}
		if !bytes.Equal(got[len(want):], bytes.Repeat([]byte{0xa5}, 8)) {
			t.Errorf("%s: bytes behind the last one were written", name)
		}
		if read += uint64(len(want)); r.BytesRead() != read {
			t.Errorf("%s: counted %d bytes, want %d", name, r.BytesRead(), read)
		}
	}
	buf := make([]byte, 64)
	refused := [][]rdma.Range{
		{{Off: 0, Len: 32}, {Off: int64(size) - 31, Len: 32}},
		{{Off: 0, Len: 32}, {Off: -1, Len: 32}},
		{{Off: 0, Len: 65}, {Off: 0, Len: -1}},
		{{Off: 0, Len: 63}},
		{{Off: 0, Len: 65}},
		{{Off: 0, Len: 1 << 62}, {Off: 0, Len: 1 << 62}},
		nil,
	}
	for _, ranges := range refused {
		wantErr(t, r.Gather(buf, ranges), rdma.ErrRange)
	}
	if r.BytesRead() != read || !bytes.Equal(buf, make([]byte, 64)) {
		t.Errorf("something was read for a request that is refused")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, r.Gather(buf, []rdma.Range{{Len: 64}}), rdma.ErrClosed)
	t.Logf("%d lists of ranges, %d bytes, %d refused", len(cases), read, len(refused))
}
