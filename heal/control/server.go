package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Config of a Server. All fields are required but Logger and Handshake, and of
// RunDir and TCP one.
type Config struct {
	RunDir     string        // unix sockets in this directory, made with mode 0700 if absent
	TCP        *TCP          // TLS between hosts
	ClusterID  string        // messages of any other are refused
	Node       proto.NodeID  // who we are
	Configured proto.NodeSet // whom we talk to; the own node may be in it
	Logger     *slog.Logger  // nil: none
	// Handshake bounds what comes before the first request of a connection: the
	// TLS handshake and the greeting, each. 0: HandshakeDefault. Where it is too
	// short for the machines, all their handshakes run out and begin again, and
	// nobody ever connects: a cluster that has a long lease because its machines
	// are slow wants it as long.
	Handshake time.Duration
}

// Handler answers one kind of request. ctx ends with the caller's patience
// and with the server. The answer must be JSON-able; nil answers nothing.
type Handler func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error)

// EventKind says what happened to a peer.
type EventKind uint8

const (
	PeerHello   EventKind = iota + 1 // a new life of the node spoke to us
	PeerClosed                       // a connection ended; proves nothing
	PeerExited                       // the process that spoke for the member has exited (pidfd)
	PeerRefused                      // where the member was connected, connections are refused, and none is left; proves nothing
)

func (k EventKind) String() string {
	switch k {
	case PeerHello:
		return "hello"
	case PeerClosed:
		return "closed"
	case PeerExited:
		return "exited"
	case PeerRefused:
		return "refused"
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// Event is told to OnEvent's callbacks.
type Event struct {
	Kind   EventKind
	Member proto.Member // the newest life that process spoke for; incarnation 0: none yet
	PID    int
}

// Server is both ends of the control plane of one node. Its methods may be
// called from any goroutine.
type Server struct {
	cfg  Config
	log  *slog.Logger
	wire transport

	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	unproven chan struct{} // a token for each connection in admit
	look     chan struct{} // a token: look at the certificate files
	now      func() time.Time
	refused  limiter // of log messages

	incarnation atomic.Uint32
	callID      atomic.Uint64
	links       [proto.NodesMax]*link // nil: not configured, or ourselves
	stats       counters

	mu       sync.Mutex
	started  bool
	dialled  bool
	early    []Event // that Start tells
	handlers map[string]Handler
	events   []func(Event)
	inbound  map[net.Conn]struct{}
	from     [proto.NodesMax][]*conn // those of a node, oldest first; where connections name it
	shaking  map[string]int          // in admit, by source address; over a network
	watched  map[watchKey]*watch
	newest   [proto.NodesMax]proto.Incarnation
	reached  chan struct{} // closed and replaced when a link has connected
}

// New checks the configuration, the run directory and the certificates; Start
// opens the socket.
func New(cfg Config) (*Server, error) {
	if cfg.ClusterID == "" {
		return nil, errors.New("control: empty cluster id")
	}
	if cfg.Node >= proto.NodesMax {
		return nil, fmt.Errorf("control: node %d, want below %d", cfg.Node, proto.NodesMax)
	}
	switch {
	case cfg.Handshake == 0:
		cfg.Handshake = HandshakeDefault
	case cfg.Handshake < 0:
		return nil, fmt.Errorf("control: %v for a handshake, want more than nothing", cfg.Handshake)
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger,
		unproven: make(chan struct{}, unprovenMax),
		look:     make(chan struct{}, 1), now: time.Now, shaking: map[string]int{},
		refused:  limiter{seen: map[string]*quiet{}},
		handlers: map[string]Handler{},
		inbound:  map[net.Conn]struct{}{},
		watched:  map[watchKey]*watch{},
		reached:  make(chan struct{}),
	}
	var err error
	switch {
	case (cfg.RunDir != "") == (cfg.TCP != nil):
		err = errors.New("control: want either a run directory or TCP addresses")
	case cfg.TCP != nil:
		s.wire, err = newTCPTransport(&cfg, &s.stats)
	default:
		s.wire, err = newUnixTransport(&cfg, &s.stats)
	}
	if err != nil {
		return nil, err
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, n := range cfg.Configured.Without(cfg.Node).Nodes(nil) {
		s.links[n] = newLink(s, n)
	}
	s.handlers[kindHello] = func(context.Context, proto.Member, json.RawMessage) (any, error) { return nil, nil }
	return s, nil
}

// Handle names the handler of a kind; a later call replaces it.
func (s *Server) Handle(kind string, h func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[kind] = h
}

// OnEvent adds a callback. It is called from the goroutine that noticed, must
// not block and not call Close. Call it before Start, or events are missed.
func (s *Server) OnEvent(f func(Event)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, f)
}

func (s *Server) emit(e Event) {
	s.mu.Lock()
	if s.dialled && !s.started && !plant.Is(plant.CtlEarly) {
		s.early = append(s.early, e) // whoever is to hear of it comes before Start
		s.mu.Unlock()
		return
	}
	fs := s.events
	s.mu.Unlock()
	for _, f := range fs {
		f(e)
	}
}

// Dial begins to connect, so that the others are reached once Start returns:
// what a node does before it can answer takes as long as that. Start does it
// too. Once, before Start.
func (s *Server) Dial() {
	s.mu.Lock()
	dialled := s.dialled
	s.dialled = true
	s.mu.Unlock()
	if dialled {
		return
	}
	for _, l := range s.links {
		if l != nil {
			s.wg.Go(l.run)
		}
	}
}

// Start listens and begins to dial.
func (s *Server) Start() error {
	s.mu.Lock()
	if s.started {
		s.mu.Unlock()
		return errors.New("control: started twice")
	}
	s.started = true
	early := s.early
	s.early = nil
	s.mu.Unlock()
	for _, e := range early {
		s.emit(e)
	}
	if err := s.wire.listen(); err != nil {
		return err
	}
	s.wg.Go(s.accept)
	if k := s.keeper(); k != nil {
		s.wg.Go(func() { s.certificates(k) })
	}
	s.Dial()
	return nil
}

// Address is where it listens, and how: for people.
func (s *Server) Address() string { return s.wire.describe() }

// Close ends all connections and goroutines; running handlers see their
// context end and are waited for.
func (s *Server) Close() error {
	s.cancel()
	s.wire.close()
	s.mu.Lock()
	for c := range s.inbound {
		c.Close()
	}
	for _, w := range s.watched {
		w.f.Close()
	}
	s.mu.Unlock()
	for _, l := range s.links {
		if l != nil {
			l.close()
		}
	}
	s.wg.Wait()
	return nil
}

// SetMember says which life we speak for from now on, and announces it to
// everybody connected.
func (s *Server) SetMember(m proto.Member) {
	s.incarnation.Store(uint32(m.Incarnation))
	for n, l := range s.links {
		if l != nil {
			s.Notify(proto.NodeID(n), kindHello, nil)
		}
	}
}

// Member is who we are now.
func (s *Server) Member() proto.Member {
	return proto.Member{Node: s.cfg.Node, Incarnation: proto.Incarnation(s.incarnation.Load())}
}

func (s *Server) envelope(to proto.NodeID, kind string) envelope {
	return envelope{
		Version: version, Cluster: s.cfg.ClusterID, From: s.cfg.Node, To: to, Kind: kind,
		Incarnation: proto.Incarnation(s.incarnation.Load()),
	}
}

// heard notes which life a checked message came from.
func (s *Server) heard(m proto.Member, w *watch) {
	if w != nil {
		w.spokeFor(m.Incarnation)
	}
	if m.Incarnation == 0 {
		return
	}
	s.mu.Lock()
	isNew := m.Incarnation > s.newest[m.Node] || plant.Is(plant.CtlHeard)
	if isNew {
		s.newest[m.Node] = m.Incarnation
	}
	s.mu.Unlock()
	if isNew {
		pid := 0
		if w != nil {
			pid = w.pid
		}
		s.emit(Event{PeerHello, m, pid})
	}
}

// PeerStatus is one row of Peers.
type PeerStatus struct {
	Node        proto.NodeID      `json:"node"`
	Connected   bool              `json:"connected"`
	PID         int               `json:"pid,omitempty"`
	Incarnation proto.Incarnation `json:"incarnation"` // newest that spoke to us
	Error       string            `json:"error,omitempty"`
}

// Peers tells of every other configured node whether we can reach it.
func (s *Server) Peers() []PeerStatus {
	var out []PeerStatus
	for n, l := range s.links {
		if l == nil {
			continue
		}
		p := PeerStatus{Node: proto.NodeID(n)}
		p.Connected, p.PID, p.Error = l.status()
		s.mu.Lock()
		p.Incarnation = s.newest[n]
		s.mu.Unlock()
		out = append(out, p)
	}
	return out
}

// Await returns once n other nodes are connected, after at most patience, or
// when ctx ends. A call to a node that is not connected fails at once: who asks
// many and needs an answer of most, at its start, would ask in vain, and wait
// before it asks again.
func (s *Server) Await(ctx context.Context, n int, patience time.Duration) {
	t := time.NewTimer(patience)
	defer t.Stop()
	for {
		s.mu.Lock()
		changed := s.reached
		s.mu.Unlock()
		up := 0
		for _, l := range s.links {
			if l == nil {
				continue
			}
			if ok, _, _ := l.status(); ok {
				up++
			}
		}
		if up >= n {
			return
		}
		select {
		case <-changed:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// met wakes who waits in Await.
func (s *Server) met() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.reached)
	s.reached = make(chan struct{})
}

// Connected reports whether a call to n can be tried; true for ourselves.
func (s *Server) Connected(n proto.NodeID) bool {
	if n == s.cfg.Node {
		return true
	}
	if n >= proto.NodesMax || s.links[n] == nil {
		return false
	}
	ok, _, _ := s.links[n].status()
	return ok
}
