package membership

import (
	"healkv/dataplane/proto"
	"healkv/heal/membership/register"
)

// What must hold, looked at after every event of the simulation, with the
// true time and everybody's state in hand.
//
//	V1  One ballot, one value; one sequence number, one value; one epoch, one
//	    view: of what was chosen, and of what anybody learned.
//	V2  What somebody learned was chosen: a majority had it on disk.
//	V3  Nobody holds a lease while a view without it is chosen, unless clocks
//	    differ by more than the bound.
//	V4  An incarnation is handed out once.
//	V5  A node is told epochs in ascending order, and its acceptor's promise
//	    never goes back, over power losses as well.
//	V8  The first view has all nodes, or a majority of them if they were told not
//	    to wait for ever; who is not in it joins with nothing that counts.
//	V9  An acceptor whose file came back older does not vote before the others
//	    have chosen a value without it, at a ballot that began after.

type check struct {
	accepted map[register.Ballot]*accepted
	bySeq    map[uint64]proto.View
	byEpoch  map[proto.Epoch]proto.View
	newest   register.Value
	handed   map[proto.Member]bool
	promised [proto.NodesMax]register.Ballot // on disk
	overlaps int                             // of V3, where clocks are wild
	wildRun  bool
	learned  int
	looked   int // valid leases, for V3
}

type accepted struct {
	by     proto.NodeSet
	v      register.Value
	chosen bool
}

// seen is what was looked at of a process before.
type seen struct {
	seq    uint64
	epoch  proto.Epoch
	valid  bool
	serves bool
}

func newCheck() check {
	return check{
		accepted: map[register.Ballot]*accepted{}, bySeq: map[uint64]proto.View{},
		byEpoch: map[proto.Epoch]proto.View{}, handed: map[proto.Member]bool{},
	}
}

func (c *check) handedOut(w *world, m proto.Member) {
	if c.handed[m] {
		w.fail("V4: %v was handed out twice", m)
	}
	c.handed[m] = true
}

// saw is OnView.
func (m *machine) saw(v proto.View) {
	if v.Epoch <= m.seen.epoch {
		m.w.fail("V5: node %d was told epoch %d after %d", m.id, v.Epoch, m.seen.epoch)
	}
	m.seen.epoch = v.Epoch
}

// observe looks at everybody after an event.
func (w *world) observe() {
	c := &w.check
	for _, m := range w.nodes {
		s := m.s
		if s == nil || m.p.Dead() {
			continue
		}
		if s.known.Seq != m.seen.seq {
			m.seen.seq = s.known.Seq
			c.learn(w, m, &s.known)
		}
		valid := s.holder.ValidAt(m.p.Now())
		if valid {
			c.looked++
		}
		if v := &c.newest.View; valid && !(v.Live.Has(m.id) && v.Incarnation[m.id] == s.self.Incarnation) {
			if w.wild {
				c.overlaps++
			} else if !m.seen.serves {
				m.seen.serves = true
				w.fail("V3: %v holds a lease for another %d ns of its clock, and epoch %d with live %v is chosen", s.self, s.holder.Until()-m.p.Now(), v.Epoch, v.Live)
			}
		}
		if m.seen.valid && !valid && s.holder.Until() != 0 {
			w.mark("lease ran out")
		}
		if valid != m.seen.valid {
			m.seen.valid = valid
			w.say("node %d: lease %v", m.id, valid)
		}
	}
	if w.calm {
		w.standing()
	}
}

// durable looks at an acceptor's state that has just become durable.
func (c *check) durable(w *world, m *machine, d *register.State) {
	if p := d.Promised; p.Compare(c.promised[m.id]) < 0 {
		w.fail("V5: the promise of node %d went back from %v to %v", m.id, c.promised[m.id], p)
	}
	c.promised[m.id] = d.Promised
	c.accept(w, m.id, d)
}

func (c *check) accept(w *world, n proto.NodeID, d *register.State) {
	if d.Value.Seq == 0 {
		return
	}
	a := c.accepted[d.At]
	if a == nil {
		a = &accepted{v: d.Value}
		c.accepted[d.At] = a
	}
	if a.v != d.Value {
		w.fail("V1: ballot %v has two values: %+v and %+v", d.At, a.v, d.Value)
	}
	a.by = a.by.With(n)
	if a.by.Count() >= register.Majority(w.set()) && !a.chosen {
		a.chosen = true
		c.choose(w, a.v)
	}
}

func (c *check) choose(w *world, v register.Value) {
	c.same(w, "chosen", &v)
	if before, ok := c.bySeq[v.Seq-1]; ok {
		if err := checkChange(&before, &v.View); err != nil {
			w.fail("V1: value %d does not follow the one before: %v", v.Seq, err)
		}
	}
	if v.Seq <= c.newest.Seq {
		return
	}
	old := c.newest.View
	c.newest = v
	if v.View.Epoch == old.Epoch {
		return
	}
	w.began(&old, &v.View)
	w.say("chosen: value %d, epoch %d, live %v shadow %v cold %v", v.Seq, v.View.Epoch, v.View.Live, v.View.Shadow, v.View.Cold)
	for _, m := range w.nodes {
		if old.Members().Has(m.id) && !v.View.Has(old.Member(m.id)) {
			w.removed(m, old.Member(m.id))
		}
		if old.Live.Has(m.id) && !v.View.Has(old.Member(m.id)) && m.s != nil && !m.p.Dead() && m.s.self == old.Member(m.id) && !m.s.leaving {
			w.mark("a running member dropped")
			if m.s.holder.Until() != 0 {
				w.mark("a running member dropped after its lease ran out")
				w.say("dropped %v, %.1f %% of a lease after its own ran out", old.Member(m.id), 100*float64(m.p.Now()-m.s.holder.Until())/float64(w.lease))
			}
		}
	}
}

// began looks at the first view, and at how those join who are not in it.
func (w *world) began(old, v *proto.View) {
	if old.Epoch == 0 {
		w.absent = w.set() &^ v.Live
		if w.absent != 0 {
			w.mark("first view without a node")
		}
		if w.absent != 0 && w.wait == 0 || v.Live.Count() < register.Majority(w.set()) {
			w.fail("V8: the first view has %v live, and the nodes wait for %v", v.Live.Nodes(nil), w.wait)
		}
		for _, n := range v.Live.Nodes(nil) {
			if v.Incarnation[n] == 0 {
				w.fail("V8: the first view has node %d, which has no life", n)
			}
		}
	}
	for _, n := range w.absent.Nodes(nil) {
		if v.Shadow.Has(n) && v.LiveUntil[n] != 0 {
			w.fail("V8: node %d was not in the first view and joins as if it had been live until %d", n, v.LiveUntil[n])
		}
		if v.Live.Has(n) && old.Epoch != 0 {
			w.mark("joined what began without it")
			w.absent = w.absent.Without(n)
		}
	}
}

func (c *check) learn(w *world, m *machine, v *register.Value) {
	c.learned++
	c.same(w, "learned", v)
	for _, a := range c.accepted {
		if a.chosen && a.v == *v {
			return
		}
	}
	w.fail("V2: node %d learned value %d, epoch %d, which no majority has on disk", m.id, v.Seq, v.View.Epoch)
}

func (c *check) same(w *world, how string, v *register.Value) {
	if old, ok := c.bySeq[v.Seq]; ok && old != v.View {
		w.fail("V1: two values with number %d (%s): %+v and %+v", v.Seq, how, old, v.View)
	}
	c.bySeq[v.Seq] = v.View
	view := v.View
	view.Issued = [proto.NodesMax]proto.Incarnation{} // changes within an epoch
	if old, ok := c.byEpoch[view.Epoch]; ok && old != view {
		w.fail("V1: two views of epoch %d (%s): %+v and %+v", view.Epoch, how, old, view)
	}
	c.byEpoch[view.Epoch] = view
}
