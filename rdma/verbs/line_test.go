package verbs

import (
	"math/rand/v2"
	"testing"

	"healkv/rdma"
)

func randomLine(r *rand.Rand) line {
	return line{r.Uint64(), r.Uint64(), r.Uint64(), rdma.Marks{Epoch: r.Uint64(), Visible: r.Uint64(), Stable: r.Uint64(), Applied: r.Uint64(),
		Durable: r.Uint64(), Room: r.Uint64(), Settled: r.Uint64(), Flushed: r.Uint64()}, r.Uint64(), r.Uint64()}
}

func TestLineComesBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		x := randomLine(r)
		var w [lineWords]uint64
		x.encode(&w)
		var y line
		if !y.decode(&w) || x != y {
			t.Fatalf("%+v came back as %+v", x, y)
		}
	}
}

// V1: every mixture of two lines that follow each other is refused, and fresh
// memory too.
func TestTornLineIsRefused(t *testing.T) {
	var zero [lineWords]uint64
	var y line
	if y.decode(&zero) {
		t.Error("fresh memory is a line")
	}
	r := rand.New(rand.NewPCG(3, 4))
	torn := 0
	for range 200 {
		x := line{tag: 1<<32 | 1, feed: 1, tail: r.Uint64N(1 << 40), version: r.Uint64N(1 << 20)}
		x.marks.Visible, x.marks.Applied = r.Uint64N(1<<40), r.Uint64N(1<<40)
		var old, next [lineWords]uint64
		x.encode(&old)
		x.tail += 64
		x.marks.Visible += 64
		x.marks.Applied += 16
		x.version++
		x.encode(&next)
		for cut := 1; cut < lineWords; cut++ {
			for _, w := range [][lineWords]uint64{mixed(old, next, cut), mixed(next, old, cut)} {
				if w == old || w == next {
					continue
				}
				torn++
				if y.decode(&w) {
					t.Fatalf("a line torn after word %d is taken", cut)
				}
			}
		}
		for i := range next { // and every damaged bit
			w := next
			w[i] ^= 1 << r.UintN(64)
			if torn++; y.decode(&w) {
				t.Fatalf("a bit of word %d is wrong, and the line is taken", i)
			}
		}
	}
	if torn < 1000 {
		t.Fatalf("only %d torn lines", torn)
	}
	t.Logf("%d torn or damaged lines refused", torn)
}

func mixed(a, b [lineWords]uint64, cut int) [lineWords]uint64 {
	copy(a[cut:], b[cut:])
	return a
}
