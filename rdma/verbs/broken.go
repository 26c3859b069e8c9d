//go:build verbs

package verbs

import (
	"golang.org/x/sys/unix"

	"healkv/cgo/ibverbs"
)

// What becomes of a lane, or of all of them, when the device reports an error.

// lost: the queue pair of a lane to us is in ERR, and we did not do it, or it is
// of no use any more. What arrived stays readable; another lane is asked for.
// False if that was known.
func (e *Endpoint) lost(l *link, n *inLane) bool {
	e.mu.Lock()
	was := n.fenced
	if !was {
		e.noted(n.fence()) // V2 must hold whatever made it useless
		l.want = true
	}
	e.mu.Unlock()
	if was {
		return false
	}
	e.counts.LostIn++
	e.rung = true
	e.mend(l.peer)
	return true
}

// breakLane: the lane to the peer moves nothing any more; another one is
// opened while the link is attached.
func (e *Endpoint) breakLane(l *link, c *ibverbs.Completion, x consequence) {
	if l.out.broken {
		return
	}
	e.counts.Statuses[min(c.Status, ibverbs.Statuses-1)]++
	e.log.Info("lane broken", "peer", l.peer, "status", c.Status.String(), "vendor", c.Vendor)
	e.brokenLane(l, x == reopenIn)
}

// refused: the device did not take a request. A lane to us that cannot be rung
// on is of no use either.
func (e *Endpoint) refused(l *link, r *ibverbs.Request) {
	if r.Op == ibverbs.OpReceive {
		if n := e.laneFrom(l, uint32(r.ID>>32)); n != nil && e.lost(l, n) {
			e.counts.Refused++
			e.log.Error("receive refused", "peer", l.peer, "err", unix.Errno(r.Err))
		}
		return
	}
	if l.out == nil || l.out.broken {
		return
	}
	e.counts.Refused++
	e.log.Error("work request refused", "peer", l.peer, "err", unix.Errno(r.Err))
	e.brokenLane(l, true)
}

func (e *Endpoint) brokenLane(l *link, own bool) {
	e.counts.Broken++
	l.armed, l.reading = false, false
	if own {
		l.faults++
	}
	sore := l.faults >= localFaultsMax
	e.mu.Lock()
	e.noted(l.out.fence())
	l.reopen, l.sore = true, sore
	e.mu.Unlock()
	if sore {
		e.counts.GivenUp++
		if own && l.faults == localFaultsMax {
			e.log.Error("lanes to a peer break again and again by this node's own fault, and are opened anew at the longest pause from now on; restart this node, and look at the device in the kernel's log",
				"peer", l.peer, "in a row", l.faults, "pause", mendPauseMax)
		}
	}
	e.mend(l.peer)
}

// queueFailed: the completion queue is broken, and with it every lane of this
// endpoint. Each sleep and crossing meets it again; the log says it once.
func (e *Endpoint) queueFailed(err error) {
	if e.counts.QueueErrors++; e.counts.QueueErrors == 1 {
		e.log.Error("completion queue failed: nothing of this shard moves any more; restart this node, and look at the device in the kernel's log",
			"device", e.deviceName(), "err", err)
	}
}
