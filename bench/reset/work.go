package reset

import (
	"encoding/binary"
	"fmt"
)

const (
	Writers       = 8  // of the workload, each with one write under way
	KeysPerWriter = 48 // so that a key is overwritten often
	valueMin      = 24
	valueMax      = 2000
)

// Keys is how many keys the workload has.
const Keys = Writers * KeysPerWriter

// Key is what a writer's write number n goes to; numbers count from 1.
func Key(writer int, n uint64) string {
	return fmt.Sprintf("reset-%d-%d", writer, n%KeysPerWriter)
}

// Value appends what write n of a writer writes: its number, and bytes that no
// other write has. Lengths differ, so that records lie everywhere in a line.
func Value(dst []byte, writer int, n uint64) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, n)
	x := scramble(n<<8 | uint64(writer))
	for range (valueMin + x%(valueMax-valueMin) - 8) / 8 {
		x = scramble(x + 1)
		dst = binary.LittleEndian.AppendUint64(dst, x)
	}
	return dst
}

// number is whose value this is; false if no write of the writer wrote it.
func number(value []byte, writer int) (uint64, bool) {
	if len(value) < valueMin-8 {
		return 0, false
	}
	n := binary.LittleEndian.Uint64(value)
	return n, string(Value(nil, writer, n)) == string(value)
}

func scramble(x uint64) uint64 {
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}
