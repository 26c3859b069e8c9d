package membership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/flow/flowsim"
	"healkv/dataplane/proto"
	"healkv/heal/control"
	"healkv/heal/membership/register"
)

// The simulation: the shipped Service on processes, a control plane and disks
// that are simulated, all of it from one seed. What happens is in
// simulate_faults_test.go, what must hold in simulate_check_test.go.

// world is one run.
type world struct {
	sim      *flowsim.Sim
	seed     uint64
	lease    time.Duration
	drift    time.Duration
	nodes    []*machine
	oneHost  bool // deaths are proven; else nothing is
	wild     bool // clocks far beyond the bound
	ppm      int  // clocks differ by so much at most
	jump     time.Duration
	cut      [proto.NodesMax][proto.NodesMax]bool // from, to
	loss     float64
	slowest  time.Duration                        // of ordinary messages
	late     [proto.NodesMax]time.Duration        // added at most to those for a node
	data     [proto.NodesMax][proto.NodesMax]bool // from, to: that part of the data path is cut
	quiet    bool                                 // nobody writes
	control  int                                  // faults of the control plane at present
	together int64                                // since when members are in one view over a cut link, 0: they are not
	inEpoch  proto.Epoch                          // in which
	gone     proto.NodeSet                        // who was dropped from a view in calm
	calm     bool
	wait     time.Duration             // Config.BootstrapWait
	begins   *machine                  // nil, or who is not there when the cluster begins
	asked    map[register.Ballot]int64 // when a ballot's first request was sent
	absent   proto.NodeSet             // from the first view, and not live since
	over     map[proto.Member]int64    // since when a life is over
	marks    map[string]int
	events   int

	proposals int // begun
	decided   int // of them in calm, and decided
	drifts    int // clocks that went faster or slower than the true time

	trace    []byte
	failures []string
	check    check
}

// machine is a node over all its processes.
type machine struct {
	w      *world
	id     proto.NodeID
	disk   *disk
	p      *flowsim.Process // nil or dead: down
	plane  *plane
	s      *Service // nil: not yet
	life   proto.Member
	told   chan struct{}
	stuck  bool // its shards do not move
	leave  bool // it shall leave, and come back
	asleep bool // it runs, and makes no life
	used   bool // its pool is not new
	// returned is when an older copy of its file came back; 0: it did not, or has
	// caught up.
	returned int64
	jumped   int64
	seen     seen

	streams streams
	busy    bool  // its clients write
	still   int   // its streams stand still for all: 1 nothing is applied, 2 nothing is flushed
	lies    bool  // says that everybody's stand still
	late    int64 // what reaches it is durable so many ns later
	touched int64 // last time something happened to it or its links that may make streams stand still
}

func newWorld(seed uint64) *world {
	w := &world{
		sim: flowsim.New(seed), seed: seed, marks: map[string]int{},
		over: map[proto.Member]int64{}, asked: map[register.Ballot]int64{}, check: newCheck(),
	}
	n := 3 + w.rnd(3)
	w.lease = []time.Duration{200 * time.Millisecond, 500 * time.Millisecond, time.Second}[w.rnd(3)]
	w.drift = w.lease / 10
	w.oneHost = w.rnd(2) == 0
	switch w.rnd(7) {
	case 0:
		w.wild, w.ppm, w.jump = true, 300_000, 3*w.lease
		w.check.wildRun = true
	case 1, 2, 3: // two clocks are apart by almost the whole bound
		w.ppm = 47_000
	default:
		w.ppm, w.jump = 28_000, w.lease/25
	}
	w.slowest = time.Millisecond
	for i := range n {
		m := &machine{w: w, id: proto.NodeID(i), disk: &disk{w: w}}
		if err := FormatStorage(m.disk, testCluster, m.id); err != nil {
			panic(err)
		}
		w.nodes = append(w.nodes, m)
	}
	if seed%5 == 4 && n > 2 { // without a draw: other seeds stay what they were
		w.wait, w.begins = 3*w.lease, w.nodes[seed/5%uint64(n)]
	}
	w.say("nodes %d lease %v one host %v wild %v ppm %d jump %v", n, w.lease, w.oneHost, w.wild, w.ppm, w.jump)
	return w
}

func (w *world) rnd(n int) int         { return int(w.sim.Rand.Uint64() % uint64(n)) }
func (w *world) chance(p float64) bool { return w.sim.Rand.Float64() < p }
func (w *world) upTo(d time.Duration) time.Duration {
	return time.Duration(w.sim.Rand.Uint64() % uint64(max(1, d)))
}
func (w *world) set() proto.NodeSet { return 1<<len(w.nodes) - 1 }
func (w *world) mark(name string)   { w.marks[name]++ }

// say adds to the trace, which is the run's fingerprint too.
func (w *world) say(format string, args ...any) {
	w.trace = fmt.Appendf(w.trace, "%12.6f ", float64(w.sim.Now())/1e9)
	w.trace = fmt.Appendf(w.trace, format+"\n", args...)
}

func (w *world) fail(format string, args ...any) {
	w.failures = append(w.failures, fmt.Sprintf(format, args...))
	w.say("failure")
}

// start begins a process of the node.
func (m *machine) start() {
	w := m.w
	if m.p != nil && !m.p.Dead() {
		return
	}
	p := w.sim.NewProcess(w.upTo(time.Hour), w.rate())
	m.p, m.s, m.told, m.jumped, m.seen = p, nil, make(chan struct{}, 1), 0, seen{}
	m.streams, m.busy = streams{}, w.rnd(2) == 0 || w.calm
	w.touch(m)
	m.plane = &plane{m: m, p: p, handlers: map[string]handler{}}
	w.say("start %d: %v", m.id, p)
	p.Go(m.run)
}

// rate is anything within the bound, one of its ends most often.
func (w *world) rate() int {
	w.drifts++
	if w.rnd(3) == 0 {
		return w.rnd(2*w.ppm+1) - w.ppm
	}
	return w.ppm * (1 - 2*w.rnd(2))
}

// end kills the process. Without power, the disk forgets what was not synced
// and nobody is told.
func (m *machine) end(power bool) {
	w := m.w
	if m.p == nil || m.p.Dead() {
		return
	}
	w.say("end %d, power %v", m.id, power)
	w.touch(m)
	m.kill()
	if !power {
		m.disk.lose()
	}
	m.lifeEnds(w.upTo(20 * time.Millisecond)) // the kernel unmaps first
	for _, o := range w.nodes {
		if l := o.plane; l != nil && !o.p.Dead() && l.links[m.id].to == m.plane && (power || w.oneHost) {
			old := m.plane
			w.sim.At(w.upTo(2*time.Millisecond), func() { l.closed(old, power) })
		}
	}
}

// kill ends the process's tasks, and counts what it had counted.
func (m *machine) kill() {
	m.p.Kill()
	if m.s == nil {
		return
	}
	c := &m.s.counts
	m.w.marks["competing proposal lost"] += int(c.Conflicts)
	m.w.marks["proposal held by leases"] += int(c.Held)
	m.w.marks["members removed"] += int(c.Removed)
	m.w.marks["no progress, no lease"] += int(c.NoProgress)
	m.w.marks["half-way value settled"] += int(c.Settled)
	m.w.marks["lease won again"] += int(c.LeasesLost)
	m.w.marks["removals over complaints decided"] += int(c.Blamed)
	m.w.marks["chosen in one trip"] += int(c.Led)
	m.w.proposals += int(c.Proposals)
	m.s = nil
}

func (m *machine) lifeEnds(after time.Duration) {
	if m.life.Incarnation != 0 {
		m.w.over[m.life] = m.w.sim.Now() + int64(after)
	}
	m.life = proto.Member{}
}

// provenDead is the kernel's word on the one host.
func (w *world) provenDead(x proto.Member) (bool, error) {
	at, ok := w.over[x]
	if !w.oneHost || !ok || at > w.sim.Now() {
		return false, nil
	}
	w.mark("death proven")
	return true, nil
}

// run is the process: it opens the service and then does what a node does,
// without the data.
func (m *machine) run() {
	w := m.w
	cfg := Config{
		Node: m.id, Configured: w.set(), ClusterID: testCluster, Storage: opened{m.disk, m}, Env: m.p, Control: m.plane,
		Initial: proto.View{Shards: 2}, Lease: w.lease, Drift: w.drift,
		Progress: func() bool { return !m.stuck }, ProvenDead: w.provenDead,
		Watch: m.watch, Probe: m.probe, Patience: w.lease, BootstrapWait: w.wait,
		OnOlder:   func(why string) { w.mark("told of an older file"); w.say("node %d: %s", m.id, why) },
		OnView:    func(v proto.View) { m.saw(v); flow.Signal(m.told) },
		OnSuspect: func(n proto.NodeID, why string) { w.say("node %d suspects %d: %s", m.id, n, why) },
	}
	s, err := New(cfg)
	if err != nil {
		w.say("node %d does not start: %v", m.id, err)
		w.mark("start failed")
		p := m.p
		w.sim.At(0, func() {
			if m.p == p {
				m.end(true)
				w.sim.At(w.upTo(w.lease), m.start)
			}
		})
		return
	}
	m.s = s
	w.check.durable(w, m, &s.durable)
	m.plane.begin()
	s.Start()
	for !m.asleep {
		m.live()
	}
}

// live is one life of the node. It returns when the life is over and another
// one shall begin.
func (m *machine) live() {
	w, s, p := m.w, m.s, m.p
	ctx, cancel := p.Timeout(context.Background(), 4*w.lease)
	inc, err := s.NextIncarnation(ctx)
	cancel()
	if err != nil {
		p.Wait(time.Millisecond + w.upTo(w.lease/10))
		return
	}
	self := proto.Member{Node: m.id, Incarnation: inc}
	w.check.handedOut(w, self)
	m.life = self
	s.SetMember(self)
	member := false
	for {
		v := s.Current()
		switch {
		case v.Epoch == 0 && m.used:
			p.Wait(w.lease/4, m.told)
		case v.Epoch == 0:
			m.do("bootstrap", func(ctx context.Context) error { _, err := s.Bootstrap(ctx); return err })
			continue
		case v.Has(self):
			member = true
		case member || v.Incarnation[m.id] > inc:
			w.say("node %d: life %d is over, epoch %d", m.id, inc, v.Epoch)
			m.lifeEnds(0)
			return
		}
		switch {
		case !member && s.Running() != 0 && !m.reaches(&v): // connect before you decide
			w.mark("admission waited for a link")
			p.Wait(w.upTo(w.lease/4), m.told)
		case !member:
			if err := m.do("admit", func(ctx context.Context) error { _, err := s.Admit(ctx, self, w.rnd(4) == 0); return err }); errors.Is(err, ErrCold) || errors.Is(err, ErrLastLive) {
				m.cold(self)
				p.Wait(w.upTo(w.lease/4), m.told)
			}
		case v.Live == 0:
			m.cold(self)
			p.Wait(w.upTo(w.lease/4), m.told)
		case v.Shadow.Has(m.id):
			p.Wait(w.upTo(w.lease/2), m.told) // the data
			if s.HeldBack() != "" {
				w.mark("held back as slow")
				continue
			}
			m.do("promote", func(ctx context.Context) error { _, err := s.Promote(ctx, self, v.Epoch); return err })
		case m.leave:
			m.leave = false
			err := m.do("leave", func(ctx context.Context) error { _, err := s.Leave(ctx, self); return err })
			if err == nil {
				w.mark("left")
			}
			s.SetMember(proto.Member{Node: m.id}) // it stops all the same, and with it what it was granted
			m.lifeEnds(0)
			p.Wait(w.upTo(2 * w.lease))
			return
		case w.calm:
			p.Wait(-1, m.told)
		default:
			if p.Wait(w.upTo(3*w.lease), m.told) < 0 && !w.calm {
				m.change()
			}
		}
	}
}

// do carries one change out with a little patience.
func (m *machine) do(what string, f func(context.Context) error) error {
	ctx, cancel := m.p.Timeout(context.Background(), 3*m.w.lease+m.w.wait)
	defer cancel()
	err := f(ctx)
	if err != nil {
		if !errors.Is(err, ErrCold) {
			m.w.say("node %d: %s: %v", m.id, what, err)
		}
		m.p.Wait(time.Millisecond + m.w.upTo(m.w.lease/20))
	}
	return err
}

// change is some change a live node may want.
func (m *machine) change() {
	s, w := m.s, m.w
	switch w.rnd(6) {
	case 0:
		e := s.Current().Epoch
		m.do("same members", func(ctx context.Context) error { _, err := s.SameMembers(ctx, e); return err })
	case 1:
		m.do("update", func(ctx context.Context) error {
			_, err := s.Update(ctx, func(v *proto.View) error { v.Issued[m.id]++; return nil })
			return err
		})
	default: // of one that runs, most often: its lease has to run out
		v := s.Current()
		if x := v.Member(proto.NodeID(w.rnd(len(w.nodes)))); x.Node != m.id {
			m.do("remove", func(ctx context.Context) error { _, err := s.Remove(ctx, x); return err })
		}
	}
}

// cold does what heal/rejoin decides when no live member runs: the lowest of
// the last live ones makes the cold view when all are back, and then promotes
// them together.
func (m *machine) cold(self proto.Member) {
	s, w := m.s, m.w
	v := s.Current()
	set := v.Live
	if set == 0 && v.Cold {
		set = v.Shadow
	}
	if !set.Has(m.id) || set&(1<<m.id-1) != 0 {
		return
	}
	lives := v.Incarnation
	same := true
	for _, n := range set.Nodes(nil) {
		life := s.peers[n].life
		if n == m.id {
			life = self
		}
		same = same && life == v.Member(n)
		if lives[n] = life.Incarnation; lives[n] < v.Incarnation[n] || v.Live != 0 && lives[n] == v.Incarnation[n] {
			return // not back, or not gone
		}
	}
	if v.Live == 0 && same {
		if err := m.do("promote all", func(ctx context.Context) error {
			_, err := s.Update(ctx, func(u *proto.View) error {
				if u.Epoch != v.Epoch {
					return ErrMoved
				}
				*u = u.Next(u.Shadow, 0)
				return nil
			})
			return err
		}); err == nil {
			w.mark("cold start")
		}
		return
	}
	m.do("cold view", func(ctx context.Context) error {
		_, err := s.Update(ctx, func(u *proto.View) error {
			if u.Epoch != v.Epoch {
				return ErrMoved
			}
			*u = u.Next(0, set)
			u.Cold, u.Incarnation = true, lives
			return nil
		})
		return err
	})
}

// plane is the control plane of one process.
type plane struct {
	m        *machine
	p        *flowsim.Process
	inc      proto.Incarnation
	handlers map[string]handler
	events   []func(control.Event)
	links    [proto.NodesMax]link
	newest   [proto.NodesMax]proto.Incarnation
	begun    bool
}

type handler = func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error)

// link is our connection to another process.
type link struct {
	to      *plane // nil: none
	waiting []*call
}

type call struct {
	done chan struct{}
	body []byte
	err  error
}

func (c *call) end(body []byte, err error) {
	select {
	case <-c.done: // an answer that came twice, or after the connection's end
	default:
		c.body, c.err = body, err
		close(c.done)
	}
}

var _ Control = (*plane)(nil)

func (l *plane) Handle(kind string, h func(context.Context, proto.Member, json.RawMessage) (any, error)) {
	l.handlers[kind] = h
}
func (l *plane) OnEvent(f func(control.Event)) { l.events = append(l.events, f) }
func (l *plane) member() proto.Member          { return proto.Member{Node: l.m.id, Incarnation: l.inc} }
func (l *plane) Connected(n proto.NodeID) bool { return n == l.m.id || l.links[n].to != nil }

func (l *plane) SetMember(m proto.Member) {
	l.inc = m.Incarnation
	for n := range l.links {
		l.Notify(proto.NodeID(n), "control.hello", nil)
	}
}

func (l *plane) emit(e control.Event) {
	for _, f := range l.events {
		f(e)
	}
}

// begin opens the socket and dials.
func (l *plane) begin() {
	l.begun = true
	for _, o := range l.m.w.nodes {
		if o != l.m {
			l.dial(o)
		}
	}
}

func (l *plane) dial(o *machine) {
	w := l.m.w
	w.sim.At(time.Millisecond+w.upTo(50*time.Millisecond), func() {
		switch {
		case l.p.Dead():
		case o.plane == nil || !o.plane.begun || o.p.Dead() || l.p.Paused() || o.p.Paused() || w.cut[l.m.id][o.id] || w.cut[o.id][l.m.id]:
			l.dial(o)
		default:
			if l.links[o.id].to = o.plane; o.plane.links[l.m.id].to != nil && o.plane.links[l.m.id].to != l {
				o.plane.closed(o.plane.links[l.m.id].to, true) // that of the process before
			}
			l.Notify(o.id, "control.hello", nil)
			from := o.plane.member()
			l.p.Go(func() { l.heard(from) })
		}
	})
}

// closed ends the connection to a process; exited: and its pidfd tells.
func (l *plane) closed(to *plane, power bool) {
	k := &l.links[to.m.id]
	if l.p.Dead() || k.to != to {
		return
	}
	l.m.w.mark("connection ended")
	k.to = nil
	for _, c := range k.waiting {
		c.end(nil, control.ErrUnreachable)
	}
	k.waiting = nil
	e := control.Event{Kind: control.PeerClosed, Member: proto.Member{Node: to.m.id, Incarnation: l.newest[to.m.id]}}
	l.p.Go(func() {
		l.emit(e)
		if l.m.w.oneHost && to.p.Dead() {
			e.Kind = control.PeerExited
			l.emit(e)
		}
	})
	l.dial(to.m)
}

// heard notes which life a message came from.
func (l *plane) heard(m proto.Member) {
	if m.Incarnation > l.newest[m.Node] {
		l.newest[m.Node] = m.Incarnation
		l.emit(control.Event{Kind: control.PeerHello, Member: m})
	}
}

// post has fn run in a task of the process at the other end, once, twice or
// not at all.
func (l *plane) post(to *plane, fn func()) {
	w := l.m.w
	if w.cut[l.m.id][to.m.id] || w.chance(w.loss) {
		w.mark("message lost")
		return
	}
	times := 1
	if !w.calm && w.chance(0.01) {
		times = 2
	}
	for range times {
		d := 20*time.Microsecond + w.upTo(w.slowest) + w.upTo(w.late[to.m.id])
		if !w.calm && w.chance(0.005) {
			d += w.upTo(2 * w.lease)
		}
		w.sim.At(d, func() {
			if !to.p.Dead() {
				to.p.Go(fn)
			}
		})
	}
}

// request brings a request to the other end and its answer back.
func (l *plane) request(to *plane, kind string, req any, answered func([]byte, error)) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if req == nil {
		body = nil
	}
	if j, ok := req.(voteJSON); ok && l.m.w.asked[j.Ballot] == 0 {
		l.m.w.asked[j.Ballot] = l.m.w.sim.Now()
	}
	from := l.member()
	l.post(to, func() {
		to.heard(from)
		h := to.handlers[kind]
		if h == nil {
			return // the hello
		}
		a, err := h(context.Background(), from, body)
		to.m.answering(kind, body, a)
		if answered == nil {
			return
		}
		var b []byte
		if err != nil {
			err = fmt.Errorf("%w: node %d: %s: %v", control.ErrRemote, to.m.id, kind, err)
		} else if a != nil {
			b, err = json.Marshal(a)
		}
		by := to.member()
		to.post(l, func() { l.heard(by); answered(b, err) })
	})
	return nil
}

func (l *plane) Notify(n proto.NodeID, kind string, req any) {
	if to := l.links[n].to; to != nil {
		l.request(to, kind, req, nil)
	}
}

func (l *plane) Call(ctx context.Context, n proto.NodeID, kind string, req, resp any) error {
	k := &l.links[n]
	if err := ctx.Err(); err != nil {
		return err
	}
	if k.to == nil {
		return control.ErrUnreachable
	}
	c := &call{done: make(chan struct{})}
	if err := l.request(k.to, kind, req, c.end); err != nil {
		return err
	}
	k.waiting = append(k.waiting, c)
	got := l.p.Wait(-1, c.done, ctx.Done())
	if i := slices.Index(k.waiting, c); i >= 0 {
		k.waiting = slices.Delete(k.waiting, i, i+1)
	}
	switch {
	case got == 1:
		return fmt.Errorf("control: %s to node %d: %w", kind, n, ctx.Err())
	case c.err != nil || resp == nil || len(c.body) == 0:
		return c.err
	}
	return json.Unmarshal(c.body, resp)
}

// disk is a page cache over a medium. What is in the cache survives a process,
// what is on the medium survives the power.
type disk struct {
	w      *world
	cache  [2 * slotBytes]byte
	medium [2 * slotBytes]byte
	dirty  []extent
	slow   time.Duration // a Sync takes up to this
	fails  int           // so many Syncs fail
}

type extent struct{ at, n int }

// opened is the disk as one process sees it.
type opened struct {
	*disk
	m *machine
}

func (d *disk) ReadAt(b []byte, at int64) (int, error) {
	n := copy(b, d.cache[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (d *disk) WriteAt(b []byte, at int64) (int, error) {
	d.dirty = append(d.dirty, extent{int(at), len(b)})
	return copy(d.cache[at:], b), nil
}

func (d *disk) Close() error { return nil }
func (d *disk) Sync() error  { return opened{disk: d}.Sync() }

// Sync brings what was written since the last one, whether that failed or not.
func (o opened) Sync() error {
	d := o.disk
	if d.slow > 0 && o.m != nil {
		d.w.mark("slow sync")
		o.m.p.Wait(d.w.upTo(d.slow))
	}
	if d.fails > 0 {
		d.fails--
		d.w.mark("failed sync")
		d.tear() // and what did not arrive counts as clean
		return errors.New("simulated: no space, or worse")
	}
	for _, e := range d.dirty { // what a Sync failed to bring is not among it
		copy(d.medium[e.at:e.at+e.n], d.cache[e.at:])
	}
	d.dirty = nil
	if o.m != nil && o.m.s != nil { // the acceptor does not change while it is saved
		d.w.check.durable(d.w, o.m, &o.m.s.acceptor.State)
		if o.m.s.stopped != nil {
			d.w.mark("acceptor file written after a failure")
		}
	}
	return nil
}

// lose is the loss of power: the cache is what the medium has.
func (d *disk) lose() {
	d.tear()
	d.cache = d.medium
}

// tear brings some sectors of what was not synced to the medium.
func (d *disk) tear() {
	const sector = 512
	for _, e := range d.dirty {
		d.w.mark("write torn or lost")
		whole := d.w.rnd(3)
		for s := e.at; s < e.at+e.n; s += sector {
			if whole == 0 || whole == 1 && d.w.rnd(2) == 0 {
				copy(d.medium[s:s+sector], d.cache[s:s+sector])
			}
		}
	}
	d.dirty = nil
}

// answering looks at what an acceptor is about to answer.
func (m *machine) answering(kind string, body []byte, a any) {
	j, ok := a.(voteJSON)
	if kind != kindVote || !ok {
		return
	}
	m.voted(&j)
	if j.Why == 0 {
		return
	}
	w := m.w
	switch j.Why {
	case register.Outbid:
		w.mark("vote refused: outbid")
	case register.Silent:
		w.mark("vote refused: may not vote yet")
	case register.Guarded:
		w.mark("vote refused: held by a lease")
		var q voteJSON
		if json.Unmarshal(body, &q) != nil {
			return
		}
		now := m.p.Now()
		x, _, blocked := m.s.granter.Blocks(&q.Value.View, &m.s.acceptor.Value.View, now)
		if blocked && !slices.Contains(m.s.granter.Holds(now), x) {
			w.mark("vote refused: silent after a restart (H22)")
		}
	}
}

func (w *world) tail(lines int) string {
	all := strings.SplitAfter(string(w.trace), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}
