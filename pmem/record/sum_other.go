//go:build !amd64 || race

// The race detector sees no assembly: its builds copy and sum here too.

package record

import "hash/crc32"

func bodySum(p []byte) uint32 { return crc32.Update(0, castagnoli, p) }

func copySum(dst, key, value []byte) uint32 {
	dst = dst[:len(key)+len(value)]
	copy(dst, key)
	copy(dst[len(key):], value)
	return crc32.Update(0, castagnoli, dst)
}

func copyBody(dst, src []byte) { copy(dst, src) }

func headCRC(d []byte, seed uint32) uint32 {
	return crc32.Update(seed, castagnoli, d[offBodyCRC:HeaderBytes])
}
