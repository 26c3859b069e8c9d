package register

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"healkv/dataplane/proto"
)

func free(*proto.View) string { return "" }

var start = proto.View{Configured: 0b11111, Shards: 1}

// op is the k-th change of proposer p: it sets a counter of p's own, leaves a
// mark of the process and takes the next epoch, so that a lost change and a
// fork both show in the value.
func op(p, k int, life uint64) Change {
	return func(v *proto.View) error {
		if v.Issued[p] >= proto.Incarnation(k) {
			return errDone // an earlier attempt of ours took effect
		}
		v.Issued[p] = proto.Incarnation(k)
		v.LiveUntil[p] = proto.Epoch(life)
		v.Epoch++
		return nil
	}
}

var errDone = errors.New("done already")

// history checks what the acceptors accepted against G1 to G3.
type history struct {
	majority int
	proposed map[Ballot]Value
	votes    map[Ballot]proto.NodeSet
	chosen   []Ballot // ascending
	bySeq    map[uint64]Value
	byEpoch  map[proto.Epoch]Value
}

func newHistory(majority int) *history {
	return &history{majority, map[Ballot]Value{}, map[Ballot]proto.NodeSet{}, nil, map[uint64]Value{}, map[proto.Epoch]Value{}}
}

func (h *history) accepted(n proto.NodeID, b Ballot, v Value) error {
	if old, ok := h.proposed[b]; ok && old != v {
		return fmt.Errorf("G1: ballot %v has values %+v and %+v", b, old, v)
	}
	h.proposed[b] = v
	had := h.votes[b]
	h.votes[b] = had.With(n)
	if had.Count() >= h.majority || h.votes[b].Count() < h.majority {
		return nil
	}
	at, _ := slices.BinarySearchFunc(h.chosen, b, Ballot.Compare)
	h.chosen = slices.Insert(h.chosen, at, b)
	if old, ok := h.bySeq[v.Seq]; ok && old != v {
		return fmt.Errorf("G2: sequence number %d has values %+v and %+v", v.Seq, old, v)
	}
	if old, ok := h.byEpoch[v.View.Epoch]; ok && old != v {
		return fmt.Errorf("G2: epoch %d has values %+v and %+v", v.View.Epoch, old, v)
	}
	h.bySeq[v.Seq], h.byEpoch[v.View.Epoch] = v, v
	for i, c := range h.chosen { // a vote may come late: look at both sides
		if w := h.proposed[c]; i < at && !contains(v, w) || i > at && !contains(w, v) {
			return fmt.Errorf("G3: %v %+v and %v %+v are both chosen, and the later lacks a change", b, v, c, w)
		}
	}
	return nil
}

func contains(later, earlier Value) bool {
	for p := range later.View.Issued {
		if later.View.Issued[p] < earlier.View.Issued[p] {
			return false
		}
	}
	return later.Seq >= earlier.Seq && later.View.Epoch >= earlier.View.Epoch
}

// acceptor of the simulation: what is durable, and what it has in memory.
type simAcceptor struct {
	a       Acceptor
	durable State
}

type simProposer struct {
	p        Proposer
	id, k    int // the change under way
	life     uint64
	rounds   uint64
	acked    int // changes known to have taken effect
	attempts int
}

type plan struct {
	acceptors, proposers, changes int
	seeds                         int  // 0: 60
	replaceEvery                  int  // steps, on average, between new proposer processes; 0: 150
	forget                        bool // planted: an acceptor restarts with an older state
	reuse                         bool // planted: lives are not told apart
	deaf                          bool // planted: the promise is not honoured
}

// simulate runs competing proposers over a network that loses, repeats and
// reorders, with restarts of everybody.
func simulate(seed uint64, pl plan) (chosen int, stats [8]int, err error) {
	r := rand.New(rand.NewPCG(seed, 1))
	h := newHistory(pl.acceptors/2 + 1)
	nodes := proto.NodeSet(1<<pl.acceptors - 1)
	acc := make([]simAcceptor, pl.acceptors)
	var learned []struct {
		b Ballot
		v Value
	}
	var net []Message
	props := make([]*simProposer, pl.proposers)
	send := func(m Message) {
		for n := range pl.acceptors {
			m.To = proto.NodeID(n)
			net = append(net, m)
		}
	}
	begin := func(s *simProposer) {
		s.rounds++
		s.attempts++
		life := s.life
		if pl.reuse {
			life = 0
		}
		s.p = NewProposer(nodes, Ballot{s.rounds, proto.NodeID(s.id), life}, start, op(s.id, s.k, s.life))
		send(s.p.Request())
	}
	for i := range props {
		props[i] = &simProposer{id: i, k: 1, life: r.Uint64()}
		begin(props[i])
	}
	guard := func(*proto.View) string {
		if r.IntN(20) == 0 {
			stats[4]++
			return "a lease"
		}
		return ""
	}
	open := func() bool {
		return slices.ContainsFunc(props, func(s *simProposer) bool { return s.acked < pl.changes })
	}
	step := 0
	for ; open() && step < 60000; step++ {
		calm := step > 40000 // then it must make progress
		if len(net) == 0 || r.IntN(100) == 0 {
			s := props[r.IntN(len(props))]
			if s.acked < pl.changes {
				s.rounds = max(s.rounds, s.p.Highest.Round)
				begin(s)
			}
			continue
		}
		if every := cmp.Or(pl.replaceEvery, 150); !calm && r.IntN(every) == 0 { // a proposer's process is replaced
			s := props[r.IntN(len(props))]
			if s.acked < pl.changes {
				s.life, s.rounds = r.Uint64(), s.rounds-min(s.rounds, uint64(r.IntN(3)))
				if pl.reuse || r.IntN(2) == 0 { // at a round that its life before has used
					s.rounds = s.p.ballot.Round - 1
				}
				begin(s)
				stats[0]++
			}
		}
		if !calm && r.IntN(100) == 0 { // an acceptor's too
			a := &acc[r.IntN(len(acc))]
			if pl.forget {
				a.durable = State{}
			}
			a.a.State = a.durable
			stats[1]++
		}
		if r.IntN(60) == 0 && len(learned) > 0 {
			l, a := learned[r.IntN(len(learned))], &acc[r.IntN(len(acc))]
			before := a.a.State
			a.a.Learn(l.b, l.v)
			a.durable = a.a.State
			if before.At.Compare(a.a.At) > 0 || before.Promised.Compare(a.a.Promised) > 0 {
				return 0, stats, fmt.Errorf("G4: %+v became %+v", before, a.a.State)
			}
			stats[5]++
		}
		i := r.IntN(len(net))
		m := net[i]
		if calm || r.IntN(10) != 0 { // else it stays: delivered again later
			net[i] = net[len(net)-1]
			net = net[:len(net)-1]
		} else {
			stats[2]++
		}
		if !calm && r.IntN(12) == 0 {
			stats[3]++
			continue // lost
		}
		if m.Kind == Prepare || m.Kind == Accept {
			a := &acc[m.To]
			if pl.deaf {
				a.a.Promised = Ballot{}
			}
			before := a.a.State
			reply, changed := a.a.Step(&m, guard)
			if changed != (before != a.a.State) && !pl.deaf {
				return 0, stats, fmt.Errorf("changed = %v from %+v to %+v", changed, before, a.a.State)
			}
			if changed && !calm && r.IntN(25) == 0 { // crash before it was durable: no answer, no change
				a.a.State = a.durable
				stats[6]++
				continue
			}
			a.durable = a.a.State
			if reply.Kind == Accepted {
				if err := h.accepted(m.To, m.Ballot, m.Value); err != nil {
					return 0, stats, err
				}
			}
			reply.To = m.From
			net = append(net, reply)
			continue
		}
		s := props[m.To]
		if s.p.Step(&m) {
			send(s.p.Request())
		}
		o, v := s.p.Outcome()
		if o == Pending || s.acked == s.k {
			continue
		}
		if o == Chosen || o == Unchanged {
			if v.View.Issued[s.id] < proto.Incarnation(s.k) {
				return 0, stats, fmt.Errorf("acknowledged %v without change %d of %d: %+v", o, s.k, s.id, v)
			}
			if o == Chosen {
				learned = append(learned, struct {
					b Ballot
					v Value
				}{s.p.Ballot(), v})
			}
			s.acked = s.k
			if s.k < pl.changes {
				s.k++
				begin(s)
			}
			continue
		}
		stats[7]++
		s.rounds = max(s.rounds, s.p.Highest.Round)
		begin(s)
	}
	if open() {
		return 0, stats, fmt.Errorf("no progress in %d steps", step)
	}
	last := h.proposed[h.chosen[len(h.chosen)-1]]
	for _, s := range props {
		if int(last.View.Issued[s.id]) != pl.changes {
			return 0, stats, fmt.Errorf("lost update: %+v", last)
		}
	}
	if int(last.Seq) != pl.changes*pl.proposers {
		return 0, stats, fmt.Errorf("%d changes, sequence number %d", pl.changes*pl.proposers, last.Seq)
	}
	return len(h.bySeq), stats, nil
}

func TestCompetingProposers(t *testing.T) {
	runs, values := 0, 0
	var sum [8]int
	for _, pl := range []plan{
		{acceptors: 1, proposers: 2, changes: 10},
		{acceptors: 3, proposers: 2, changes: 12, seeds: 3000}, // two lives at one ballot meet that seldom
		{acceptors: 3, proposers: 3, changes: 8},
		{acceptors: 5, proposers: 4, changes: 5},
		{acceptors: 4, proposers: 3, changes: 6},
		{acceptors: 3, proposers: 3, changes: 8, replaceEvery: 12},
	} {
		for seed := range uint64(cmp.Or(pl.seeds, 60)) {
			n, st, err := simulate(seed, pl)
			if err != nil {
				t.Fatalf("%+v seed %d: %v", pl, seed, err)
			}
			runs++
			values += n
			for i := range st {
				sum[i] += st[i]
			}
		}
	}
	t.Logf("%d runs, %d values chosen; proposers replaced %d, acceptors restarted %d (+%d before durable), repeated %d, lost %d, guarded %d, learned %d, tried again %d",
		runs, values, sum[0], sum[1], sum[6], sum[2], sum[3], sum[4], sum[5], sum[7])
	for i, n := range sum {
		if n == 0 {
			t.Errorf("fault %d never happened: the test shows nothing of it", i)
		}
	}
}

// TestPlantedFaultsAreCaught: the checks above mean something.
func TestPlantedFaultsAreCaught(t *testing.T) {
	for name, pl := range map[string]plan{
		"acceptor forgets":     {acceptors: 3, proposers: 3, changes: 8, forget: true},
		"ballots used twice":   {acceptors: 3, proposers: 3, changes: 8, reuse: true, replaceEvery: 12},
		"promise not honoured": {acceptors: 3, proposers: 3, changes: 8, deaf: true},
	} {
		caught := 0
		for seed := range uint64(40) {
			_, _, err := simulate(seed, pl)
			if err != nil && !strings.Contains(err.Error(), "no progress") {
				caught++
			}
		}
		if caught == 0 {
			t.Errorf("%s: not caught in 40 runs", name)
		}
		t.Logf("%s: caught in %d of 40 runs", name, caught)
	}
}

// TestAllOrders visits every order in which the requests of two proposers
// (three with REGISTER_ALL_ORDERS=3) can reach three acceptors, each any number of times or never, each answer
// delivered or lost. Answers that come late need no case of their own: to
// take one in late is to take it in at once and to have what follows from it
// delayed, which is covered.
func TestAllOrders(t *testing.T) {
	proposers := 2
	if os.Getenv("REGISTER_ALL_ORDERS") == "3" { // 2.3 million states, minutes
		proposers = 3
	}
	states, chosen, err := explore(proposers, func(a *Acceptor, m *Message) Message {
		reply, _ := a.Step(m, free)
		return reply
	})
	t.Logf("%d proposers: %d states, %d of them with a chosen value", proposers, states, chosen)
	if err != nil || chosen == 0 {
		t.Fatal(err)
	}
}

// TestAllOrdersFindsABrokenAcceptor: one that accepts below its promise, and
// one that hides what it accepted.
func TestAllOrdersFindsABrokenAcceptor(t *testing.T) {
	for name, step := range map[string]func(a *Acceptor, m *Message) Message{
		"deaf": func(a *Acceptor, m *Message) Message {
			if m.Kind == Accept {
				a.Promised = Ballot{}
			}
			reply, _ := a.Step(m, free)
			return reply
		},
		"mute": func(a *Acceptor, m *Message) Message {
			reply, _ := a.Step(m, free)
			if m.To == 1 {
				reply.At, reply.Value = Ballot{}, Value{}
			}
			return reply
		},
	} {
		states, _, err := explore(2, step)
		if err == nil {
			t.Errorf("%s: not found in %d states", name, states)
		}
		t.Logf("%s: found after %d states", name, states)
	}
}

type world struct {
	acc   [3]Acceptor
	prop  [3]Proposer
	votes [3]proto.NodeSet // acceptors that accepted the proposer's ballot, at any time
}

func (w *world) key() (k [36]byte) {
	b := k[:0]
	for i := range w.acc {
		s := &w.acc[i].State // a value is known by the ballot it was accepted at
		b = append(b, byte(s.Promised.Round)<<4|byte(s.Promised.Node), byte(s.At.Round)<<4|byte(s.At.Node))
	}
	for i := range w.prop {
		p := &w.prop[i]
		flags := byte(p.outcome) << 3
		if p.accepting {
			flags |= 1
		}
		if p.agree {
			flags |= 2
		}
		b = append(b, flags, byte(p.answered), byte(p.failed), byte(p.at.Round)<<4|byte(p.at.Node),
			byte(p.result.Seq), byte(p.result.View.Issued[0]|p.result.View.Issued[1]<<1|p.result.View.Issued[2]<<2), byte(w.votes[i]))
	}
	return k
}

func (w *world) check() (chosen bool, err error) {
	h := newHistory(2)
	for i := range w.prop {
		for _, n := range w.votes[i].Nodes(nil) {
			if err := h.accepted(n, w.prop[i].ballot, w.prop[i].result); err != nil {
				return false, err
			}
		}
	}
	for i := range w.prop {
		if o, v := w.prop[i].Outcome(); o == Chosen && h.bySeq[v.Seq] != v {
			return false, fmt.Errorf("proposer %d was told %+v is chosen, and it is not", i, v)
		}
	}
	return len(h.chosen) > 0, nil
}

func explore(proposers int, step func(*Acceptor, *Message) Message) (states, chosen int, err error) {
	var w world
	for i := range w.prop {
		w.prop[i] = NewProposer(0b111, Ballot{1, proto.NodeID(i), 0}, start, op(i, 1, 0))
	}
	seen := map[[36]byte]struct{}{w.key(): {}}
	stack := []world{w}
	for len(stack) > 0 {
		w := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		states++
		any, err := w.check()
		if err != nil {
			return states, chosen, err
		}
		if any {
			chosen++
		}
		for i := range proposers {
			// A proposer that is accepting may still have its Prepare on the way.
			requests := []Message{{Kind: Prepare, Ballot: w.prop[i].ballot}}
			if w.prop[i].accepting {
				requests = append(requests, Message{Kind: Accept, Ballot: w.prop[i].ballot, Value: w.prop[i].result})
			}
			for _, m := range requests {
				m.From = proto.NodeID(i)
				for m.To = range proto.NodeID(3) {
					next := w
					reply := step(&next.acc[m.To], &m)
					if reply.Kind == Accepted {
						next.votes[i] = next.votes[i].With(m.To)
					}
					lost := next
					next.prop[i].Step(&reply)
					for _, n := range []*world{&lost, &next} {
						k := n.key()
						if _, ok := seen[k]; !ok {
							seen[k] = struct{}{}
							stack = append(stack, *n)
						}
					}
				}
			}
		}
	}
	return states, chosen, nil
}

func TestDeclinedChangeOnAnUndecidedValue(t *testing.T) {
	// One acceptor of three holds a value nobody may rely on yet. A change that
	// declines because of it must see to it that it is chosen first.
	one := start
	one.Issued[0] = 5
	var acc [3]Acceptor
	acc[0].State = State{Ballot{1, 0, 0}, Ballot{1, 0, 0}, Value{1, one}}
	declined := errors.New("declined")
	p := NewProposer(0b111, Ballot{2, 1, 0}, start, func(v *proto.View) error {
		if v.Issued[0] != 5 {
			t.Errorf("change got %+v", v)
		}
		return declined
	})
	for range 2 {
		for n := range proto.NodeID(2) {
			m := p.Request()
			m.To = n
			reply, _ := acc[n].Step(&m, free)
			p.Step(&reply)
			if o, _ := p.Outcome(); p.accepting && m.Kind == Prepare && o != Pending {
				t.Fatal("answered before the value was chosen")
			}
			if p.accepting && m.Kind == Prepare {
				break
			}
		}
	}
	if o, v := p.Outcome(); o != Unchanged || v.View.Issued[0] != 5 || v.Seq != 1 || p.Declined != declined || acc[1].Value != v {
		t.Fatalf("%v %+v %v, acceptor 1 %+v", o, v, p.Declined, acc[1].Value)
	}
}

func TestCatchUp(t *testing.T) {
	b := func(r uint64) Ballot { return Ballot{Round: r} }
	v := func(s uint64) Value { return Value{Seq: s, View: start} }
	held := func(*proto.View) string { return "a lease" }
	for i, c := range []struct {
		own    State
		others []State
		guard  func(*proto.View) string
		done   bool
		want   State
	}{
		{State{}, nil, free, true, State{}},
		{State{}, []State{{b(10), b(3), v(3)}, {b(7), b(7), v(7)}}, free, true, State{b(10), b(7), v(7)}},
		{State{}, []State{{b(10), b(3), v(3)}, {b(7), b(7), v(7)}}, held, false, State{}},
		{State{b(9), b(8), v(8)}, []State{{b(5), b(5), v(5)}}, held, true, State{b(9), b(8), v(8)}},
		{State{b(9), b(2), v(2)}, []State{{b(8), b(8), v(8)}}, held, true, State{b(9), b(2), v(2)}},
	} {
		a := Acceptor{c.own}
		done, changed := a.CatchUp(c.others, c.guard)
		if done != c.done || a.State != c.want || changed != (c.own != c.want) {
			t.Errorf("case %d: done %v, changed %v, %+v; want %v, %+v", i, done, changed, a.State, c.done, c.want)
		}
	}
}
