package explore

import (
	"fmt"
	"time"

	"healkv/dataplane/proto"
)

// Result is what an exploration found.
type Result struct {
	Config      *Config
	Complete    bool // the whole state space was seen
	Walks       bool // at random; States counts them
	States      uint64
	Transitions uint64
	Depth       int // longest of the shortest ways to a state
	Locals      int // states of single nodes
	Steps       uint64
	Rests       uint64 // states that only clients and faults change
	Cut         uint64 // states with an action left out because of viewsMax or livesMax
	Took        time.Duration
	Violation   *Violation
}

// Violation is a broken invariant and the shortest way there.
type Violation struct {
	Text   string
	Script []Action // after the configuration's prefix
	Trace  string   // of a panic
}

func (r *Result) String() string {
	s := "complete"
	if !r.Complete {
		s = "bounded, not complete"
	}
	if r.Walks {
		return fmt.Sprintf("%s\n  random walks, not complete: %d walks, %d transitions, longest %d, %d brought to rest; %d states of single nodes, %d steps of the code; %v%s",
			r.Config, r.States, r.Transitions, r.Depth, r.Rests, r.Locals, r.Steps, r.Took.Round(time.Millisecond), r.Violation.report(r.Config))
	}
	s = fmt.Sprintf("%s\n  %s: %d states, %d transitions, depth %d, %d at rest; %d states of single nodes, %d steps of the code; %v", r.Config, s,
		r.States, r.Transitions, r.Depth, r.Rests, r.Locals, r.Steps, r.Took.Round(time.Millisecond))
	if r.Cut > 0 {
		s += fmt.Sprintf("; %d states cut at %d views or %d lives of a node", r.Cut, viewsMax, livesMax)
	}
	return s + r.Violation.report(r.Config)
}

func (v *Violation) report(c *Config) string {
	if v == nil {
		return ""
	}
	return "\n  VIOLATION: " + v.Text + "\n" + v.ScriptText(c) + v.Trace
}

// start makes the first state: all nodes live in view 1, settled, nothing
// under way; then the prefix.
func (e *Explorer) start() (world, *Violation) {
	w := world{e: e}
	n := e.c.Nodes
	var v proto.View
	v.Model, v.Shards = e.c.Model, 1
	for i := range proto.NodeID(n) {
		v.Configured = v.Configured.With(i)
		v.Incarnation[i] = 1
		w.h.issued[i] = 1
	}
	v = v.Next(v.Configured, 0)
	w.h.views[0], w.h.nviews = e.viewID(&v), 1
	for i := range proto.NodeID(n) {
		x := e.nodes[i]
		x.begin(1, 0)
		w.loc[i] = e.intern(x)
		x.holds = w.loc[i]
	}
	first := []Action(nil)
	for i := range proto.NodeID(n) {
		first = append(first, act(actInstall, i, 1))
	}
	for _, a := range first {
		if !w.Do(a) {
			panic("explore: the first view cannot be installed")
		}
	}
	w.settle()
	e.prefix = true
	defer func() { e.prefix = false }()
	for i, line := range e.c.Prefix {
		if line == "settle" {
			w.settle()
			continue
		}
		a, err := ParseAction(line)
		if err != nil {
			return w, &Violation{Text: err.Error()}
		}
		x := w
		if !x.Do(a) {
			if e.Skip {
				// On the live objects a part of it may have happened.
				w.loc = x.loc
				e.Skipped++
				continue
			}
			return w, &Violation{Text: fmt.Sprintf("action %d of the prefix, %q, is not possible", i, line)}
		}
		w = x
		if w.bad != "" {
			return w, &Violation{Text: "in the prefix: " + w.bad, Trace: e.Trace}
		}
	}
	return w, nil
}

// settle does everything that nobody has to ask for, until nothing moves.
func (w *world) settle() {
	var list []Action
	for range 1000 {
		moved := false
		list = w.actions(list[:0])
		for _, a := range list {
			if a.kind().free() || a.kind() == actRemove || a.kind() == actBegin {
				continue
			}
			x := *w
			did := x.Do(a)
			if !did && w.e.Direct { // a part of it may have happened
				w.loc = x.loc
			}
			if did && (x.bad != "" || x.loc != w.loc || x.h != w.h) {
				*w, moved = x, true
				if w.bad != "" {
					return
				}
			}
		}
		if !moved {
			return
		}
	}
	w.violate("the world does not come to rest")
}

// actions appends everything that may be possible.
func (w *world) actions(dst []Action) []Action {
	c := w.e.c
	for n := range proto.NodeID(c.Nodes) {
		s := w.sum(n)
		if !s.up {
			dst = append(dst, act(actBegin, n, 0), act(actRemove, n, 0))
			continue
		}
		for p := range c.Nodes {
			if p == int(n) || s.attached[p] == 0 {
				continue
			}
			if c.Fine {
				dst = append(dst, act(actMarks, n, p), act(actStream, n, p))
			} else {
				dst = append(dst, act(actListen, n, p))
			}
		}
		if c.Fine {
			dst = append(dst, act(actPublish, n, 0))
		}
		if s.unflushed {
			dst = append(dst, act(actFlush, n, 0))
		}
		if s.forward {
			dst = append(dst, act(actForward, n, 0))
		}
		if s.offers {
			dst = append(dst, act(actAdopt, n, 0))
		}
		for e := w.epoch(s.installed) + 1; e <= proto.Epoch(w.h.nviews); e++ {
			dst = append(dst, act(actInstall, n, int(e)))
		}
		if !s.served {
			dst = append(dst, act(actLearn, n, 0))
			if s.phase == idle {
				dst = append(dst, act(actDrive, n, 0))
			} else {
				dst = append(dst, act(actTransfer, n, 0))
			}
		}
		dst = append(dst, act(actRemove, n, 0))
		for k := range c.Keys {
			if int(w.h.puts) < c.Puts {
				dst = append(dst, act(actPut, n, k))
			}
			if int(w.h.deletes) < c.Deletes {
				dst = append(dst, act(actDelete, n, k))
			}
			if int(w.h.gets) < c.Gets {
				dst = append(dst, act(actGet, n, k))
			}
		}
		if int(w.h.persists) < c.Persists {
			dst = append(dst, act(actPersist, n, 0))
		}
		if int(w.h.crashes) < c.Crashes {
			dst = append(dst, act(actCrash, n, crashKept))
			if c.LazySuper {
				dst = append(dst, act(actCrash, n, crashSuper))
			}
			if int(w.h.powers) < c.Powers {
				for k := range int(s.lost) + 1 {
					dst = append(dst, act(actCrash, n, crashPower+k))
				}
			}
		}
		if int(w.h.fences) < c.Fences {
			dst = append(dst, act(actLease, n, 0), act(actDrop, n, 0))
		}
	}
	return dst
}

// Limit bounds an exploration; zero: no bound.
type Limit struct {
	States uint64
	Time   time.Duration
}

// Run explores breadth first, so that the way to a violation is a shortest
// one. Once half of the states that it is allowed are found, it goes on with
// the newest first, so that what it does not see whole it sees to the end in
// places.
func (e *Explorer) Run(limit Limit) *Result {
	begun := time.Now()
	r := &Result{Config: e.c}
	defer func() { r.Took, r.Locals, r.Steps = time.Since(begun), len(e.sums), e.Steps }()
	w, v := e.start()
	if v == nil && w.bad != "" {
		v = &Violation{Text: w.bad}
	}
	if r.Violation = v; v != nil {
		return r
	}
	q := newSeen[state]()
	q.add(w.state(), 0, 0)
	found := func(text string, way []Action, short bool) *Result {
		if !short {
			way = e.Shorten(w, way, text)
		}
		r.States, r.Violation = uint64(len(q.states)), &Violation{Text: text, Script: way, Trace: e.Trace}
		return r
	}
	next, level, deep := 0, 1, false
	var newest []int
	for count := 0; ; count++ {
		n := uint64(len(q.states))
		if limit.States > 0 && n >= limit.States || count&1023 == 0 && limit.Time > 0 && time.Since(begun) > limit.Time {
			r.States = n
			return r
		}
		if !deep && limit.States > 0 && 2*n >= limit.States {
			for deep = true; next < len(q.states); next++ {
				newest = append(newest, next)
			}
		}
		at := next
		switch {
		case deep && len(newest) == 0, !deep && next == len(q.states):
			r.States, r.Complete = n, true
			return r
		case deep:
			at, newest = newest[len(newest)-1], newest[:len(newest)-1]
		default:
			if next == level {
				r.Depth, level = r.Depth+1, len(q.states)
			}
			next++
		}
		text, way := e.expand(q, at, r)
		if text != "" {
			return found(text, way, !deep)
		}
		for i := int(n); deep && i < len(q.states); i++ {
			newest = append(newest, i)
		}
	}
}

// expand adds what can follow a state.
func (e *Explorer) expand(q *seen[state], at int, r *Result) (bad string, way []Action) {
	s := q.states[at]
	from := e.at(s)
	e.list = from.actions(e.list[:0])
	rest, cut := true, false
	for _, a := range e.list {
		x := from
		if !x.Do(a) {
			cut = cut || x.cut
			continue
		}
		cut = cut || x.cut
		if x.bad != "" {
			return x.bad, append(q.way(at), a)
		}
		to := x.state()
		if to == s {
			continue
		}
		r.Transitions++
		rest = rest && a.kind().free()
		q.add(to, at, a)
	}
	switch {
	case cut:
		r.Cut++
	case rest:
		r.Rests++
		if from.rest(); from.bad != "" {
			return from.bad, q.way(at)
		}
	}
	return "", nil
}

// seen is the set of states found, in order, and how each was reached first.
type seen[S hashed] struct {
	states []S
	from   []uint32
	by     []Action
	table  []uint32 // open addressing: index in states, +1
}

// hashed is a state of some world.
type hashed interface {
	comparable
	hash() uint64
}

func newSeen[S hashed]() *seen[S] { return &seen[S]{table: make([]uint32, 1<<16)} }

func (s state) hash() uint64 {
	h := uint64(s.loc[0])<<32 | uint64(s.loc[1])
	h = (h ^ h>>29) * 0x9e3779b97f4a7c15
	h ^= uint64(s.loc[2])<<32 | uint64(s.hist)
	h = (h ^ h>>32) * 0xd6e8feb86659fd93
	h = (h ^ h>>32) * 0xd6e8feb86659fd93
	return h ^ h>>32
}

func (q *seen[S]) add(s S, from int, by Action) {
	if 2*len(q.states) >= len(q.table) {
		q.table = make([]uint32, 2*len(q.table))
		for i := range q.states {
			q.put(q.states[i].hash(), uint32(i+1))
		}
	}
	mask := uint64(len(q.table) - 1)
	h := s.hash()
	for i := h & mask; ; i = (i + 1) & mask {
		switch x := q.table[i]; {
		case x == 0:
			q.states, q.from, q.by = append(q.states, s), append(q.from, uint32(from)), append(q.by, by)
			q.table[i] = uint32(len(q.states))
			return
		case q.states[x-1] == s:
			return
		}
	}
}

func (q *seen[S]) put(h uint64, v uint32) {
	mask := uint64(len(q.table) - 1)
	i := h & mask
	for q.table[i] != 0 {
		i = (i + 1) & mask
	}
	q.table[i] = v
}

// way is the script to a state.
func (q *seen[S]) way(at int) (list []Action) {
	for ; at != 0; at = int(q.from[at]) {
		list = append(list, q.by[at])
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}
