//go:build !race

package record

import "hash/crc32"

// The checksums of a record, without the way through hash/crc32: that sums less than
// half a kilobyte eight bytes after the other, each of which waits three cycles for
// the one before, and finds the beginning's alignment first. Here three thirds go side
// by side and are folded together (sum_amd64.s). What it gave: ADR 0033.

//go:noescape
func sumBytes(crc uint32, p *byte, n, lane int, fold *[2]uint64) uint32

//go:noescape
func copyBytes(crc uint32, dst, p *byte, n, lane int, fold *[2]uint64) uint32

//go:noescape
func copyForward(dst, p *byte, n int)

//go:noescape
func sumHeader(crc uint32, p *byte) uint32

func features() (ecx uint32)

// summing says that the processor has SSE4.2 and PCLMULQDQ.
var summing = features()&(1<<20|1<<1) == 1<<20|1<<1

const (
	laneMin = 2 // words; with less, folding takes longer than it saves
	laneMax = 64
	// sumMax bytes and more are for hash/crc32, which is as quick there.
	sumMax = 3 * 8 * (laneMax + 1)
)

// folds has, for every length of a lane, what the sums of the first and the second of
// three lanes are multiplied with before they are added to the last word of the
// third. The sum of lane 1 is to be moved on by two lanes, x^(128*lane), the sum of lane 2
// by one. The product of two reflected words of 32 bits stands one bit too low in 64, which is a
// factor of x, and to take a word in is a factor of x^32.
//
// Each power is found from the one before: all of them from x^0 on were a third of a
// millisecond of every start.
var folds = func() (f [laneMax + 1][2]uint64) {
	var powers [2*laneMax + 1]uint32 // x^(64*k-33)
	powers[1] = raise(1<<31, 64-33)
	for k := 2; k < len(powers); k++ {
		powers[k] = raise(powers[k-1], 64)
	}
	for lane := laneMin; lane <= laneMax; lane++ {
		f[lane] = [2]uint64{uint64(powers[2*lane]), uint64(powers[lane])}
	}
	return f
}()

// raise is v times x^n modulo Castagnoli's polynomial, reflected: the highest bit,
// 1<<31, is x^0.
func raise(v uint32, n int) uint32 {
	for range n {
		low := v & 1
		v >>= 1
		if low != 0 {
			v ^= crc32.Castagnoli
		}
	}
	return v
}

// laneOf is how many words of n bytes go into each lane.
func laneOf(n int) int {
	if n < 3*8*laneMin {
		return 0
	}
	return n / (3 * 8)
}

// bodySum is the CRC-32C of p.
func bodySum(p []byte) uint32 {
	if !summing || len(p) == 0 || len(p) >= sumMax {
		return crc32.Update(0, castagnoli, p)
	}
	lane := laneOf(len(p))
	return ^sumBytes(^uint32(0), &p[0], len(p), lane, &folds[lane])
}

// copySum copies key and value one behind the other and gives the CRC-32C of what it
// stored: nothing of it is loaded again, which would wait until the place is in the cache.
func copySum(dst, key, value []byte) uint32 {
	dst = dst[:len(key)+len(value)]
	if !summing || len(key) >= sumMax || len(value) >= sumMax {
		copy(dst, key)
		copy(dst[len(key):], value)
		return crc32.Update(0, castagnoli, dst)
	}
	crc := ^uint32(0)
	if n := len(key); n > 0 {
		lane := laneOf(n)
		crc = copyBytes(crc, &dst[0], &key[0], n, lane, &folds[lane])
	}
	if n := len(value); n > 0 {
		lane := laneOf(n)
		crc = copyBytes(crc, &dst[len(key)], &value[0], n, lane, &folds[lane])
	}
	return ^crc
}

// copyBody copies src. Who copies a body sums the copy next, and the place of a log is in
// no cache: a load of words that were stored whole, one behind the other, is answered
// from the stores under way, one that spans two of them waits until they are through,
// as it would behind the overlapping stores of copy.
func copyBody(dst, src []byte) {
	if n := len(src); n > 0 && n < sumMax {
		copyForward(&dst[:n][0], &src[0], n)
		return
	}
	copy(dst, src)
}

// headCRC is the seeded CRC-32C of the header behind its own checksum.
func headCRC(d []byte, seed uint32) uint32 {
	d = d[:HeaderBytes]
	if !summing {
		return crc32.Update(seed, castagnoli, d[offBodyCRC:])
	}
	return ^sumHeader(^seed, &d[0])
}

// sumHeader knows where the header begins and ends.
const (
	_ = -uint(offBodyCRC - 4)
	_ = -uint(HeaderBytes - 64)
)
