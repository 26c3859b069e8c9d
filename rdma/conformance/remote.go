package conformance

import (
	"testing"

	"healkv/rdma"
)

func remote(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	_, err := a.Remote(1, 1)
	wantErr(t, err, rdma.ErrNoPeer)
	mem := make([]byte, 3<<20+4096+17)
	for i := range mem {
		mem[i] = byte(i) ^ byte(i>>8) ^ byte(i>>16)
	}
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
