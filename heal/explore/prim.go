package explore

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"

	"github.com/zeebo/xxh3"

	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/heal/rejoin"
	"healkv/rdma"
)

// viewID numbers views; 0 is the empty one.
type viewID uint16

func (e *tables) viewID(v *proto.View) viewID {
	w := *v
	w.Failed = [proto.NodesMax]uint8{} // says only how long lives wait
	if id, ok := e.viewIDs[w]; ok {
		return id
	}
	id := viewID(len(e.views))
	e.views = append(e.views, w)
	e.viewIDs[w] = id
	return id
}

func (e *tables) machineID(m *rejoin.Machine) uint32 {
	if id, ok := e.machineIDs[*m]; ok {
		return id
	}
	id := uint32(len(e.machines))
	e.machines = append(e.machines, *m)
	e.machineIDs[*m] = id
	return id
}

// publication is what one life has published for another: its line of
// watermarks and, once it feeds it, its stream from there on.
type publication struct {
	from, to proto.Member
	marks    rdma.Marks
	fed      uint64 // +1
	kept     uint64 // below, the ring may be written again
	bytes    []byte
}

// publication is the number of what is published for a node now; 0: nothing.
func (n *node) publication(c proto.NodeID) uint32 {
	if !n.up || !n.entered || c == n.id || n.attached[c] == 0 {
		return 0
	}
	p := publication{from: n.self, to: proto.Member{Node: c, Incarnation: n.attached[c]}, marks: n.sent[c], fed: n.fed[c], kept: n.out.Reclaimed()}
	if p.fed > 0 {
		p.bytes = n.mem[p.fed-1 : n.out.Tail()]
	}
	b := n.e.pubBytes[:0]
	b = append(b, byte(p.from.Node), byte(p.from.Incarnation), byte(c), byte(p.to.Incarnation))
	m := &p.marks
	for _, v := range [...]uint64{m.Epoch, m.Visible, m.Stable, m.Applied, m.Durable, m.Room, m.Settled, p.fed, p.kept} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = append(b, p.bytes...)
	n.e.pubBytes = b
	k := xxh3.Hash128(b)
	if id, ok := n.e.pubIDs[k]; ok {
		return id
	}
	p.bytes = append([]byte(nil), p.bytes...)
	id := uint32(len(n.e.pubs))
	n.e.pubs = append(n.e.pubs, p)
	n.e.pubIDs[k] = id
	return id
}

// step is one thing that one node does. Its outcome follows from the node's
// local state and these numbers alone; so it is computed once for each.
type step struct {
	op   stepOp
	a, b uint8
	arg  uint32
}

type stepOp uint8

const (
	stListen stepOp = iota // a: of whom; arg: publication
	stMarks                // the first half
	stStream               // the second
	stFlush
	stPublish // fine steps only
	stForward
	stAdopt
	stPut     // a: key
	stDelete  // a: key
	stPersist //
	stGet     // a: key; arg: number of what clients have seen
	stInstall // arg: view
	stLearn   // arg: view
	stFenced  // a: 1: the next life heals by full copy
	stCrash   // a: how; b: 1: it was live
	stBegin   // a: incarnation; arg: view
	stLease   // the lease is gone
	stGhost   // a: reads nothing more of what a dead life published

	// The machine's.
	stHello     // a: node that answered; b: its incarnation; arg: 1: blank
	stGreeted   // the same, from the other side
	stNoAnswer  // a: node; b: its incarnation in the view, if that has ended
	stEnter     // a: 1: full
	stInstalled // arg: epoch
	stAsk       // a: buddy; b: its incarnation; arg: 1: full
	stPin       // a: for whom; b: its incarnation; arg: 1: full
	stList      // a: for whom; arg: 1: full, 2: last
	stOffer     // arg: list; a: the new phase
	stUnpin     // a: for whom
	stEnded     // a: 1: ok, 2: no range
	stFailed    //
	stRoll      //
	stFlushed   //
	stReported  //
	stColdDone  // a: who; arg: epoch
	stServe
)

// outcome of a step.
type outcome struct {
	next uint32 // local state; noState: the step cannot be done
	eff  uint32
	bad  uint32 // number of a violation, 0: none
}

const noState = ^uint32(0)

// do gives the outcome of a step of a local state.
func (e *Explorer) do(local uint32, s step) outcome {
	if !e.Direct {
		if o, ok := e.memo.get(local, s); ok {
			return o
		}
	}
	n := e.nodes[e.sums[local].id]
	if e.Direct {
		if n.holds != local {
			panic("explore: a live node is not where it is said to be")
		}
	} else if n.holds != local {
		n.load(e.images[local])
		n.holds = local
	}
	o := e.run(n, local, s)
	if !e.Direct {
		e.memo.put(local, s, o)
	}
	return o
}

// run carries a step out on the live object.
func (e *Explorer) run(n *node, local uint32, s step) (o outcome) {
	e.Steps++
	n.eff = effects{}
	n.holds = noState
	done := false
	text := n.guarded(func() { done = n.carryOut(s) })
	n.touched() // whatever became of it
	if text != "" {
		e.violations = append(e.violations, text)
		return outcome{next: noState, bad: uint32(len(e.violations) - 1)}
	}
	if !done {
		if e.Direct {
			n.holds = local // nothing has changed
		}
		return outcome{next: noState}
	}
	o.next = e.intern(n)
	n.holds = o.next
	if n.eff.n > 0 {
		id, ok := e.effIDs[n.eff]
		if !ok {
			id = uint32(len(e.effs))
			e.effs = append(e.effs, n.eff)
			e.effIDs[n.eff] = id
		}
		o.eff = id
	}
	return o
}

func (n *node) guarded(f func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			if v, ok := r.(violation); ok {
				text = v.text
				return
			}
			text = fmt.Sprintf("node %d: panic: %v", n.id, r)
			n.e.Trace = string(debug.Stack())
		}
	}()
	f()
	return ""
}

// carryOut is the switch over all steps. False: not possible now, and then
// nothing has changed.
func (n *node) carryOut(s step) bool {
	var ts [keysMax]proto.TS
	var was proto.Member
	if n.up && n.entered {
		ts, was = n.timestamps(), n.self
	}
	turn := true // ends with Advance, in a turn of its own
	switch s.op {
	case stListen:
		n.marks(proto.NodeID(s.a), &n.e.pubs[s.arg])
		n.stream(proto.NodeID(s.a), &n.e.pubs[s.arg])
	case stMarks:
		n.marks(proto.NodeID(s.a), &n.e.pubs[s.arg])
	case stStream:
		n.stream(proto.NodeID(s.a), &n.e.pubs[s.arg])
	case stFlush:
		n.flush()
	case stPublish:
		n.publish()
	case stForward:
		if was := n.rep.ForwardPending(); n.rep.RollForward(1) == 0 && n.rep.ForwardPending() == was {
			return false // ring or log are full
		}
	case stAdopt:
		if !n.adopt() {
			return false
		}
	case stPut:
		if !n.write(opPut, s.a) {
			return false
		}
	case stDelete:
		if !n.write(opDelete, s.a) {
			return false
		}
	case stPersist:
		if !n.persistScope() {
			return false
		}
	case stGet:
		if !n.get(s.a, n.e.bars[s.arg]) {
			return false
		}
	case stInstall:
		n.install(viewID(s.arg))
	case stFenced:
		n.fenced(s.a == 1)
	case stCrash:
		n.crash(int(s.a), s.b == 1)
	case stBegin:
		n.begin(proto.Incarnation(s.a), viewID(s.arg))
	case stLease:
		n.leased = false
	case stRoll:
		if !n.rollLeftovers() {
			return false
		}
	case stFlushed:
		n.flush()
		n.m.Flushed()
	case stPin:
		if !n.pin(proto.Member{Node: proto.NodeID(s.a), Incarnation: proto.Incarnation(s.b)}, s.arg == 1) {
			n.eff.add(effect{kind: noRange})
		}
	case stList:
		list := n.list(proto.NodeID(s.a), s.arg&1 == 1)
		n.e.lists = append(n.e.lists, list)
		n.eff.add(effect{kind: listing, value: uint64(len(n.e.lists) - 1)})
	default:
		turn = false
		n.control(s)
	}
	n.count()
	if n.up && n.entered {
		if turn && !n.e.c.Fine && s.op != stPublish {
			if n.e.c.Bursts && n.log.Flushed() != n.log.Tail() {
				n.flush()
			}
			n.publish()
		}
		n.answer()
		if n.out.Tail() > ringBytes/2 {
			fail("explore: the stream is longer than an exploration provides for")
		}
		if was == n.self {
			now := n.timestamps()
			for k := range ts {
				if now[k] < ts[k] {
					fail("node %d: key %d has TS %v after %v (I8)", n.id, k, now[k], ts[k])
				}
			}
		}
	}
	return true
}

// count takes the replica's counters of rare branches.
func (n *node) count() {
	if !n.up || !n.entered {
		return
	}
	m, c := n.e.marks, &n.rep.Counters
	for _, x := range [...]struct {
		name string
		n    uint64
	}{{"superseded", c.Superseded}, {"confirmed", c.Confirmed}, {"waited for a view", c.WaitedForView}, {"locked reads", c.LockedReads},
		{"adopted", c.Adopted}, {"adopted locked", c.AdoptedLocked}, {"adoptions skipped", c.AdoptSkipped}, {"rolled forward", c.RolledForward}} {
		if x.n > 0 {
			m[x.name] += x.n
		}
	}
	*c = replica.Counters{}
}

// control is what only life and machine hear of.
func (n *node) control(s step) {
	x := proto.NodeID(s.a)
	m := proto.Member{Node: x, Incarnation: proto.Incarnation(s.b)}
	switch s.op {
	case stLearn:
		n.learn(viewID(s.arg))
	case stGhost:
		n.ghost[x] = 0
	case stHello, stGreeted:
		if n.attached[x] != m.Incarnation && n.links[x] < m.Incarnation {
			n.links[x] = m.Incarnation
		}
		if !n.served {
			n.m.Connected(m)
			n.m.Blank(x, s.arg == 1)
		}
	case stNoAnswer:
		n.m.Disconnected(x)
		if s.b != 0 {
			n.m.Died(m)
		}
	case stEnter:
		n.enter(s.a == 1)
	case stInstalled:
		n.m.AllInstalled(proto.Epoch(s.arg))
	case stAsk:
		n.phase, n.buddy, n.full = asked, m, s.arg == 1
	case stOffer:
		n.phase = phase(s.a)
		n.offer = append(n.offer[:len(n.offer):len(n.offer)], n.e.lists[s.arg]...)
	case stUnpin:
		n.kept[x] = rangeFor{}
	case stEnded:
		n.m.Transferred(n.buddy, s.a == 1, s.a == 2)
		n.phase, n.buddy, n.full = idle, proto.Member{}, false
	case stFailed:
		n.phase = failed
	case stReported:
		n.m.Reported()
	case stColdDone:
		if !n.served {
			n.m.ColdDone(x, proto.Epoch(s.arg))
		}
	case stServe:
		n.served, n.super.complete = true, true
		n.super.write(&n.disk, n.stable)
	default:
		panic("explore: unknown step")
	}
}

// timestamps are the records' the index leads to.
func (n *node) timestamps() (ts [keysMax]proto.TS) {
	for k, h := range n.e.hashes {
		if w := n.word(h); w != 0 {
			ts[k] = proto.TS(recordTS(n.st.Record(w.Pos())))
		}
	}
	return ts
}
