package gather

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"healkv/rdma"
)

// In pieces of any size a cursor comes by each byte of the ranges once, in
// order; and it can begin behind any of them.
func TestCursor(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	steps := 0
	for range 300 {
		var ranges []rdma.Range
		var want []int64 // positions, in order
		for range rng.IntN(12) {
			x := rdma.Range{Off: int64(rng.IntN(1000)), Len: rng.IntN(9)}
			ranges = append(ranges, x)
			for i := range x.Len {
				want = append(want, x.Off+int64(i))
			}
		}
		for from := range len(want) + 1 {
			c, rest := After(ranges, from), want[from:]
			for x := c.Peek(); x.Len > 0; x = c.Peek() {
				n := 1 + rng.IntN(x.Len)
				for i := range n {
					if len(rest) == 0 || x.Off+int64(i) != rest[0] {
						t.Fatalf("%v from %d: %v, %d are left", ranges, from, x, len(rest))
					}
					rest = rest[1:]
				}
				c.Skip(n)
				steps++
			}
			if len(rest) != 0 {
				t.Fatalf("%v from %d: %d bytes were left out", ranges, from, len(rest))
			}
		}
	}
	t.Logf("%d steps", steps)
}

func TestCheck(t *testing.T) {
	cases := []struct {
		n      int
		size   int64
		ranges []rdma.Range
		ok     bool
	}{
		{0, 0, nil, true},
		{0, 10, []rdma.Range{{Off: 10, Len: 0}}, true},
		{10, 10, []rdma.Range{{Off: 0, Len: 10}}, true},
		{20, 10, []rdma.Range{{Off: 0, Len: 10}, {Off: 0, Len: 10}}, true},
		{1, 10, nil, false},
		{1, 10, []rdma.Range{{Off: 10, Len: 1}}, false},
		{1, 10, []rdma.Range{{Off: -1, Len: 1}}, false},
		{0, 10, []rdma.Range{{Off: 11, Len: 0}}, false},
		{0, 10, []rdma.Range{{Off: 0, Len: 5}, {Off: 0, Len: -5}}, false},
		{9, 10, []rdma.Range{{Off: 0, Len: 10}}, false},
		{11, 10, []rdma.Range{{Off: 0, Len: 10}}, false},
		{0, 1<<63 - 1, []rdma.Range{{Off: 0, Len: 1<<63 - 1}, {Off: 0, Len: 1<<63 - 1}, {Off: 0, Len: 2}}, false},
		{1, 1 << 62, []rdma.Range{{Off: 1<<63 - 1, Len: 1}}, false},
	}
	for i, c := range cases {
		if err := Check(c.n, c.ranges, c.size); (err == nil) != c.ok || err != nil && !errors.Is(err, rdma.ErrRange) {
			t.Errorf("%d: %d bytes of %v in %d: %v", i, c.n, c.ranges, c.size, err)
		}
	}
	t.Logf("%d lists", len(cases))
}

// A page that the file has lost is an error, and what is still there is read.
func TestCopyOfLostPages(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := os.Getpagesize()
	if err := f.Truncate(int64(4 * page)); err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, 4*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	mem[7], mem[page] = 1, 2
	if err := f.Truncate(int64(2 * page)); err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 2)
	there := []rdma.Range{{Off: int64(page), Len: 1}, {Off: 7, Len: 1}}
	for range 3 {
		if err := Copy(dst, mem, there); err != nil || dst[0] != 2 || dst[1] != 1 {
			t.Errorf("%v, %v", dst, err)
		}
		if err := Copy(dst, mem, []rdma.Range{{Off: 7, Len: 1}, {Off: int64(3 * page), Len: 1}}); !errors.Is(err, ErrFault) {
			t.Errorf("a lost page: %v", err)
		}
	}
}
