package rdma

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// In pieces of any size a cursor comes by each byte of the ranges once, in
// order; and it can begin behind any of them.
func TestCursor(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	steps := 0
	for range 300 {
		var ranges []Range
		var want []int64 // positions, in order
		for range rng.IntN(12) {
			x := Range{Off: int64(rng.IntN(1000)), Len: rng.IntN(9)}
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

func TestCheckRanges(t *testing.T) {
	cases := []struct {
		n      int
		size   int64
		ranges []Range
		ok     bool
	}{
		{0, 0, nil, true},
		{0, 10, []Range{{10, 0}}, true},
		{10, 10, []Range{{0, 10}}, true},
		{20, 10, []Range{{0, 10}, {0, 10}}, true},
		{1, 10, nil, false},
		{1, 10, []Range{{10, 1}}, false},
		{1, 10, []Range{{-1, 1}}, false},
		{0, 10, []Range{{11, 0}}, false},
		{0, 10, []Range{{0, 5}, {0, -5}}, false},
		{9, 10, []Range{{0, 10}}, false},
		{11, 10, []Range{{0, 10}}, false},
		{0, 1<<63 - 1, []Range{{0, 1<<63 - 1}, {0, 1<<63 - 1}, {0, 2}}, false},
		{1, 1 << 62, []Range{{1<<63 - 1, 1}}, false},
	}
	for i, c := range cases {
		if err := CheckRanges(c.n, c.ranges, c.size); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrRange) {
			t.Errorf("%d: %d bytes of %v in %d: %v", i, c.n, c.ranges, c.size, err)
		}
	}
	t.Logf("%d lists", len(cases))
}
