package register

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"healkv/dataplane/proto"
)

// stage is one proposal of a process: the first takes two phases, the second
// goes by the lead that the first has left.
type stage struct {
	p     Proposer
	begun bool
	votes proto.NodeSet // acceptors that accepted its ballot, at any time
}

type leadWorld struct {
	acc [3]Acceptor
	st  [2][2]stage
}

func (w *leadWorld) key() (k [44]byte) {
	b := k[:0]
	small := func(x Ballot) byte { return byte(x.Round)<<4 | byte(x.Node) }
	for i := range w.acc {
		b = append(b, small(w.acc[i].Promised), small(w.acc[i].At))
	}
	for i := range w.st {
		for j := range w.st[i] {
			s := &w.st[i][j]
			flags := byte(s.p.outcome) << 3
			for bit, on := range []bool{s.p.accepting, s.p.agree, s.begun} {
				if on {
					flags |= 1 << bit
				}
			}
			b = append(b, flags, byte(s.p.answered), byte(s.p.failed), small(s.p.at), byte(s.p.best.Seq), small(s.p.ballot),
				byte(s.p.result.Seq), byte(s.p.result.View.Issued[0]|s.p.result.View.Issued[1]<<4), byte(s.votes))
		}
	}
	return k
}

// check looks at G1 to G3 of all that was accepted, and at what the proposers
// were told.
func (w *leadWorld) check() error {
	h := newHistory(2)
	for i := range w.st {
		for j := range w.st[i] {
			s := &w.st[i][j]
			for _, n := range s.votes.Nodes(nil) {
				if err := h.accepted(n, s.p.ballot, s.p.result); err != nil {
					return err
				}
			}
		}
	}
	for i := range w.st {
		for j := range w.st[i] {
			if o, v := w.st[i][j].p.Outcome(); o == Chosen && h.bySeq[v.Seq] != v {
				return fmt.Errorf("proposal %d of %d was told %+v is chosen, and it is not", j, i, v)
			}
		}
	}
	return nil
}

// leads is one exploration: what the proposers begin with, and what is broken.
type leads struct {
	rounds  [2]uint64 // of the first proposals
	decline [2]bool   // the first change declines: the lead is a promise only
	step    func(*Acceptor, *Message) Message
	lead    func(p *Proposer) (Lead, bool)
}

type leadCount struct{ states, led, both int }

// explore visits every order in which requests can reach the acceptors, each
// any number of times or never, each answer delivered or lost, and chosen
// values be learned.
func (x leads) explore() (c leadCount, err error) {
	var w leadWorld
	for i := range w.st {
		change := op(i, 1, 0)
		if x.decline[i] {
			change = func(*proto.View) error { return errDone }
		}
		w.st[i][0] = stage{p: NewProposer(0b111, Ballot{x.rounds[i], proto.NodeID(i), 0}, start, change), begun: true}
	}
	seen := map[[44]byte]struct{}{w.key(): {}}
	stack := []leadWorld{w}
	// visit takes w in if it is new; voted: somebody accepted something.
	visit := func(w *leadWorld, voted bool) error {
		for i := range w.st {
			if w.st[i][1].begun {
				continue
			}
			if l, ok := x.lead(&w.st[i][0].p); ok {
				if p, ok := NewLed(0b111, l, op(i, 2, 0)); ok {
					w.st[i][1] = stage{p: p, begun: true}
				}
			}
		}
		k := w.key()
		if _, ok := seen[k]; ok {
			return nil
		}
		seen[k] = struct{}{}
		stack = append(stack, *w)
		if !voted && w.st[0][0].p.outcome|w.st[1][0].p.outcome == Pending {
			return nil
		}
		return w.check()
	}
	for len(stack) > 0 {
		w := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		c.states++
		done := 0
		for i := range w.st {
			if w.st[i][1].p.outcome == Chosen {
				done++
			}
		}
		if done > 0 {
			c.led++
		}
		if done == 2 {
			c.both++
		}
		began := [2]bool{w.st[0][1].begun, w.st[1][1].begun}
		for i := range w.st {
			for j := range w.st[i] {
				s := &w.st[i][j]
				if !s.begun {
					continue
				}
				before := *s
				var requests [2]Message
				many := 0
				if j == 0 { // may still be on the way
					requests[many] = Message{Kind: Prepare, Ballot: s.p.ballot}
					many++
				}
				if s.p.accepting {
					requests[many] = Message{Kind: Accept, Ballot: s.p.ballot, Value: s.p.result, Next: s.p.ballot.Next()}
					many++
				}
				for r := range many {
					m := &requests[r]
					m.From = proto.NodeID(i)
					for m.To = range proto.NodeID(3) {
						acc := w.acc[m.To]
						reply := x.step(&w.acc[m.To], m)
						voted := reply.Kind == Accepted && !s.votes.Has(m.To)
						if reply.Kind == Accepted {
							s.votes = s.votes.With(m.To)
						}
						if w.acc[m.To] != acc || voted {
							if err := visit(&w, voted); err != nil { // the answer is lost
								return c, err
							}
						}
						s.p.Step(&reply)
						if err := visit(&w, voted); err != nil {
							return c, err
						}
						w.acc[m.To], *s = acc, before
						for i := range began {
							if w.st[i][1].begun && !began[i] {
								w.st[i][1] = stage{}
							}
						}
					}
				}
				if s.votes.Count() >= 2 {
					for n := range w.acc {
						acc := w.acc[n]
						if w.acc[n].Learn(s.p.ballot, s.p.result) {
							if err := visit(&w, false); err != nil {
								return c, err
							}
						}
						w.acc[n] = acc
					}
				}
			}
		}
	}
	return c, nil
}

func sound(a *Acceptor, m *Message) Message {
	reply, _ := a.Step(m, free)
	return reply
}

// leadCases: the second proposer begins below, beside and above the lead of the
// first, and leads come from changes as well as from declined ones.
func leadCases() (cases []leads) {
	for round := uint64(1); round <= 3; round++ {
		for _, d := range [][2]bool{{false, false}, {true, false}, {false, true}} {
			cases = append(cases, leads{rounds: [2]uint64{1, round}, decline: d, step: sound, lead: (*Proposer).Lead})
		}
	}
	return cases
}

// TestAllOrdersWithLeads: two proposers, two changes each, the second by the
// lead of the first; nine beginnings with REGISTER_ALL_ORDERS=3, five without.
func TestAllOrdersWithLeads(t *testing.T) {
	var sum leadCount
	cases := leadCases()
	switch all := os.Getenv("REGISTER_ALL_ORDERS") != ""; {
	case all: // 4.5 million states, minutes
	case testing.Short():
		cases = cases[:3]
	default:
		cases = cases[:5]
	}
	for _, x := range cases {
		c, err := x.explore()
		if err != nil {
			t.Fatalf("rounds %v, declined %v: %v", x.rounds, x.decline, err)
		}
		if c.led == 0 {
			t.Errorf("rounds %v, declined %v: no lead ever led to anything in %d states", x.rounds, x.decline, c.states)
		}
		t.Logf("rounds %v, declined %v: %+v", x.rounds, x.decline, c)
		sum.states, sum.led, sum.both = sum.states+c.states, sum.led+c.led, sum.both+c.both
	}
	t.Logf("%d states, in %d a led proposal was chosen, in %d both", sum.states, sum.led, sum.both)
	if sum.both == 0 && !testing.Short() {
		t.Error("never two led proposals")
	}
}

// TestAllOrdersFindBrokenLeads: an acceptor that does not promise with its
// vote, one that takes back what it promised, and a proposer whose lead claims
// less than was accepted.
func TestAllOrdersFindBrokenLeads(t *testing.T) {
	for name, breakIt := range map[string]func(*leads){
		"no promise": func(x *leads) {
			x.step = func(a *Acceptor, m *Message) Message {
				q := *m
				q.Next = Ballot{}
				return sound(a, &q)
			}
		},
		"promise forgotten": func(x *leads) {
			x.step = func(a *Acceptor, m *Message) Message {
				reply := sound(a, m)
				a.Promised = a.At
				return reply
			}
		},
		"older value": func(x *leads) {
			x.lead = func(p *Proposer) (Lead, bool) {
				l, ok := p.Lead()
				l.Value = Value{View: start}
				return l, ok
			}
		},
	} {
		states, found := 0, error(nil)
		for _, x := range leadCases() {
			breakIt(&x)
			c, err := x.explore()
			states += c.states
			if found = err; err != nil {
				break
			}
		}
		if found == nil {
			t.Errorf("%s: not found in %d states", name, states)
		}
		t.Logf("%s: after %d states: %.150v", name, states, found)
	}
}

func TestLeadOfADeclinedChange(t *testing.T) {
	p := NewProposer(0b1, Ballot{4, 0, 9}, start, func(*proto.View) error { return errDone })
	var a Acceptor
	m := p.Request()
	reply, _ := a.Step(&m, free)
	p.Step(&reply)
	l, ok := p.Lead()
	if o, _ := p.Outcome(); o != Unchanged || !ok || l != (Lead{Ballot{4, 0, 9}, Value{0, start}}) {
		t.Fatalf("%v, lead %+v %v", o, l, ok)
	}
	if _, ok := NewLed(0b1, l, func(*proto.View) error { return errors.New("no") }); ok {
		t.Error("a declined change was answered by a lead")
	}
	led, ok := NewLed(0b1, l, op(0, 1, 0))
	if m = led.Request(); !ok || m.Kind != Accept || m.Ballot != l.Ballot || m.Next != l.Ballot.Next() || m.Value.Seq != 1 {
		t.Fatalf("%+v", m)
	}
	reply, changed := a.Step(&m, free)
	if led.Step(&reply); !changed || a.Promised != m.Next || a.At != m.Ballot {
		t.Fatalf("%+v", a)
	}
	if o, _ := led.Outcome(); o != Chosen {
		t.Fatal(o)
	}
	// The answer was lost: it is given again, although more is promised.
	if reply, changed = a.Step(&m, free); reply.Kind != Accepted || changed {
		t.Errorf("%+v, changed %v", reply, changed)
	}
	// A value learned without its promise is promised with the repetition.
	a.Promised = a.At
	if reply, changed = a.Step(&m, free); reply.Kind != Accepted || !changed || a.Promised != m.Next {
		t.Errorf("%+v, changed %v, %+v", reply, changed, a)
	}
}
