package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/control"
)

// planes is the control plane's cables: what is cut, slow or about to be
// damaged.
type planes struct {
	cut     [proto.NodesMax][proto.NodesMax]bool
	slow    [proto.NodesMax][proto.NodesMax]time.Duration
	garbage [proto.NodesMax][proto.NodesMax]int
}

// plane is one process's end of the control plane: a *control.Server to
// membership and heal. A connection keeps its order; a cut holds messages back;
// damage is noticed and ends the connection.
type plane struct {
	w        *world
	p        *process
	id       proto.NodeID
	handlers map[string]control.Handler
	events   []func(control.Event)
	member   proto.Member
	newest   [proto.NodesMax]proto.Incarnation
	conns    [proto.NodesMax]*conn
	refused  [proto.NodesMax]refusals
	calls    map[uint64]*call
	lastCall uint64
	ctx      context.Context
	cancel   context.CancelFunc
}

// conn joins two processes.
type conn struct {
	end  [2]*plane
	open bool
	last [2]int64     // due time of the newest message from each end
	held [2][]message // from each end, held back by a cut or a pause
}

type call struct {
	to   proto.NodeID
	done chan struct{}
	body json.RawMessage
	err  error
	stop func() // ends the handler's context
}

type message struct {
	kind   string
	call   uint64 // 0: a notice
	reply  bool
	from   proto.Member
	body   json.RawMessage
	err    string
	caller *call
}

func newPlane(w *world, p *process) *plane {
	pl := &plane{w: w, p: p, id: proto.NodeID(p.m.id), member: proto.Member{Node: proto.NodeID(p.m.id)}, handlers: map[string]control.Handler{}, calls: map[uint64]*call{}}
	pl.ctx, pl.cancel = context.WithCancel(context.Background())
	pl.handlers["hello"] = func(context.Context, proto.Member, json.RawMessage) (any, error) { return nil, nil }
	return pl
}

func (pl *plane) Handle(kind string, h func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error)) {
	pl.handlers[kind] = h
}

func (pl *plane) OnEvent(f func(control.Event)) { pl.events = append(pl.events, f) }

func (pl *plane) emit(e control.Event) {
	for _, f := range pl.events {
		f(e)
	}
}

func (pl *plane) Connected(n proto.NodeID) bool {
	return n == pl.id || int(n) < pl.w.o.Nodes && pl.conns[n] != nil && pl.conns[n].open
}

func (pl *plane) SetMember(m proto.Member) {
	pl.member = m
	for n := range pl.w.nodes {
		pl.Notify(proto.NodeID(n), "hello", nil)
	}
}

// redial connects to every other process, now and then.
func (pl *plane) redial() {
	w := pl.w
	if pl.p.Dead() || w.ended {
		return
	}
	for _, m := range w.nodes {
		o := m.p
		if o == nil || o == pl.p || o.Dead() || o.Paused() || pl.p.Paused() || pl.conns[m.id] != nil || w.plane.cut[pl.id][m.id] || w.plane.cut[m.id][pl.id] {
			if o != nil && o != pl.p && pl.conns[m.id] == nil && !pl.p.Paused() {
				pl.dialled(m)
			}
			continue
		}
		c := &conn{end: [2]*plane{pl, o.plane}, open: true}
		pl.conns[m.id], o.plane.conns[pl.id] = c, c
		pl.refused[m.id], o.plane.refused[pl.id] = refusals{}, refusals{}
		pl.Notify(proto.NodeID(m.id), "hello", nil)
		o.plane.Notify(pl.id, "hello", nil)
		pl.p.poke()
		o.poke()
	}
	w.sim.At(time.Duration(1_000_000+w.rng.Int64N(1_000_000)), pl.redial)
}

// close ends a connection; both ends notice, calls over it fail.
func (c *conn) close(how control.EventKind) {
	if !c.open {
		return
	}
	c.open = false
	for i, pl := range c.end {
		o := c.end[1-i]
		if pl.conns[o.id] == c {
			pl.conns[o.id] = nil
		}
		if pl.p.Dead() {
			continue
		}
		pl.refused[o.id] = refusals{life: proto.Member{Node: o.id, Incarnation: pl.newest[o.id]}}
		for id := uint64(1); id <= pl.lastCall; id++ {
			if x := pl.calls[id]; x != nil && x.to == o.id {
				x.end(nil, fmt.Errorf("%w: node %d: connection ended", control.ErrUnreachable, o.id))
			}
		}
		pl.emit(control.Event{Kind: control.PeerClosed, Member: proto.Member{Node: o.id, Incarnation: pl.newest[o.id]}})
		if how == control.PeerExited {
			pl.emit(control.Event{Kind: how, Member: proto.Member{Node: o.id, Incarnation: pl.newest[o.id]}})
		}
		pl.p.poke()
	}
}

func (c *call) end(body json.RawMessage, err error) {
	select {
	case <-c.done:
		return
	default:
	}
	c.body, c.err = body, err
	close(c.done)
}

func (pl *plane) heard(m proto.Member) {
	if m.Incarnation > pl.newest[m.Node] {
		pl.newest[m.Node] = m.Incarnation
		pl.emit(control.Event{Kind: control.PeerHello, Member: m})
	}
}

func (pl *plane) Notify(n proto.NodeID, kind string, req any) {
	if n == pl.id || !pl.Connected(n) {
		return
	}
	pl.send(pl.conns[n], message{kind: kind, from: pl.member, body: pl.encode(req)})
}

func (pl *plane) encode(x any) json.RawMessage {
	if x == nil {
		return nil
	}
	b, err := json.Marshal(x)
	if err != nil {
		panic(err)
	}
	return b
}

func (pl *plane) Call(ctx context.Context, n proto.NodeID, kind string, req, resp any) error {
	if n == pl.id {
		got, err := pl.handlers[kind](ctx, pl.member, pl.encode(req))
		if err != nil {
			return fmt.Errorf("%w: ourselves: %s: %w", control.ErrRemote, kind, err)
		}
		return decode(pl.encode(got), resp)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !pl.Connected(n) {
		return fmt.Errorf("%w: node %d", control.ErrUnreachable, n)
	}
	pl.lastCall++
	id := pl.lastCall
	c := &call{to: n, done: make(chan struct{})}
	pl.calls[id] = c
	defer delete(pl.calls, id)
	pl.send(pl.conns[n], message{kind: kind, call: id, from: pl.member, body: pl.encode(req), caller: c})
	if pl.p.Wait(-1, c.done, ctx.Done()) == 1 {
		if c.stop != nil { // stands for the deadline that goes along with a request
			c.stop()
			pl.p.pokeOther(int(n))
		}
		return ctx.Err()
	}
	if c.err != nil {
		return c.err
	}
	return decode(c.body, resp)
}

func decode(body json.RawMessage, resp any) error {
	if resp == nil || len(body) == 0 {
		return nil
	}
	return json.Unmarshal(body, resp)
}

// send puts a message on its way.
func (pl *plane) send(c *conn, m message) {
	w := pl.w
	i := 0
	if c.end[1] == pl {
		i = 1
	}
	to := c.end[1-i]
	d := int64(1000) + w.rng.Int64N(int64(w.o.CallMax)*1000)
	if slow := w.plane.slow[pl.id][to.id]; slow > 0 {
		d += w.rng.Int64N(int64(slow))
	}
	due := max(c.last[i], w.sim.Now()+d)
	c.last[i] = due
	w.sim.At(time.Duration(due-w.sim.Now()), func() { w.arrive(c, i, m) })
}

// arrive delivers a message from end i, or holds it back.
func (w *world) arrive(c *conn, i int, m message) {
	from, to := c.end[i], c.end[1-i]
	if !c.open || to.p.Dead() || w.ended {
		return
	}
	if len(c.held[i]) > 0 || w.plane.cut[from.id][to.id] || to.p.Paused() {
		c.held[i] = append(c.held[i], m)
		return
	}
	w.deliver(c, from, to, m)
}

func (w *world) deliver(c *conn, from, to *plane, m message) {
	if g := &w.plane.garbage[from.id][to.id]; *g > 0 {
		*g--
		w.count("control messages damaged")
		w.took(doGarbage)
		c.close(control.PeerClosed)
		return
	}
	if m.reply {
		to.heard(m.from)
		if x := to.calls[m.call]; x != nil && x == m.caller {
			var err error
			if m.err != "" {
				err = fmt.Errorf("%w: node %d: %s", control.ErrRemote, from.id, m.err)
			}
			x.end(m.body, err)
		}
		to.p.poke()
		return
	}
	to.heard(m.from)
	h := to.handlers[m.kind]
	to.p.Go(func() {
		ctx := to.ctx
		if m.caller != nil {
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(ctx)
			defer cancel()
			m.caller.stop = cancel
		}
		r := message{kind: m.kind, call: m.call, reply: true, caller: m.caller}
		if h == nil {
			r.err = "unknown kind"
		} else if got, err := h(ctx, m.from, m.body); err != nil {
			r.err = err.Error()
		} else if m.call != 0 {
			r.body = to.encode(got)
		}
		r.from = to.member
		if m.call != 0 && c.open {
			to.send(c, r)
		}
	})
}

// release lets go what cuts and pauses held back and do not any more.
func (w *world) release() {
	for _, m := range w.nodes {
		if m.p == nil {
			continue
		}
		for _, c := range m.p.plane.conns {
			if c == nil || !c.open || c.end[0] != m.p.plane {
				continue
			}
			for i := range c.held {
				from, to := c.end[i], c.end[1-i]
				for len(c.held[i]) > 0 && c.open && !w.plane.cut[from.id][to.id] && !to.p.Paused() {
					x := c.held[i][0]
					c.held[i] = c.held[i][1:]
					w.deliver(c, from, to, x)
				}
			}
		}
	}
}
