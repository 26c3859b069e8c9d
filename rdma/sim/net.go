// Package sim is the transport for tests: a virtual network in one goroutine,
// deterministic for a seed. Time is a counter of ticks that only Tick moves.
//
// It is adversarial within what rdma.Endpoint allows: each link has its own
// delay, streams and watermarks overtake each other, a watermark line may be
// seen half written (as on shm), what was published before a death may or may
// not arrive. Links can be cut, nodes paused or killed, bytes flipped or left
// out. Within one link the stream stays in order and whole, as a reliable
// connection or shared memory keeps it.
//
// Units: ticks. One goroutine for everything; nothing blocks: Sleep returns at
// once and Asleep tells the test not to run that worker until it is over.
package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"healkv/rdma"
)

const nodesMax = 16

// Options of a network.
type Options struct {
	Seed     uint64
	DelayMin uint64 // ticks from publication to arrival, per message
	DelayMax uint64 // at least DelayMin
	// TearMarks lets a reader see some numbers of a line before the others,
	// Epoch always among the first.
	TearMarks bool
	// TickTime is what a tick counts for in Sleep's timeout; 0 means 1 µs.
	TickTime time.Duration
}

// Net is the network and its clock.
type Net struct {
	o       Options
	rng     *rand.Rand
	now     uint64
	ends    []*Endpoint // alive, in order of making
	pipes   []*pipe     // in order of making
	delay   [nodesMax][nodesMax]struct{ min, max uint64 }
	cut     [nodesMax][nodesMax]bool
	severed [nodesMax][nodesMax]bool
	pause   [nodesMax]bool
	bad     [nodesMax][nodesMax]struct{ corrupt, truncate int } // deliveries still to be damaged
	stats   Stats
	soon    uint64 // no tick before it brings anything
	// Damaged, if set, hears of every delivery that Corrupt or Truncate spoilt.
	Damaged func(from, to int)
}

// Stats counts what the network did.
type Stats struct {
	Deliveries uint64 // stream, watermark, attachment, feed and wake-up arrivals
	Bytes      uint64 // of streams
	Corrupted  uint64 // deliveries with a flipped bit
	Truncated  uint64 // deliveries whose last bytes were left out
	Torn       uint64 // watermark lines seen half written
	Lost       uint64 // messages that a death or a detach took away
	// EarlyReclaims counts how often an attached peer found that the producer
	// had given up bytes it had not taken yet: on shm they would have been
	// overwritten under the reader (hazard H18). Tests want 0.
	EarlyReclaims uint64
}

// New makes a network without nodes.
func New(o Options) *Net {
	if o.DelayMax < o.DelayMin {
		panic("sim: DelayMax below DelayMin")
	}
	if o.TickTime <= 0 {
		o.TickTime = time.Microsecond
	}
	n := &Net{o: o, rng: rand.New(rand.NewPCG(o.Seed, 0x6865616c6b760001))}
	for i := range nodesMax {
		for j := range nodesMax {
			n.SetDelay(i, j, o.DelayMin, o.DelayMax)
		}
	}
	return n
}

// Now is the time in ticks.
func (n *Net) Now() uint64  { return n.now }
func (n *Net) Stats() Stats { return n.stats }

// SetDelay changes the delay of messages sent from now on.
func (n *Net) SetDelay(from, to int, minTicks, maxTicks uint64) {
	if maxTicks < minTicks {
		panic("sim: delay: max below min")
	}
	n.delay[from][to] = struct{ min, max uint64 }{minTicks, maxTicks}
}

// Cut holds back everything from one node to another until Mend; nothing is
// lost. One direction.
func (n *Net) Cut(from, to int)  { n.cut[from][to] = true }
func (n *Net) Mend(from, to int) { n.cut[from][to], n.severed[from][to], n.soon = false, false, 0 }

// Uncut ends a Cut, and leaves a link severed that is.
func (n *Net) Uncut(from, to int) { n.cut[from][to], n.soon = n.severed[from][to], 0 }

// Sever is a Cut that lasts: no connection between the two is made any more,
// from either side, until Mend.
func (n *Net) Sever(from, to int) { n.cut[from][to], n.severed[from][to] = true, true }

// Isolate cuts a node from all others in both directions; Rejoin mends that.
func (n *Net) Isolate(node int) { n.setAround(node, true) }
func (n *Net) Rejoin(node int)  { n.setAround(node, false) }

func (n *Net) setAround(node int, cut bool) {
	for i := range nodesMax {
		n.cut[i][node], n.cut[node][i] = cut || n.severed[i][node], cut || n.severed[node][i]
	}
	n.soon = 0
}

// Pause holds back everything to and from a node's endpoints, and their
// timeouts; the test does not run its workers meanwhile.
func (n *Net) Pause(node int)       { n.pause[node] = true }
func (n *Net) Resume(node int)      { n.pause[node], n.soon = false, 0 }
func (n *Net) Paused(node int) bool { return n.pause[node] }

// Corrupt flips one bit in the next stream delivery on a link; Truncate leaves
// out the last bytes of it: the reader finds there what was there before.
func (n *Net) Corrupt(from, to int)  { n.bad[from][to].corrupt++ }
func (n *Net) Truncate(from, to int) { n.bad[from][to].truncate++ }

// Damaging reports whether damage that was ordered for streams to a node is
// still to come.
func (n *Net) Damaging(to int) bool {
	for from := range nodesMax {
		if b := &n.bad[from][to]; b.corrupt+b.truncate > 0 {
			return true
		}
	}
	return false
}

// Calm mends and resumes everything and forgets damage that was ordered.
func (n *Net) Calm() {
	n.soon = 0
	for i := range nodesMax {
		n.pause[i] = false
		for j := range nodesMax {
			n.cut[i][j], n.severed[i][j] = false, false
			n.bad[i][j].corrupt, n.bad[i][j].truncate = 0, 0
		}
	}
}

// Kill ends a life as a crash does. What it had published arrives, or from
// some point on does not. Its endpoints must not be used any more.
func (n *Net) Kill(node int, incarnation uint32) {
	kept := n.ends[:0]
	for _, e := range n.ends {
		if e.cfg.Node == node && e.cfg.Incarnation == incarnation {
			e.dead = true
			continue
		}
		kept = append(kept, e)
	}
	clear(n.ends[len(kept):])
	n.ends = kept
	for _, p := range n.pipes {
		if p.from.dead && p.from.cfg.Node == node && p.from.cfg.Incarnation == incarnation && n.rng.IntN(2) == 0 {
			p.loseSome(n)
		}
	}
}

// Tick moves the clock by one and lets arrive what is due; it returns how many
// messages arrived.
func (n *Net) Tick() int {
	n.now++
	before := n.stats.Deliveries
	kept := n.pipes[:0]
	for _, p := range n.pipes {
		if p.to.dead || p.to.closed {
			continue
		}
		if !n.held(p) {
			p.deliver(n)
		}
		kept = append(kept, p)
	}
	clear(n.pipes[len(kept):])
	n.pipes = kept
	for _, e := range n.ends {
		if e.state == asleep && e.wakeAt <= n.now && !n.pause[e.cfg.Node] {
			e.state = awake
		}
	}
	return int(n.stats.Deliveries - before)
}

// Advance ticks.
func (n *Net) Advance(ticks uint64) {
	for range ticks {
		n.Tick()
	}
}

// Settle ticks until nothing is under way that could arrive.
func (n *Net) Settle() {
	for !n.Quiet() {
		n.Tick()
	}
}

// Quiet reports whether nothing is under way but what is held back.
func (n *Net) Quiet() bool {
	for _, p := range n.pipes {
		if !p.to.dead && !p.to.closed && !n.held(p) && p.pending() {
			return false
		}
	}
	return true
}

func (n *Net) held(p *pipe) bool {
	f, t := p.from.cfg.Node, p.to.cfg.Node
	return n.cut[f][t] || n.pause[f] || n.pause[t]
}

func (n *Net) find(node int, incarnation uint32, shard int) *Endpoint {
	for _, e := range n.ends {
		if e.cfg.Node == node && e.cfg.Incarnation == incarnation && e.cfg.Shard == shard {
			return e
		}
	}
	return nil
}

// pipe gives the one-way connection between two lives' endpoints.
func (n *Net) pipe(from, to *Endpoint) *pipe {
	for _, p := range n.pipes {
		if p.from == from && p.to == to {
			return p
		}
	}
	p := &pipe{from: from, to: to}
	n.pipes = append(n.pipes, p)
	return p
}

// due draws the arrival of a message that may not overtake one due at last.
func (n *Net) due(from, to *Endpoint, last uint64) uint64 {
	d := n.delay[from.cfg.Node][to.cfg.Node]
	return max(last, n.now+1+d.min+n.rng.Uint64N(d.max-d.min+1))
}

func (n *Net) checkPeer(e *Endpoint, peer int, incarnation uint32) (*Endpoint, error) {
	if peer >= 0 && peer < e.cfg.Nodes && peer != e.cfg.Node && incarnation != 0 {
		if x := n.find(peer, incarnation, e.cfg.Shard); x != nil {
			return x, nil
		}
	}
	return nil, fmt.Errorf("%w: node %d, incarnation %d, shard %d", rdma.ErrNoPeer, peer, incarnation, e.cfg.Shard)
}
