package explore

import (
	"math/rand/v2"
	"time"

	"healkv/dataplane/proto"
)

// Walks goes through a configuration at random, many times, each walk to a
// state at rest: for configurations that are too large to be seen whole. It is
// never complete. Equal seeds give equal walks; the time bounds how many.
func (e *Explorer) Walks(seed uint64, limit Limit) *Result {
	begun := time.Now()
	r := &Result{Config: e.c, Walks: true}
	first, v := e.start()
	if v == nil && first.bad != "" {
		v = &Violation{Text: first.bad}
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	var list, way []Action
	for v == nil {
		if limit.States > 0 && r.Transitions >= limit.States || limit.Time > 0 && time.Since(begun) > limit.Time {
			break
		}
		w := first
		way = way[:0]
		// Some walks are eager, some see many clients and faults early; some
		// prefer one node, so that others lag.
		freely, slow := 1+rng.IntN(20), proto.NodeID(rng.IntN(2*e.c.Nodes))
		for len(way) < 400 && w.bad == "" {
			list = w.actions(list[:0])
			moved := false
			for tries := 0; tries < 4*len(list) && !moved; tries++ {
				a := list[rng.IntN(len(list))]
				if a.kind().free() && rng.IntN(freely) != 0 || a.node() == slow && rng.IntN(8) != 0 {
					continue
				}
				x := w
				if x.Do(a) && (x.bad != "" || x.loc != w.loc || x.h != w.h) {
					w, moved = x, true
					way = append(way, a)
				}
			}
			if !moved {
				break
			}
		}
		r.Transitions += uint64(len(way))
		r.States++ // of walks
		r.Depth = max(r.Depth, len(way))
		text := w.bad
		if text == "" && !w.cut {
			text = w.end()
			r.Rests++
		}
		if text != "" {
			v = &Violation{Text: text, Script: e.Shorten(first, way, text), Trace: e.Trace}
		}
	}
	r.Violation = v
	r.Took, r.Locals, r.Steps = time.Since(begun), len(e.sums), e.Steps
	return r
}

// Shorten leaves out what the violation does not need: as long as some
// violation of the same invariant is left. What became impossible is left out.
func (e *Explorer) Shorten(from world, way []Action, text string) []Action {
	way = append([]Action(nil), way...)
	want := invariantOf(text)
	for chunk := len(way) / 2; chunk > 0; {
		shorter := false
		for at := 0; at+chunk <= len(way); {
			try := append(append([]Action(nil), way[:at]...), way[at+chunk:]...)
			if did, bad := from.follow(try); invariantOf(bad) == want {
				way, shorter = did, true
			} else {
				at += chunk
			}
		}
		if !shorter || chunk > 1 {
			chunk /= 2
		}
	}
	return way
}

// follow does what is possible of a script, then all that nobody has to ask
// for. It stops at a violation.
func (w world) follow(way []Action) (did []Action, bad string) {
	for _, a := range way {
		x := w
		if !x.Do(a) {
			continue
		}
		did = append(did, a)
		if w = x; w.bad != "" {
			return did, w.bad
		}
	}
	return did, w.end()
}

// invariantOf is the part of a violation in parentheses at its end.
func invariantOf(text string) string {
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == '(' {
			return text[i:]
		}
	}
	return text
}
