package workload

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
)

// random is a PCG with the two draws the generators need; a concrete type, so
// that nothing escapes and calls are direct.
type random struct{ pcg rand.PCG }

func newRandom(seed, stream uint64) random {
	var r random
	r.pcg.Seed(mix64(seed), mix64(stream^0x9e3779b97f4a7c15))
	return r
}

// below draws from 0 to n-1. The bias of the multiply is under n/2^64.
func (r *random) below(n uint64) uint64 {
	hi, _ := bits.Mul64(r.pcg.Uint64(), n)
	return hi
}

// unit draws from [0, 1) with 53 bits.
func (r *random) unit() float64 { return float64(r.pcg.Uint64()>>11) / (1 << 53) }

// mix64 is the finaliser of splitmix64, a bijection; unmix64 is its inverse.
func mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= mixA
	x ^= x >> 27
	x *= mixB
	return x ^ x>>31
}

func unmix64(x uint64) uint64 {
	x = x ^ x>>31 ^ x>>62
	x *= unmixB
	x = x ^ x>>27 ^ x>>54
	x *= unmixA
	return x ^ x>>30 ^ x>>60
}

const (
	mixA uint64 = 0xbf58476d1ce4e5b9
	mixB uint64 = 0x94d049bb133111eb
	// Inverses modulo 2^64: the products below are 1 (tested).
	unmixA uint64 = 0x96de1b173f119089
	unmixB uint64 = 0x319642b2d24d8ec3
)

var errWeights = errors.New("workload: bad weights")

// discrete draws an outcome by weight in constant time (Walker's alias method).
type discrete struct{ columns []column }

// column lies in one or two cache lines: a draw is a fifth of what an operation
// costs its generator.
type column struct {
	keep    uint64 // of 2^32: the chance to stay in the column
	outcome [2]int // of the column, and otherwise
}

func newDiscrete(values []int, weights []float64) (discrete, error) {
	n := len(weights)
	if n == 0 {
		return discrete{}, fmt.Errorf("%w: none", errWeights)
	}
	if values == nil {
		values = make([]int, n)
		for i := range values {
			values[i] = i
		}
	}
	if len(values) != n {
		return discrete{}, fmt.Errorf("%w: %d values, %d weights", errWeights, len(values), n)
	}
	sum := 0.0
	for i, w := range weights {
		if w < 0 || math.IsNaN(w) || math.IsInf(w, 0) {
			return discrete{}, fmt.Errorf("%w: weight %d is %v", errWeights, i, w)
		}
		sum += w
	}
	if sum <= 0 || math.IsInf(sum, 0) {
		return discrete{}, fmt.Errorf("%w: sum %v", errWeights, sum)
	}
	d := discrete{make([]column, n)}
	scaled := make([]float64, n)
	var small, large []int
	for i, w := range weights {
		scaled[i] = w / sum * float64(n)
		if scaled[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small, large = small[:len(small)-1], large[:len(large)-1]
		d.columns[s] = column{uint64(scaled[s] * (1 << 32)), [2]int{values[s], values[l]}}
		scaled[l] -= 1 - scaled[s]
		if scaled[l] < 1 {
			small = append(small, l)
		} else {
			large = append(large, l)
		}
	}
	// What is left is 1 up to rounding, except that a weight of zero must never
	// be drawn: such a column always has a partner, since some column is above 1.
	for _, i := range append(small, large...) {
		d.columns[i] = column{1 << 32, [2]int{values[i], values[i]}}
	}
	return d, nil
}

// draw without a branch: half the draws of it would be guessed wrong.
func (d *discrete) draw(r *random) int {
	x := r.pcg.Uint64()
	c := &d.columns[(x>>32)*uint64(len(d.columns))>>32]
	_, stays := bits.Sub64(x&(1<<32-1), c.keep, 0)
	return c.outcome[1-stays]
}

// mean of the distribution the tables describe.
func (d *discrete) mean() float64 {
	sum := 0.0
	for _, c := range d.columns {
		p := float64(c.keep) / (1 << 32)
		sum += p*float64(c.outcome[0]) + (1-p)*float64(c.outcome[1])
	}
	return sum / float64(len(d.columns))
}

// share is the chance to draw the value.
func (d *discrete) share(value int) float64 {
	sum := 0.0
	for _, c := range d.columns {
		p := float64(c.keep) / (1 << 32)
		if c.outcome[0] == value {
			sum += p
		}
		if c.outcome[1] == value {
			sum += 1 - p
		}
	}
	return sum / float64(len(d.columns))
}
