package sim

import "math"

// Next is a tick before which no tick brings anything, unless somebody sends,
// sleeps, mends or resumes meanwhile; math.MaxUint64: never. With AdvanceTo it
// is for simulations whose time runs from event to event.
func (n *Net) Next() uint64 { return max(n.soon, n.now+1) }

// AdvanceTo moves the clock to the tick, as as many calls of Tick would, but
// looks only at the ticks that can bring something.
func (n *Net) AdvanceTo(tick uint64) {
	for n.now < tick {
		if n.soon > tick {
			n.now = tick
			return
		}
		n.now = max(n.now, n.soon-min(1, n.soon)) // the one before: Tick moves on by one
		n.Tick()
		n.look()
	}
}

// look finds the next tick that can bring something.
func (n *Net) look() {
	n.soon = math.MaxUint64
	for _, p := range n.pipes {
		if p.to.dead || p.to.closed || !p.pending() || n.held(p) {
			continue
		}
		if len(p.stream) > 0 {
			n.soon = min(n.soon, p.stream[0].due)
		}
		if len(p.marks) > 0 {
			n.soon = min(n.soon, p.marks[0].due)
		}
	}
	for _, e := range n.ends {
		if e.state == asleep && !n.pause[e.cfg.Node] {
			n.soon = min(n.soon, e.wakeAt)
		}
	}
	n.soon = max(n.soon, n.now+1)
}
