package simulation

import (
	"math/rand/v2"
	"slices"

	"healkv/dataplane/proto"
)

// mutation is one thing that is wrong with a trace, which the specification
// must notice. at says where it can be; it is then made at one of those places.
type mutation struct {
	name string
	at   func(t *Trace, i int) bool
	make func(t *Trace, i int)
}

// turnWith is a line that shows a node whose line before satisfies f too.
func turnWith(f func(was, is *traceObs, l *traceLine) bool) func(*Trace, int) bool {
	return func(t *Trace, i int) bool {
		l := &t.Lines[i]
		was := t.before(i)
		return l.kind == lineTurn && was != nil && f(was, &l.obs, l)
	}
}

// before is what the node of line i showed last.
func (t *Trace) before(i int) *traceObs {
	for j := i - 1; j >= 0; j-- {
		if l := &t.Lines[j]; l.node == t.Lines[i].node && (l.kind == lineTurn || l.kind == lineRestart) {
			return &l.obs
		}
	}
	return nil
}

var mutations = []mutation{
	{"lock-flipped", turnWith(func(_, o *traceObs, _ *traceLine) bool {
		return slices.ContainsFunc(o.keys, func(k traceKey) bool { return k.pos > 0 && k.lock == locked })
	}), func(t *Trace, i int) {
		keys := t.Lines[i].obs.keys
		keys[slices.IndexFunc(keys, func(k traceKey) bool { return k.pos > 0 && k.lock == locked })].lock = unlocked
	}},
	{"visible-too-high", turnWith(func(was, o *traceObs, _ *traceLine) bool { return o.sent > was.sent && o.visible < o.sent }),
		func(t *Trace, i int) { t.Lines[i].obs.visible = t.Lines[i].obs.sent }},
	{"stable-past-flushed", turnWith(func(_, o *traceObs, _ *traceLine) bool { return o.flushed < o.length && o.stabled <= o.flushed }),
		func(t *Trace, i int) { t.Lines[i].obs.stabled = t.Lines[i].obs.flushed + 1 }},
	{"stable-past-what-others-have", turnWith(func(was, o *traceObs, _ *traceLine) bool {
		return o.sent > was.sent && o.stabled < o.length && o.flushed == o.length
	}),
		func(t *Trace, i int) { t.Lines[i].obs.stabled = t.Lines[i].obs.length }},
	{"record-lost", turnWith(func(was, o *traceObs, _ *traceLine) bool { return len(o.add) == 1 && o.add[0].marker == 0 }), func(t *Trace, i int) {
		o := &t.Lines[i].obs
		o.add, o.length, o.keys = nil, o.length-1, slices.Clone(t.before(i).keys)
		o.flushed = min(o.flushed, o.length)
	}},
	{"record-lost-in-a-crash", func(t *Trace, i int) bool {
		l := &t.Lines[i]
		return l.kind == lineRestart && len(l.obs.add) > 1 && l.obs.add[len(l.obs.add)-1].marker == 0
	}, func(t *Trace, i int) {
		o := &t.Lines[i].obs
		o.length--
		o.add = o.add[:o.length]
		o.flushed, o.stabled = min(o.flushed, o.length), min(o.stabled, o.length)
		for k := range o.keys {
			if o.keys[k].pos > o.length {
				o.keys[k] = traceKey{}
				for p, r := range o.add {
					if r.marker == 0 && r.key == k {
						o.keys[k] = traceKey{p + 1, min(locked, max(0, p+1-o.stabled))}
					}
				}
			}
		}
	}},
	{"applied-too-high", turnWith(func(was, o *traceObs, _ *traceLine) bool {
		return o.streams[0].in && o.streams[0].applied > was.streams[0].applied
	}),
		func(t *Trace, i int) { t.Lines[i].obs.streams[0].applied++ }},
	{"timestamp-used-again", turnWith(func(was, o *traceObs, l *traceLine) bool {
		return o.sent > was.sent && len(o.add) == 1 && o.add[0].owner == l.node && o.add[0].ts.Version() > 1
	}), func(t *Trace, i int) {
		r := &t.Lines[i].obs.add[0]
		r.ts = proto.MakeTS(r.ts.Epoch(), r.ts.Version()-1, r.ts.Node())
	}},
	{"answered-before-it-was-written", func(t *Trace, i int) bool { return t.Lines[i].kind == lineAnswered && i > 5 }, func(t *Trace, i int) {
		x := t.Lines[i]
		for j := i - 1; j >= 0; j-- {
			l := &t.Lines[j]
			if l.kind == lineTurn && l.node == x.node && slices.ContainsFunc(l.obs.add, func(r traceRec) bool { return r.ts == x.ts }) {
				t.Lines = slices.Insert(slices.Delete(t.Lines, i, i+1), j, x)
				return
			}
		}
		x.ts = proto.MakeTS(x.ts.Epoch(), x.ts.Version()+9, x.ts.Node()) // it was given by a roll-forward
		t.Lines[i] = x
	}},
	{"live-until-too-high", func(t *Trace, i int) bool { return t.Lines[i].kind == lineView }, func(t *Trace, i int) {
		v := &t.Lines[i].view
		v.until[i%len(v.until)]++
	}},
	{"promoted-too-early", func(t *Trace, i int) bool {
		l, j := &t.Lines[i], t.viewBefore(i)
		return l.kind == lineView && j >= 0 && !t.Lines[j].view.cold && l.view.live&t.Lines[j].view.shadow != 0
	}, func(t *Trace, i int) {
		j, l := t.viewBefore(i), t.Lines[i]
		t.Lines = slices.Insert(slices.Delete(t.Lines, i, i+1), j+1, l)
	}},
	{"marker-at-the-tail", turnWith(func(_, o *traceObs, _ *traceLine) bool {
		return len(o.add) > 0 && o.add[0].marker > 0 && o.add[0].list[len(o.add[0].list)-1][1] < o.length-1
	}), func(t *Trace, i int) {
		o := &t.Lines[i].obs
		r := &o.add[0]
		r.list = slices.Clone(r.list)
		r.list[len(r.list)-1][1] = o.length - 1
	}},
}

func (t *Trace) viewBefore(i int) int {
	for i--; i >= 0; i-- {
		if t.Lines[i].kind == lineView {
			break
		}
	}
	return i
}

// mutants gives so many mutations of a trace, others for another number.
func (t *Trace) mutants(number, most int) (out []*Trace) {
	r := rand.New(rand.NewPCG(uint64(number), 0x6d75_7461_7465))
	for k := range mutations {
		m := &mutations[(k+number*most)%len(mutations)]
		var places []int
		for i := range t.Lines {
			if m.at(t, i) {
				places = append(places, i)
			}
		}
		if len(out) == most || len(places) == 0 {
			continue
		}
		x := &Trace{Name: t.Name + "!" + m.name, Views: t.Views, Start: t.Start, Lines: slices.Clone(t.Lines)}
		for i := range x.Lines { // what mutations change
			l := &x.Lines[i]
			l.obs.keys, l.obs.streams, l.obs.add = slices.Clone(l.obs.keys), slices.Clone(l.obs.streams), slices.Clone(l.obs.add)
			l.view.until = slices.Clone(l.view.until)
		}
		m.make(x, places[r.IntN(len(places))])
		out = append(out, x)
	}
	return out
}
