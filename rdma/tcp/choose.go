package tcp

import "time"

// chooser decides whether to ask for compressed pieces, by what a byte costs
// from request to arrival with each codec: compressor, link and decompressor
// together, as they are at this moment. It tries each once, stays with the
// cheaper one, and looks at the other again now and then.
type chooser struct {
	cost   [codecs]float64 // nanoseconds per byte, smoothed; 0: not known
	asked  [codecs]uint64  // pieces
	pieces uint64
}

const (
	probeEveryPieces = 64
	// A shorter piece says more about latency than about throughput.
	measuredBytes = 32 << 10
)

func (c *chooser) best() codec {
	if c.cost[codecZstd] != 0 && c.cost[codecZstd] < c.cost[codecRaw] {
		return codecZstd
	}
	return codecRaw
}

// next is what to ask for a piece of n bytes.
func (c *chooser) next(n int) (pick codec) {
	pick = c.best()
	if n >= measuredBytes {
		switch {
		case c.asked[codecRaw] == 0:
			pick = codecRaw
		case c.asked[codecZstd] == 0 || c.pieces%probeEveryPieces == probeEveryPieces-1:
			pick = 1 - pick
		}
		c.pieces++
	}
	c.asked[pick]++
	return pick
}

// took notes how long a piece took.
func (c *chooser) took(pick codec, n int, t time.Duration) {
	if n < measuredBytes {
		return
	}
	cost := max(1, float64(t)) / float64(n)
	if old := c.cost[pick]; old != 0 {
		cost = old + (cost-old)/4
	}
	c.cost[pick] = cost
}
