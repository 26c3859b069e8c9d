package workload

import "math"

// zipfTheta is YCSB's skew.
const zipfTheta = 0.99

// zipf draws ranks 0 to n-1, rank i with weight 1/(i+1)^theta (Gray et al.,
// section 3.2). The domain may grow one by one.
type zipf struct {
	n     uint64
	zetan float64
	alpha float64
	eta   float64
	half  float64 // 1 + 0.5^theta
}

func newZipf(n uint64) zipf {
	sum := 0.0
	for i := range n {
		sum += 1 / math.Pow(float64(i+1), zipfTheta)
	}
	return zipfWithZeta(n, sum)
}

func zipfWithZeta(n uint64, zetan float64) zipf {
	z := zipf{n: n, zetan: zetan, alpha: 1 / (1 - zipfTheta), half: 1 + math.Pow(0.5, zipfTheta)}
	z.setEta()
	return z
}

func (z *zipf) setEta() {
	z.eta = (1 - math.Pow(2/float64(z.n), 1-zipfTheta)) / (1 - z.half/z.zetan)
}

// grow makes the domain one larger.
func (z *zipf) grow() {
	z.n++
	z.zetan += 1 / math.Pow(float64(z.n), zipfTheta)
	z.setEta()
}

func (z *zipf) draw(r *random) uint64 {
	u := r.unit()
	uz := u * z.zetan
	if uz < 1 {
		return 0
	}
	if uz < z.half {
		return min(1, z.n-1)
	}
	return min(uint64(float64(z.n)*math.Pow(z.eta*u-z.eta+1, z.alpha)), z.n-1)
}

// YCSB scrambles by drawing from a fixed domain of ten billion and hashing the
// rank onto the keys, so that the popular keys are spread and stay the same
// when the number of keys changes. The zeta of that domain is a constant.
const (
	scrambledDomain = 10_000_000_000
	scrambledZeta   = 26.46902820178302
)

// fnv64 is YCSB's hash of a rank: FNV-1a over its eight bytes, low byte first.
func fnv64(x uint64) uint64 {
	h := uint64(0xcbf29ce484222325)
	for range 8 {
		h ^= x & 0xff
		h *= 1099511628211
		x >>= 8
	}
	return h
}
