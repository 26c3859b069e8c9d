package explore

import (
	"fmt"

	"healkv/dataplane/proto"
)

func (w *world) violate(format string, args ...any) {
	if w.bad == "" {
		w.bad = fmt.Sprintf(format, args...)
	}
}

// reads lets clients read whatever can be read now: what a node that serves
// has unlocked counts as given to somebody. A read changes nothing else, so
// reads that could have happened are as good as reads that did.
func (w *world) reads() {
	for n := range proto.NodeID(w.e.c.Nodes) {
		s := w.sum(n)
		if !s.serving {
			continue
		}
		for k := range w.e.c.Keys {
			if !s.locked[k] {
				w.h.read[k] = max(w.h.read[k], s.ts[k])
			}
		}
	}
}

// check looks at the invariants of protocol.md after an action of node n.
func (w *world) check(n proto.NodeID) {
	c := w.e.c
	v := w.latest()
	g := c.Model.Gates()
	for x := range proto.NodeID(c.Nodes) {
		s := w.sum(x)
		for i := range s.written { // I2
			if !w.known(&s.written[i]) {
				w.violate("node %d: key %d, TS %v has value %#x, which nobody wrote under it (I2)", x, s.written[i].key, s.written[i].ts, s.written[i].value)
				return
			}
		}
		if s.serving { // I1
			for y := x + 1; int(y) < c.Nodes; y++ {
				o := w.sum(y)
				for k := range c.Keys {
					if o.serving && !s.locked[k] && !o.locked[k] && s.ts[k] != o.ts[k] {
						w.violate("key %d is readable at node %d with TS %v and at node %d with TS %v (I1)", k, x, s.ts[k], y, o.ts[k])
						return
					}
				}
			}
		}
		if !v.Live.Has(x) {
			continue
		}
		for k := range c.Keys {
			bar := max(w.h.wrote[k], w.h.read[k])
			if (s.serving || s.installed != 0 && w.running(v.Member(x))) && s.ts[k] < bar {
				w.violate("node %d is live and has key %d with TS %v; answered were a write with %v and a read with %v (I3)", x, k, s.ts[k], w.h.wrote[k], w.h.read[k])
				return
			}
			if g.Answer == proto.Durable && s.durable[k] < w.h.wrote[k] {
				w.violate("node %d is live and has flushed key %d only with TS %v; a write with %v was answered (I4)", x, k, s.durable[k], w.h.wrote[k])
				return
			}
			if g.Read == proto.Durable && s.durable[k] < w.h.read[k] {
				w.violate("node %d is live and has flushed key %d only with TS %v; %v was read (I5)", x, k, s.durable[k], w.h.read[k])
				return
			}
			if s.durable[k] < w.h.persisted[k] {
				w.violate("node %d is live and has flushed key %d only with TS %v; a PERSIST covered %v (I6)", x, k, s.durable[k], w.h.persisted[k])
				return
			}
		}
	}
	w.missed(v)
}

// missed is I7: what a node that is away lacks of what was answered lies in
// every live member's missed range for it.
func (w *world) missed(v *proto.View) {
	if v.Live == 0 {
		return
	}
	for _, f := range (v.Configured &^ v.Members()).Nodes(nil) {
		until := v.LiveUntil[f]
		if until == 0 || until > viewsMax {
			continue // full copy
		}
		for k := range w.e.c.Keys {
			bar := max(w.h.wrote[k], w.h.read[k])
			if w.sum(f).durable[k] >= bar {
				continue
			}
			for _, x := range v.Live.Nodes(nil) {
				s := w.sum(x)
				if !w.running(v.Member(x)) || !s.entered || w.epoch(s.installed) <= until {
					continue
				}
				if s.ranged[until] == 0 || s.ranged[until]>>k&1 == 0 {
					w.violate("node %d was live until view %d and has flushed key %d with TS %v; %v was answered, and the range of node %d does not hold the key (I7)",
						f, until, k, w.sum(f).durable[k], bar, x)
					return
				}
			}
		}
	}
}

func (w *world) known(s *stamp) bool {
	for i := range w.h.nwritten {
		if w.h.written[i] == *s {
			return true
		}
	}
	return false
}

// rest is I10: the world is in a state that only clients and faults change.
func (w *world) rest() {
	c := w.e.c
	v := w.latest()
	all := true
	for n := range proto.NodeID(c.Nodes) {
		all = all && w.sum(n).up
	}
	for n := range proto.NodeID(c.Nodes) {
		s := w.sum(n)
		switch {
		case all && !(s.live && s.served && s.installed == w.latestID() && v.Live.Has(n)):
			w.violate("at rest, and node %d is not live in the last view: it would %v (%s) (I10)", n, s.action.Do, s.action.Why)
		case !s.live || v.Live.Has(n) && !w.running(v.Member(n)):
			continue
		case s.busy:
			w.violate("at rest, and node %d has operations under way (I10)", n)
		}
		for k := range c.Keys {
			if s.live && s.locked[k] {
				w.violate("at rest, and key %d is locked at node %d (I10)", k, n)
			}
		}
	}
	if w.bad != "" || !all {
		return
	}
	for n := range proto.NodeID(c.Nodes) {
		for k := range c.Keys {
			if a, b := w.sum(0).ts[k], w.sum(n).ts[k]; a != b {
				w.violate("at rest, and key %d has TS %v at node 0 and %v at node %d (I9)", k, a, b, n)
			}
		}
	}
}
