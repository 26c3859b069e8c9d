package dataplane

import (
	"slices"

	"healkv/dataplane/plant"
)

// attendant is a client that lives on a worker's thread.
type attendant struct {
	shard int
	turn  func() (awake bool)
}

// Attend has turn called by the shard's worker in each of its turns, on its
// thread, behind the answers of the turn: what it submits there to a session of
// its own goes to the shard without a wake-up or another core, and what is
// finished is polled right where it was finished. That is the shortest way to
// this node, and all of it is the worker's time: turn must return within
// microseconds, never wait (Session.Wait, the blocking calls, any lock that
// others hold), and never call leave.
//
// awake: it has done something, or wants to be called again although nothing
// comes; where all say false the worker may sleep, and turn is called once it
// has been woken, by the answer to what was submitted for example.
//
// It goes on with the node's next life, and is not called while there is none.
// After leave has returned it is not called any more, and a session used in it
// belongs to whoever called leave.
func (h *Host) Attend(shard int, turn func() (awake bool)) (leave func()) {
	a := &attendant{shard, turn}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attendants = append(h.attendants, a)
	h.tell()
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.attendants = slices.DeleteFunc(h.attendants, func(b *attendant) bool { return a == b })
		if plant.Is(plant.AttendNever) {
			return
		}
		if w := h.tell().worker(shard); w != nil {
			w.Do(func() {}) // afterwards it is out of turn, or has ended
		}
	}
}

// tell gives the workers of the latest life who attends them, and wakes these;
// under the mutex.
func (h *Host) tell() *Core {
	if h.latest == nil {
		return nil
	}
	for i, w := range h.latest.workers {
		var here []*attendant
		for _, a := range h.attendants {
			if a.shard == i {
				here = append(here, a)
			}
		}
		if len(here) == 0 {
			w.attendants.Store(nil)
			continue
		}
		w.attendants.Store(&here)
		w.ep.Wake()
	}
	return h.latest
}

// worker of a shard, nil if there is none.
func (c *Core) worker(shard int) *Worker {
	if c == nil || shard >= len(c.workers) {
		return nil
	}
	return c.workers[shard]
}

// attend calls who lives on this thread. True: one of them wants another turn.
func (w *Worker) attend() (awake bool) {
	all := w.attendants.Load()
	if all == nil {
		return false
	}
	for _, a := range *all {
		if a.turn() {
			awake = true
		}
	}
	return awake
}
