package verbs

import "testing"

// packetsOf is how many packets the bytes [from, to) of a stream take: those of
// one RDMA WRITE, or of two where the ring wraps, each full but its last
// (InfiniBand Architecture Specification 9.7, "message segmentation"), and how
// many writes these are.
func packetsOf(from, to, ring uint64, mtu int) (packets, writes uint64) {
	for from < to {
		n := min(to-from, ring-from%ring)
		packets += (n + uint64(mtu) - 1) / uint64(mtu)
		writes++
		from += n
	}
	return packets, writes
}

func TestPacketsOf(t *testing.T) {
	for _, c := range []struct {
		from, to        uint64
		mtu             int
		packets, writes uint64
	}{
		{0, 0, 4096, 0, 0},
		{0, 64, 4096, 1, 1},
		{0, 4096, 4096, 1, 1},
		{128, 4224, 4096, 1, 1}, // the place in the ring does not matter
		{0, 4112, 4096, 2, 1},
		{0, 12800, 1024, 13, 1},
		{65536 - 128, 65536 + 128, 4096, 2, 2}, // wraps
		{3*65536 - 4097, 3*65536 + 1, 4096, 3, 2},
	} {
		if p, w := packetsOf(c.from, c.to, 65536, c.mtu); p != c.packets || w != c.writes {
			t.Errorf("[%d, %d) with %d: %d packets of %d writes, want %d of %d", c.from, c.to, c.mtu, p, w, c.packets, c.writes)
		}
	}
}
