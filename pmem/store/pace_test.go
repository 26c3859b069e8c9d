package store

import (
	"encoding/binary"
	"flag"
	"math"
	"math/rand/v2"
	"testing"

	"healkv/pmem/record"
)

var amplifyPools = flag.Int("store.pools", 6, "TestAmplification: times the log that is written")

// zipf draws from 0 to n-1 with the skew theta < 1 (Gray et al., SIGMOD'94),
// scattered, so that neighbours are not equally hot.
type zipf struct {
	r                       *rand.Rand
	n                       float64
	theta, alpha, zeta, eta float64
}

func newZipf(r *rand.Rand, n int, theta float64) *zipf {
	z := &zipf{r: r, n: float64(n), theta: theta, alpha: 1 / (1 - theta)}
	for i := range n {
		z.zeta += 1 / math.Pow(float64(i+1), theta)
	}
	z.eta = (1 - math.Pow(2/z.n, 1-theta)) / (1 - (1+math.Pow(0.5, theta))/z.zeta)
	return z
}

func (z *zipf) next() int {
	u := z.r.Float64()
	k := 0.0
	switch x := u * z.zeta; {
	case x < 1:
	case x < 1+math.Pow(0.5, z.theta):
		k = 1
	default:
		k = z.n * math.Pow(z.eta*u-z.eta+1, z.alpha)
	}
	return int(uint64(k) * 0x9e3779b1 % uint64(z.n))
}

type amplified struct {
	amplification float64
	freeLow       float64 // share of the log
	longest       float64 // most that one step looked at and moved, in times its budget or four times what was appended
	refused       int
}

// amplify overwrites keys in a log of twice their size, as a worker does: in
// bursts, with a step of the cleaner after each.
func amplify(t testing.TB, theta float64, greedy bool, pools int) (a amplified) {
	const segments, segmentBytes, value, budget, burst = 96, 64 << 10, 100, 16 << 10, 64
	n := record.Bytes(8, value)
	keys := segments * segmentBytes / 2 / n
	m := makeStore(t, segments, segmentBytes, uint64(keys))
	m.log.ByDead(greedy)
	r := rand.New(rand.NewPCG(7, 7))
	next := func() int { return r.IntN(keys) }
	if theta > 0 {
		next = newZipf(r, keys, theta).next
	}
	var e Entry
	ts, key, body := uint64(0), make([]byte, 8), make([]byte, value)
	write := func(k int) {
		ts++
		binary.LittleEndian.PutUint64(key, uint64(k))
		binary.LittleEndian.PutUint64(body, ts)
		hash := m.Hash(key)
		m.Find(&e, hash, key)
		m.Put(&e, &record.Header{Kind: record.Put, TS: ts}, key, body, false)
	}
	var start Space
	a.freeLow = 1
	bytes := pools * segments * segmentBytes
	for done, i := 0, 0; done < bytes; i++ {
		before := m.Tail()
		for range 1 + r.IntN(burst) {
			k := next()
			if i*burst/2 < keys*2 && ts < uint64(keys) {
				k = int(ts) // all are there first
			}
			if !m.Fits(n) {
				a.refused++
				break
			}
			write(k)
			done += n
		}
		appended := m.Tail() - before
		m.SetFlushed(m.Tail())
		if m.WantsCleaning() {
			x := m.Clean(budget, Upto(m.Tail()), m.Flushed())
			if x.Err != nil {
				t.Fatal(x.Err)
			}
			spent := float64(x.MovedBytes + headerCost*x.LookedAt)
			a.longest = max(a.longest, spent/float64(max(budget, burstMax*appended)))
		}
		if done > bytes/3 && start.Appended == 0 {
			start = m.Space()
		}
		if start.Appended > 0 {
			a.freeLow = min(a.freeLow, float64(m.log.FreeSegments())/segments)
		}
	}
	end := m.Space()
	moved := Space{Appended: end.Appended - start.Appended, Moved: end.Moved - start.Moved}
	a.amplification = moved.Amplification()
	if live := end.Live; live < uint64(keys*n) || live > uint64(keys*n)+segmentBytes {
		t.Errorf("%d live bytes are reported, %d keys of %d bytes are there", live, keys, n)
	}
	return a
}

// Overwriting a log of twice the live data goes on for ever at a steady rate:
// what the cleaner adds is bounded, space is never short, no step is a burst.
func TestAmplification(t *testing.T) {
	for _, c := range []struct {
		name  string
		theta float64
	}{{"uniform", 0}, {"zipfian 0.7", 0.7}, {"zipfian 0.99", 0.99}} {
		a := amplify(t, c.theta, false, *amplifyPools)
		g := amplify(t, c.theta, true, *amplifyPools)
		t.Logf("%-12s amplification %.2f (greedy %.2f), at least %.1f %% free (greedy %.1f %%), longest step %.2f of its budget", c.name,
			a.amplification, g.amplification, 100*a.freeLow, 100*g.freeLow, a.longest)
		if a.amplification > 2.5 {
			t.Errorf("%s: amplification %.2f", c.name, a.amplification)
		}
		if a.amplification > 1.05*g.amplification {
			t.Errorf("%s: amplification %.2f, greedy has %.2f", c.name, a.amplification, g.amplification)
		}
		if a.refused != 0 || a.freeLow < 0.08 {
			t.Errorf("%s: %d writes found no room, %.1f %% were free at the least", c.name, a.refused, 100*a.freeLow)
		}
		if a.longest > 1.1 {
			t.Errorf("%s: a step of %.2f times its budget", c.name, a.longest)
		}
	}
}
