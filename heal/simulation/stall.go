package simulation

import (
	"time"

	"healkv/dataplane/proto"
)

// stalls measures how long writes stand still: at one node that may serve, from
// one answered write there to the next, and of all nodes, from any to any. It
// is exact as long as writes are asked for everywhere all the time; a script
// with few of them makes it look long.
type stalls struct {
	since [proto.NodesMax]int64 // a node's last answered write, or when it was last seen not to serve
	any   int64                 // the last answered write of all; 0: none was asked for yet
	down  int64                 // when somebody was last seen not to be live
}

// asked begins the measurement.
func (w *world) asked() {
	if w.stalls.any == 0 {
		w.stalls.any = w.sim.Now()
		for i := range w.nodes {
			w.stalls.since[i] = w.sim.Now()
		}
	}
}

// wroteAt notes an answered write at a node.
func (w *world) wroteAt(n int) {
	if w.unasked() {
		return
	}
	now := w.sim.Now()
	w.still(n, now-w.stalls.since[n])
	w.still(-1, now-w.stalls.any)
	w.stalls.since[n], w.stalls.any = now, now
}

// unasked: no more writes are asked for, and who is answered late, as a client
// whose thread stood still beyond the last of them, says nothing of stalls.
func (w *world) unasked() bool { return w.calm || w.next == len(w.s.Entries) }

func (w *world) still(n int, ns int64) {
	if d := time.Duration(ns); d > w.Result.Stall {
		w.Result.Stall, w.Result.StallAt, w.Result.StallNode = d, time.Duration(w.sim.Now()), n
	}
}

// lookStalls is one look a millisecond, by a timer of its own: when the thread
// of a client stands still, advance does too.
func (w *world) lookStalls() {
	if w.ended {
		return
	}
	w.sim.At(time.Millisecond, w.lookStalls)
	now := w.sim.Now()
	over := w.unasked() || w.stalls.any == 0
	all := true
	for i, m := range w.nodes {
		all = all && w.running(i) && w.serves(m)
		switch {
		case over:
		case w.serves(m) && m.p.members.Lease().ValidAt(m.p.Now()):
			w.still(i, now-w.stalls.since[i])
		default:
			w.stalls.since[i] = now
		}
	}
	if !over {
		w.still(-1, now-w.stalls.any)
	}
	if !all {
		w.stalls.down = now
	}
}
