package membership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/proto"
	"healkv/heal/control"
	"healkv/heal/membership/blame"
	"healkv/heal/membership/grant"
	"healkv/heal/membership/lease"
	"healkv/heal/membership/register"
	"healkv/heal/membership/suspect"
)

// Defaults of Config. The lease is long because six nodes may share two
// cores: a renewal must never come too late for want of a processor.
const (
	LeaseDefault   = time.Second
	DriftShare     = 10 // of the lease, in percent, if Config.Drift is 0
	DriftMost      = 4  // the drift is at most the lease divided by this
	renewalsALease = 4
)

var (
	ErrNoMajority = errors.New("membership: no majority of the configured nodes answers")
	ErrHeld       = errors.New("membership: a lease forbids this view for now")
	ErrChange     = errors.New("membership: change refused")
	ErrConfig     = errors.New("membership: configuration differs from the cluster's")
	ErrClosed     = errors.New("membership: closed")
	// ErrNoChange is for change functions: there is nothing to do. Update then
	// returns the newest view and no error.
	ErrNoChange = errors.New("membership: nothing to change")
)

// Control is what the membership needs of the control plane: *control.Server
// has it all, and says what each method does.
type Control interface {
	Handle(kind string, h func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error))
	OnEvent(func(control.Event))
	Call(ctx context.Context, n proto.NodeID, kind string, req, resp any) error
	Notify(n proto.NodeID, kind string, req any)
	Connected(n proto.NodeID) bool
	SetMember(m proto.Member)
}

// Config of a Service.
type Config struct {
	Node       proto.NodeID
	Configured proto.NodeSet // the acceptors; Node is one of them
	ClusterID  string
	StateDir   string // where FormatState made the acceptor's file
	Ephemeral  bool   // allows a StateDir that does not survive a reboot
	// Storage is used instead of the file in StateDir, if set; the service
	// closes it.
	Storage Storage
	// Initial gives Configured, Model and Shards; a register with others is
	// refused with ErrConfig.
	Initial proto.View
	// HashSeed is what the pools hash keys with, equal at all nodes: one with
	// another is neither heard nor voted with. Peers are told a digest of it.
	HashSeed uint64
	// Lease is for how long an acceptor that granted one refuses every view
	// without its holder: a silent member is out that long after its last
	// request. The holder itself serves for Drift less. 0: LeaseDefault.
	Lease time.Duration
	// RoundsAway is how far above what its file has promised the first proposal of
	// this process begins; 0: right above it. The constant of that name is usual.
	RoundsAway uint64
	// Drift is by how much two clocks may differ after one lease, at most
	// Lease/DriftMost; 0: a tenth of it.
	Drift time.Duration
	// Progress reports whether every shard moved since it was asked last. The
	// lease is renewed only then. nil: always.
	Progress func() bool
	// Watch tells how far each member has come with this node's streams, over
	// all shards; nothing between two lives. It may wait. nil: no complaints are
	// made about members that stand still.
	Watch func() []proto.Pair
	// Probe gives idle streams something to wait for, so that Watch can tell who
	// stands still. It may wait. nil: idle streams are not watched.
	Probe func()
	// Patience is how long a member's stream stands still before it is
	// complained about; 0: the lease, but at least PatienceLeast.
	Patience time.Duration
	// Slow is how late what this node writes may become durable at a member,
	// for two patiences without interruption, before that member is complained
	// about as slow; at most the patience. 0: half the patience; below 0: nobody
	// is slow. The members need not agree on it.
	Slow time.Duration
	// ProvenDead reports whether the kernel of this host released the liveness
	// lock of that life of a node. nil: nothing is ever proven.
	ProvenDead func(proto.Member) (bool, error)
	// TrustRefused takes connections that are refused where a member was
	// connected for its death (onRefused).
	TrustRefused bool
	// BootstrapWait is for how long a majority of the nodes of a new cluster
	// waits for the others before it makes the first view without them. 0: as
	// long as it takes.
	BootstrapWait time.Duration
	// OnView is told every new view, in the order of epochs, one call at a
	// time; views may be skipped. It may block: newer views wait.
	OnView func(proto.View)
	// OnLease is told when this life has won a lease that it did not hold. It must
	// not block; nil: nobody waits for it.
	OnLease func()
	// OnSuspect is told once per life why a member is about to be removed.
	OnSuspect func(proto.NodeID, string)
	// OnClass is told what is wrong with another node, as seen from here, when
	// that changes: at most once a patience for each.
	OnClass func(n proto.NodeID, class suspect.Class, why string)
	// OnOlder is told when this node's acceptor file turns out to be an older copy.
	OnOlder func(string)
	Logger  *slog.Logger // nil: none
	Control Control
	Env     flow.Env // nil: flow.Real
}

// peer is what we know of another configured node.
type peer struct {
	life    proto.Member  // that spoke last
	heardAt int64         // when, Env.Now; 0: never
	wantAt  int64         // last time that life asked for its lease
	placeAt int64         // when we learned the view in which it became live, or a shadow
	rhythm  rhythm        // of its beats
	fresh   bool          // it says its pool is new (Bootstrap)
	config  string        // how its configuration differs from ours; "": not
	seed    string        // the digest of its hash seed, if that is another than ours
	probe   int64         // until then its death is looked for at every turn; 0 where none can be proven
	held    proto.NodeSet // whom it holds back as slow, as it said last
}

// heardLocked notes that a life of another node spoke.
func (s *Service) heardLocked(m proto.Member, now int64) {
	s.granter.Spoke(m)
	p := &s.peers[m.Node]
	if p.life != m {
		p.life, p.wantAt, p.rhythm = m, 0, rhythm{}
	}
	p.heardAt = now
}

// Service is one node's part in the membership. Methods may be called from
// any goroutine.
type Service struct {
	cfg      Config
	log      *slog.Logger
	ctl      Control
	env      flow.Env
	majority int
	life     uint64 // of our ballots
	stall    int64  // ns that something stands still before it is complained about
	slow     int64  // lag of a member that is slow, ns; 0: none is
	seed     string // digest of the hash seed
	lease    int64  // ns
	hold     int64  // how much of its own lease a holder counts on, ns

	ctx     context.Context
	cancel  context.CancelFunc
	tasks   *flow.Group
	ended   chan struct{} // closed at the end of Close
	beatNow chan struct{}
	// newcomer is a token: lives spoke that have not heard of this one yet.
	newcomer chan struct{}
	look     chan struct{} // for the detector
	refusal  chan struct{} // under mu; closed and made anew when a member's connections are refused
	viewNew  chan struct{}
	learnt   chan struct{}
	propose  chan struct{} // a token: one proposal at a time
	broken   chan struct{} // for mender: the file could not be written
	forgot   chan struct{} // for catchUp: our file is an older copy

	holder lease.Holder

	// disk is a token, held from a step of the acceptor until its state is
	// durable; mu is not held meanwhile, so that granting leases never waits
	// for a disk.
	disk   chan struct{}
	voters atomic.Int32 // requests to vote that wait for it
	file   *acceptorFile

	mu       sync.Mutex
	acceptor register.Acceptor
	durable  register.State // what of it is on disk
	voting   bool
	turn     uint64                 // of durable, in the file
	turns    [proto.NodesMax]uint64 // highest heard of the others' files
	pastTurn uint64                 // highest heard of our file, if that is an older copy
	older    bool                   // it is one, see older.go
	asked    proto.NodeSet          // who has told its state since the start
	stopped  error                  // why this acceptor votes no more
	closed   bool
	granter  grant.Granter
	known    register.Value // newest chosen value we have heard of
	knownAt  register.Ballot
	viewAt   int64         // when its epoch was learned
	round    uint64        // of the highest ballot seen
	lead     register.Lead // of our last proposal, for the next; Ballot zero: none
	pacing   time.Duration // see pace
	self     proto.Member
	fresh    bool
	leaving  bool
	renewal  grant.Renewal
	// newcomers are the nodes of which a new life spoke.
	newcomers proto.NodeSet
	peers     [proto.NodesMax]peer
	suspects  [proto.NodesMax]suspected
	watcher   blame.Watcher // of the own streams
	table     blame.Table   // everybody's complaints
	edges     []blame.Edge  // for verdictLocked
	uneasy    bool          // some member stands still, as seen here
	config    error         // our configuration differs from the register's
	counts    counts

	uneasyUntil int64        // somebody else said so
	accused     suspected    // whom the complaints name; gone: people were told
	accuses     proto.Member // whom this node proposes to remove over complaints

	paces     blame.Paces     // of the own streams
	lostAt    int64           // when a live member went last, or this node began to listen
	namedSlow proto.Member    // whom complaints named as slow last
	namedAt   int64           // when
	heldBack  proto.NodeSet   // demoted as slow, and not seen to keep up since
	classes   suspect.Tracker // what is wrong with whom
	sights    [proto.NodesMax]suspect.Sight
}

type counts struct {
	Proposals, Chosen, Conflicts, Held, Removed uint64
	BeatsSent, BeatsGranted, BeatsRefused       uint64
	NoProgress, LeasesLost                      uint64
	Settled                                     uint64 // values left half-way by others
	Probes                                      uint64 // times idle streams were probed
	Looks                                       uint64 // turns of the detector
	Accused, Blamed                             uint64 // attempts to remove a member over complaints, and those that did
	Led                                         uint64 // proposals chosen in one trip
	Mended                                      uint64 // times the acceptor's file was written again after a failure
	Demoted                                     uint64 // live members that went as slow, as seen here
	Damaged                                     uint64
}

// New opens the acceptor's state and registers the membership's messages with
// the control plane; Start begins to take part.
func New(cfg Config) (*Service, error) {
	switch {
	case cfg.Control == nil:
		return nil, errors.New("membership: no control plane")
	case !cfg.Configured.Has(cfg.Node):
		return nil, fmt.Errorf("membership: node %d is not among the configured nodes %v", cfg.Node, cfg.Configured.Nodes(nil))
	case cfg.Lease < 0 || cfg.Drift < 0 || cfg.Patience < 0:
		return nil, fmt.Errorf("membership: lease %v, drift %v, patience %v: want them above 0", cfg.Lease, cfg.Drift, cfg.Patience)
	case cfg.Slow > 0 && cfg.Slow > max(cfg.Patience, cfg.Lease, PatienceLeast):
		return nil, fmt.Errorf("membership: a member is slow from %v on, limit %v: after that it stands still", cfg.Slow, max(cfg.Patience, cfg.Lease, PatienceLeast))
	case cfg.BootstrapWait < 0:
		return nil, fmt.Errorf("membership: the first view waits for %v: want 0 (for all nodes) or more", cfg.BootstrapWait)
	}
	if cfg.Lease == 0 {
		cfg.Lease = LeaseDefault
	}
	if cfg.Drift == 0 {
		cfg.Drift = cfg.Lease * DriftShare / 100
	}
	if cfg.Drift > cfg.Lease/DriftMost {
		return nil, fmt.Errorf("membership: drift %v with a lease of %v, limit %v: a holder counts on the lease less the drift, and must renew it in that time",
			cfg.Drift, cfg.Lease, cfg.Lease/DriftMost)
	}
	if cfg.Patience == 0 {
		cfg.Patience = max(cfg.Lease, PatienceLeast)
	}
	cfg.Initial.Configured = cfg.Configured
	if err := cfg.Initial.Validate(); err != nil {
		return nil, fmt.Errorf("membership: initial view: %w", err)
	}
	if cfg.Env == nil {
		cfg.Env = flow.Real
	}
	var file *acceptorFile
	var st register.State
	var err error
	if cfg.Storage != nil {
		file, st, err = loadState(cfg.Storage, "storage", cfg.ClusterID, cfg.Node)
	} else {
		file, st, err = openState(cfg.StateDir, cfg.ClusterID, cfg.Node, cfg.Ephemeral)
	}
	if err != nil {
		return nil, err
	}
	if st.Value.Seq != 0 {
		if err := sameConfig(&cfg.Initial, &st.Value.View); err != nil {
			file.close()
			return nil, err
		}
	}
	s := &Service{
		cfg: cfg, log: cfg.Logger, ctl: cfg.Control, env: cfg.Env, file: file,
		majority: register.Majority(cfg.Configured), life: cfg.Env.Random(),
		tasks: flow.NewGroup(cfg.Env), ended: make(chan struct{}),
		lease: int64(cfg.Lease), hold: grant.Hold(int64(cfg.Lease), int64(cfg.Drift)),
		beatNow: make(chan struct{}, 1), newcomer: make(chan struct{}, 1), look: make(chan struct{}, 1), refusal: make(chan struct{}), viewNew: make(chan struct{}, 1),
		learnt: make(chan struct{}, 1), propose: make(chan struct{}, 1), forgot: make(chan struct{}, 1), broken: make(chan struct{}, 1), disk: make(chan struct{}, 1),
		acceptor: register.Acceptor{State: st}, durable: st, turn: file.turn, turns: file.turns, older: file.older, round: firstRound(&cfg, &st),
		self: proto.Member{Node: cfg.Node},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	flow.Signal(s.propose)
	flow.Signal(s.disk)
	s.seed = seedDigest(cfg.ClusterID, cfg.HashSeed)
	s.stall, s.watcher = int64(cfg.Patience), blame.NewWatcher(s.self, int64(cfg.Patience))
	s.beginSuspicion()
	s.granter = grant.NewGranter(s.lease, s.env.Now())
	s.renewal = grant.NewRenewal(s.majority)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.register()
	s.ctl.OnEvent(s.onEvent)
	s.ctl.OnEvent(s.onRefused)
	return s, nil
}

// sameConfig compares what a node was configured with to what the register
// says.
func sameConfig(ours, theirs *proto.View) error {
	if ours.Model == theirs.Model && ours.Shards == theirs.Shards && ours.Configured == theirs.Configured {
		return nil
	}
	return fmt.Errorf("%w: this node has model %v, %d shards, nodes %v; the cluster has model %v, %d shards, nodes %v",
		ErrConfig, ours.Model, ours.Shards, ours.Configured.Nodes(nil), theirs.Model, theirs.Shards, theirs.Configured.Nodes(nil))
}

// Start begins to vote, to beat and to watch the others.
func (s *Service) Start() {
	for _, task := range []func(){s.catchUp, s.beats, s.detect, s.views, s.learner, s.mender} {
		s.tasks.Go(task)
	}
	if s.cfg.Watch != nil {
		s.tasks.Go(s.watch)
	}
}

// Close gives the lease up, without telling anybody, and stops voting.
func (s *Service) Close() error {
	s.cancel()
	s.mu.Lock()
	again := s.closed
	s.closed, s.stopped, s.lead = true, ErrClosed, register.Lead{}
	s.holder.Revoke()
	s.mu.Unlock()
	if again {
		s.env.Wait(-1, s.ended)
		return nil
	}
	defer close(s.ended)
	s.tasks.Wait()
	s.takeDisk()
	defer s.leaveDisk()
	return s.file.close()
}

func (s *Service) takeDisk()  { s.env.Wait(-1, s.disk) }
func (s *Service) leaveDisk() { flow.Signal(s.disk) }

// Lease is what the read path looks at.
func (s *Service) Lease() *lease.Holder { return &s.holder }

// Current is the newest view known to be chosen; its epoch is 0 before that.
// Another may have been chosen since.
func (s *Service) Current() proto.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known.View
}

// SetMember says which life of this node we are from now on. A lease of
// another life is given up first.
func (s *Service) SetMember(m proto.Member) {
	s.mu.Lock()
	if s.self != m {
		s.holder.Revoke()
		s.renewal.Reset()
		s.self, s.leaving = m, false
		s.watcher, s.uneasy = blame.NewWatcher(m, s.stall), false
		s.paces = blame.NewPaces(m, s.stall, s.slow)
	}
	s.mu.Unlock()
	s.ctl.SetMember(m)
	flow.Signal(s.beatNow)
}

// pause waits, unless the service or ctx ends.
func (s *Service) pause(ctx context.Context, d time.Duration) error {
	switch s.env.Wait(d, s.ctx.Done(), ctx.Done()) {
	case 0:
		return ErrClosed
	case 1:
		return ctx.Err()
	}
	return nil
}

// until waits for a token, for at most d unless that is negative. False: the
// service ends.
func (s *Service) until(d time.Duration, token <-chan struct{}) bool {
	s.env.Wait(d, token, s.ctx.Done())
	return s.ctx.Err() == nil
}

// views calls OnView, one at a time and in order.
func (s *Service) views() {
	var told proto.Epoch
	for s.until(-1, s.viewNew) {
		if v := s.Current(); v.Epoch > told {
			told = v.Epoch
			if s.cfg.OnView != nil {
				s.cfg.OnView(v)
			}
		}
	}
}

// learn takes in a value chosen at ballot b.
func (s *Service) learn(b register.Ballot, v register.Value) {
	if v.Seq == 0 {
		return
	}
	s.mu.Lock()
	if b.Round > roundMost {
		s.counts.Damaged++
		s.mu.Unlock()
		return
	}
	s.round = max(s.round, b.Round)
	if v.Seq <= s.known.Seq {
		// The same value may have been chosen again higher up.
		if v.Seq == s.known.Seq && b.Compare(s.knownAt) > 0 {
			s.knownAt = b
		}
		s.mu.Unlock()
		return
	}
	if err := sameConfig(&s.cfg.Initial, &v.View); err != nil {
		if s.config == nil {
			s.log.Error("membership: refused the register's value", "err", err)
		}
		s.config = err
		s.holder.Revoke()
		s.mu.Unlock()
		return
	}
	old := s.known.View
	s.known, s.knownAt = v, b
	if s.lead.Value.Seq < v.Seq {
		s.lead = register.Lead{}
	}
	isNew := v.View.Epoch > old.Epoch
	if isNew {
		s.viewAt = s.env.Now()
		s.watcher.Reset(s.viewAt)
		s.paces.Reset()
		s.wentLocked(&old, &v.View)
		for _, n := range v.View.Members().Nodes(nil) {
			if v.View.Member(n) != old.Member(n) || v.View.Live.Has(n) != old.Live.Has(n) {
				s.peers[n].placeAt = s.viewAt
			}
		}
		if !s.liveLocked() && s.holder.Until() != 0 {
			s.holder.Revoke()
		}
	}
	s.mu.Unlock()
	if isNew {
		s.log.Info("membership: view", "epoch", v.View.Epoch, "live", v.View.Live.String(), "shadow", v.View.Shadow.String())
		flow.Signal(s.viewNew)
		s.beatSoon() // a new live member asks for its lease
		flow.Signal(s.look)
	}
	flow.Signal(s.learnt)
}

// liveLocked reports whether the newest view has us, in this life, as live.
func (s *Service) liveLocked() bool {
	v := &s.known.View
	return s.self.Incarnation != 0 && v.Live.Has(s.self.Node) && v.Incarnation[s.self.Node] == s.self.Incarnation
}

// runsLocked reports whether that life runs, as far as we heard lately.
func (s *Service) runsLocked(m proto.Member, now int64) bool {
	if m.Node == s.cfg.Node {
		return m == s.self && !s.leaving
	}
	p := &s.peers[m.Node]
	return p.life == m && p.heardAt != 0 && now-p.heardAt < s.lease+s.lease/2 && !s.granter.Ended(m) && !s.granter.Refused(m)
}

// Running is which live members of the newest view run in the life the view
// names, as far as this node heard lately. None after having listened for a
// lease or two is what calls for a cold start.
func (s *Service) Running() proto.NodeSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runningLocked(&s.known.View)
}

func (s *Service) runningLocked(v *proto.View) (set proto.NodeSet) {
	now := s.env.Now()
	for _, n := range v.Live.Nodes(nil) {
		if s.runsLocked(v.Member(n), now) {
			set = set.With(n)
		}
	}
	return set
}

// tell passes the newest value on to n.
func (s *Service) tell(n proto.NodeID) {
	s.mu.Lock()
	c := chosenJSON{s.knownAt, value(s.known)}
	s.mu.Unlock()
	if c.Value.Seq != 0 {
		s.ctl.Notify(n, kindChosen, c)
	}
}

func (s *Service) others() []proto.NodeID {
	return s.cfg.Configured.Without(s.cfg.Node).Nodes(nil)
}
