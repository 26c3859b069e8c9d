package heal

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
	"healkv/pmem"
	"healkv/rdma"
)

// Control is the part of the control plane that a life uses.
type Control interface {
	Handle(kind string, h func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error))
	Call(ctx context.Context, n proto.NodeID, kind string, req, resp any) error
}

// Register is the view register.
type Register interface {
	Current() proto.View
	// Update changes the register by compare and swap: change edits a copy of
	// the newest value; it may run several times, also on top of itself.
	Update(ctx context.Context, change func(v *proto.View) error) (proto.View, error)
}

// Leftover is one of the node's own records above its stable position.
type Leftover struct{ Hash, Pos uint64 }

// Config is what a life needs. All fields are required but Full, Doubtful, Blank, Budget,
// Floor and those at the end. Opened fills in what the pools say.
type Config struct {
	Self       proto.Member
	Prev       proto.Incarnation // the life before
	Configured proto.NodeSet
	Core       *dataplane.Core
	Register   Register
	Control    Control
	Tails      []uint64     // recovered logs, by shard
	Leftovers  [][]Leftover // by shard
	// Seen is how far others had flushed, by shard, as the pools remember it.
	Seen [][proto.NodesMax]pmem.Seen
	Full string // why this life heals by full copy; empty: by range
	// Doubtful says why the pool may lack records that it should have: this life
	// heals by comparing digests, if not by full copy. Empty: it lacks none.
	Doubtful string
	Blank    bool // the pool has nothing for a cold start: made anew, cut off in a full copy, or an older copy
	// Budget bounds what a recovery moves, in bytes per millisecond; 0: none.
	Budget int
	// Floor is what it moves even while others want the cores that it takes; 0, or
	// as much as the budget: it does not look.
	Floor int
	// Lease is as long as the members' leases; 0: calls have their usual time,
	// and a life that comes back too often does not back off.
	Lease time.Duration
	// ProvenDead reports a life whose process has provably ended.
	ProvenDead func(proto.Member) bool
	// Event hears of what the recovery report shows.
	Event func(name string, e proto.Epoch, detail string)
	// Enter opens the pools for this life, begins and starts the workers; full
	// discards the records first (Worker.Open). Called once, before anything of
	// the shards is used.
	Enter func(full bool) error
	// Promoted is called once, when the view with this life live is decided.
	Promoted func() error
	Logger   *slog.Logger

	// NoLink hears that no connection to a member of the view can be made, since
	// when (on Env's clock), and with since 0 that this is over; may be nil.
	NoLink func(m proto.Member, since int64)
	// Running tells which live members of the newest view are heard to run in
	// the life that it names; nil: nobody listens.
	Running func() proto.NodeSet

	// CompareEvery is how often a live node compares what it holds with another
	// live one; 0: never.
	CompareEvery time.Duration

	// HeldBack says why this node should stay a shadow although it could be live,
	// "" if it should not; nil: it never should.
	HeldBack func() string

	// Env is what the life runs on; nil: flow.Real, with recoveries on threads
	// of their own and times on CLOCK_MONOTONIC.
	Env    flow.Env
	Limits Limits
}

// Life is one incarnation of a node.
type Life struct {
	cfg     Config
	self    proto.Member
	workers []*dataplane.Worker
	log     *slog.Logger
	env     flow.Env
	threads bool // recoveries get threads of their own

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced when something below changes
	newest    proto.View    // decided
	installed proto.View    // in all shards
	links     map[proto.Member][]rdma.Link
	ended     error // why the life is over
	facts     []func(*rejoin.Machine)
	others    [proto.NodesMax]said // what lives have told of their pools
	entered   bool

	driven    bool          // nobody takes facts any more
	told      chan struct{} // a token: there are facts
	entering  chan struct{} // a token: nobody is in enter
	enterErr  error         // whoever has that token: what Enter said
	preparing chan struct{} // a token: nobody makes connections
	rangeMu   sync.Mutex    // never held over anything slow: workers take it
	ranges    map[uint64]*served
	rangeID   uint64

	hurt     chan struct{} // a token: something is damaged
	recovery recorder

	doubts  []doubt       // of other live members; mu
	doubted chan struct{} // a token: there are doubts
	tally   comparisons
}

// factsMax bounds the facts that wait for the machine.
const factsMax = 1024

// New makes a life; Run begins it.
func New(c Config) *Life {
	c.Limits = c.Limits.filled()
	l := &Life{cfg: c, self: c.Self, workers: c.Core.Workers(), log: c.Logger, env: c.Env, changed: make(chan struct{}),
		links: map[proto.Member][]rdma.Link{}, ranges: map[uint64]*served{}, told: make(chan struct{}, 1), doubted: make(chan struct{}, 1),
		entering: make(chan struct{}, 1), preparing: make(chan struct{}, 1), hurt: make(chan struct{}, 1),
		recovery: recorder{Recovery: Recovery{Kind: "none", Buddy: -1}}}
	if l.env == nil {
		l.env, l.threads, l.recovery.clock = flow.Real, true, monotonic
	} else {
		l.recovery.clock = l.env.Now
	}
	for _, w := range l.workers {
		w.Pool().Store().OnDamage(func() {
			flow.Signal(l.hurt)
			w.Endpoint().Wake()
		})
	}
	flow.Signal(l.entering)
	flow.Signal(l.preparing)
	return l
}

// hold takes the token of entering or preparing, which stand in for mutexes
// where what they guard may wait. The result gives it back.
func (l *Life) hold(token chan struct{}) (release func()) {
	l.env.Wait(-1, token)
	return func() { flow.Signal(token) }
}

// Self is the member this life is.
func (l *Life) Self() proto.Member { return l.self }

// Installed is the newest view that all shards have installed.
func (l *Life) Installed() proto.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.installed
}

// announce wakes everybody who waits for a change. mu is held.
func (l *Life) announce() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// SawView tells of a decided view. Any goroutine; older ones are ignored.
func (l *Life) SawView(v proto.View) {
	l.mu.Lock()
	if v.Epoch > l.newest.Epoch {
		l.newest = v
		l.announce()
	}
	l.mu.Unlock()
}

// end finishes the life; the first reason stays.
func (l *Life) end(why error) {
	l.mu.Lock()
	if l.ended == nil {
		l.ended = why
		l.announce()
	}
	l.mu.Unlock()
}

// Refused ends this life because the stream of a member of its view does not
// verify here and time does not mend it: the next life connects anew. Any
// goroutine.
func (l *Life) Refused(peer proto.Member, err error) {
	l.end(&Fenced{Why: fmt.Sprintf("the stream of %v does not verify here: %v", peer, err)})
}

// Failed ends this life because it can keep no promise any more: a pool of it
// failed. Any goroutine.
func (l *Life) Failed(err error) {
	l.cfg.Core.SetServing(false)
	l.end(err)
}

// Fenced is why a life ended that is to be followed by another one.
type Fenced struct {
	Why  string
	Full bool // the next life must heal by full copy
}

func (f *Fenced) Error() string { return "heal: this life has ended: " + f.Why }

// Run lives: it returns when the life is over (a *Fenced: begin another one)
// or when ctx ends.
func (l *Life) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tasks := flow.NewGroup(l.env)
	tasks.Go(func() { l.installer(ctx) })
	tasks.Go(func() { l.drive(ctx) })
	tasks.Go(func() { l.comparing(ctx) })
	tasks.Go(func() { l.mender(ctx) })
	var err error
	for err == nil {
		l.mu.Lock()
		changed, ended := l.changed, l.ended
		l.mu.Unlock()
		switch {
		case ended != nil:
			err = ended
		case ctx.Err() != nil:
			err = ctx.Err()
		default:
			l.env.Wait(-1, changed, ctx.Done())
		}
	}
	cancel()
	tasks.Wait()
	l.mu.Lock()
	for m := range l.links {
		l.closeLinks(m)
	}
	l.mu.Unlock()
	return err
}

// installer installs the newest view in all shards, one after the other.
func (l *Life) installer(ctx context.Context) {
	for ctx.Err() == nil {
		l.mu.Lock()
		v, old, changed := l.newest, l.installed, l.changed
		l.mu.Unlock()
		switch {
		case v.Epoch <= old.Epoch:
		case !v.Has(l.self):
			// Before the admission that is nothing new.
			if old.Epoch != 0 || v.Incarnation[l.self.Node] >= l.self.Incarnation {
				l.cfg.Core.SetServing(false)
				l.end(&Fenced{Why: fmt.Sprintf("view %d is without %v", v.Epoch, l.self)})
				return
			}
		default:
			if l.install(ctx, &v, &old) {
				continue
			}
		}
		l.env.Wait(-1, changed, ctx.Done())
	}
}

// install brings one view into all shards. False: it was overtaken or could
// not get its connections.
func (l *Life) install(ctx context.Context, v, old *proto.View) bool {
	var fresh []proto.Member
	for _, n := range v.Members().Without(l.self.Node).Nodes(nil) {
		if m := v.Member(n); old.Epoch == 0 || !old.Has(m) {
			fresh = append(fresh, m)
		}
	}
	for _, m := range fresh {
		if !l.prepareUntilNewer(ctx, m, v.Epoch) {
			return ctx.Err() == nil && l.newestEpoch() > v.Epoch
		}
	}
	if err := l.enter(false); err != nil {
		l.end(err)
		return false
	}
	links := make([]dataplane.Links, len(l.workers))
	l.mu.Lock()
	for _, m := range fresh {
		for i, k := range l.links[m] {
			links[i][m.Node] = k
		}
		delete(l.links, m)
	}
	l.mu.Unlock()
	gone := make([][]rdma.Link, len(l.workers))
	tasks := flow.NewGroup(l.env)
	for i, w := range l.workers {
		tasks.Go(func() { w.Do(func() { gone[i] = w.InstallView(v, &links[i]) }) })
	}
	if plant.Is(plant.InstalledEarly) {
		l.mu.Lock()
		l.installed = *v
		l.announce()
		l.mu.Unlock()
	}
	tasks.Wait()
	live := v.Live.Has(l.self.Node)
	l.cfg.Core.SetServing(live)
	l.mu.Lock()
	l.installed = *v
	l.announce()
	l.mu.Unlock()
	l.dropRanges(func(s *served) bool { return !v.Shadow.Has(s.to.Node) || !v.Has(s.to) })
	l.cfg.Event("view_installed", v.Epoch, fmt.Sprintf("live %v, shadow %v", v.Live, v.Shadow))
	l.log.Info("view installed", "epoch", v.Epoch, "live", v.Live.String(), "shadow", v.Shadow.String())
	for _, ks := range gone {
		for _, k := range ks {
			k.Close()
		}
	}
	return true
}

// enter opens the shards for this life, once.
func (l *Life) enter(full bool) error {
	defer l.hold(l.entering)()
	if l.in() || l.enterErr != nil {
		return l.enterErr
	}
	if l.enterErr = l.cfg.Enter(full); l.enterErr != nil {
		return l.enterErr
	}
	l.mu.Lock()
	l.entered = true
	l.mu.Unlock()
	return nil
}

// in reports whether the shards run.
func (l *Life) in() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entered
}

func (l *Life) newestEpoch() proto.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest.Epoch
}

// prepareUntilNewer makes the connections to a member of view e. It gives up
// when a newer view is known: that member may be gone from it.
func (l *Life) prepareUntilNewer(ctx context.Context, m proto.Member, e proto.Epoch) bool {
	begun, failed := l.env.Now(), false
	defer func() {
		if failed && l.cfg.NoLink != nil {
			l.cfg.NoLink(m, 0)
		}
	}()
	for warned := begun; ; {
		err := l.prepare(ctx, m)
		if err == nil {
			return true
		}
		if !failed && l.cfg.NoLink != nil {
			l.cfg.NoLink(m, begun)
		}
		failed = true
		if l.env.Now()-warned > int64(time.Second) {
			l.log.Warn("cannot connect to a member of the view", "member", m, "err", err)
			warned = l.env.Now()
		}
		l.mu.Lock()
		changed, newer := l.changed, l.newest.Epoch > e
		l.mu.Unlock()
		if newer || ctx.Err() != nil {
			return false
		}
		l.env.Wait(2*time.Millisecond, changed, ctx.Done())
	}
}

// prepare makes the connections of all shards to one life, unless they are
// made already or in use.
//
// It waits for its turn as long as ctx lasts: where data connections cannot be
// made, those who ask again and again must not keep an install waiting.
func (l *Life) prepare(ctx context.Context, m proto.Member) error {
	if l.env.Wait(-1, l.preparing, ctx.Done()) != 0 {
		return ctx.Err()
	}
	defer flow.Signal(l.preparing)
	l.mu.Lock()
	done := l.links[m] != nil || l.installed.Epoch != 0 && l.installed.Has(m)
	for old := range l.links {
		if old.Node == m.Node && old.Incarnation < m.Incarnation {
			l.closeLinks(old)
		}
	}
	l.mu.Unlock()
	if done {
		return nil
	}
	links := make([]rdma.Link, 0, len(l.workers))
	for _, w := range l.workers {
		k, err := w.Endpoint().Prepare(int(m.Node), uint32(m.Incarnation))
		if err != nil {
			for _, k := range links {
				k.Close()
			}
			return err
		}
		links = append(links, k)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.links[m] = links
	return nil
}

// closeLinks drops prepared connections that were never used. mu is held.
func (l *Life) closeLinks(m proto.Member) {
	for _, k := range l.links[m] {
		k.Close()
	}
	delete(l.links, m)
}

// awaitInstalled returns once a view of at least epoch e is installed here.
func (l *Life) awaitInstalled(ctx context.Context, e proto.Epoch) (proto.Epoch, error) {
	for {
		l.mu.Lock()
		changed, now, ended := l.changed, l.installed.Epoch, l.ended
		l.mu.Unlock()
		if now >= e {
			return now, nil
		}
		if ended != nil {
			return now, ended
		}
		if l.env.Wait(-1, changed, ctx.Done()) == 1 {
			return now, ctx.Err()
		}
	}
}
