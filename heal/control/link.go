package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

const (
	dialWaitMin  = 5 * time.Millisecond
	dialWaitOver = time.Millisecond // after a connection that had worked: whether anybody is still there
	dialWaitMax  = 200 * time.Millisecond
	dialWaitBusy = time.Second     // after handshakes that ran out of time
	connectWait  = 2 * time.Second // the kernel does it: it is not the processes' pace
)

// link is our way to one peer: it dials, greets, and dials again for as long
// as the server lives.
type link struct {
	s    *Server
	node proto.NodeID
	wake chan struct{} // one token: try to dial now

	mu     sync.Mutex
	up     *session // nil: not connected
	last   string   // why not
	closed bool

	behind bool // of the goroutine for certificates: made with those of before, to be made anew

	refusals refusals // run's
	attempts atomic.Uint64
}

// session is one connection of a link.
type session struct {
	c     *conn
	r     *bufio.Reader // after the greeting
	w     *watch
	queue chan []byte
	quit  chan struct{} // closed at the end
	err   error         // why it ended

	mu      sync.Mutex
	ended   bool
	waiting map[uint64]chan envelope
}

func newLink(s *Server, n proto.NodeID) *link {
	return &link{s: s, node: n, wake: make(chan struct{}, 1), last: "not tried yet"}
}

// poke ends the present wait before the next dial.
func (l *link) poke() {
	if l == nil {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) status() (connected bool, pid int, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up != nil {
		return true, l.up.c.pid, ""
	}
	return false, 0, l.last
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.up != nil {
		l.up.c.Close()
	}
}

func (l *link) run() {
	wait := dialWaitMin
	for l.s.ctx.Err() == nil {
		start := time.Now()
		l.attempts.Add(1)
		let, err := l.once()
		if l.s.ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		l.last = err.Error()
		l.mu.Unlock()
		took := time.Since(start)
		var d *net.OpError
		switch {
		case let: // it had worked
			wait, took = dialWaitOver, 0
		case l.dialled(err):
			wait, took = refusalPause, 0
		case errors.As(err, &d) && d.Op == "dial": // nobody listens, or no way there
			took = 0
		}
		t := time.NewTimer(pause(wait, took, rand.Float64()))
		select {
		case <-t.C:
			wait = min(max(2*wait, dialWaitMin), dialWaitMax)
		case <-l.wake:
			wait = dialWaitMin
		case <-l.s.ctx.Done():
		}
		t.Stop()
	}
}

// pause is how long to wait before the next try, when one that took as long as
// that has come to nothing; chance is from 0 to 1. A try that is refused at once
// costs nobody anything and is repeated soon. One that took long met an end that
// is busy, most likely with handshakes of everybody with everybody: it is left
// some time, and not all come back at once.
func pause(wait, took time.Duration, chance float64) time.Duration {
	wait = max(wait, min(took, dialWaitBusy))
	return wait/2 + time.Duration(chance*float64(wait))
}

// once dials, greets and waits until the connection ends, and those that renew
// has put in its place; let says whether the peer had let us in.
func (l *link) once() (let bool, err error) {
	up, err := l.reach()
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		up.c.Close()
		return true, ErrClosed
	}
	l.up = up
	l.mu.Unlock()
	l.s.stats.connects.Add(1)
	l.serve(up)
	l.s.met()
	for {
		<-up.quit
		l.mu.Lock()
		if l.up == up {
			break
		}
		up = l.up
		l.mu.Unlock()
	}
	l.up = nil
	l.mu.Unlock()
	at := ""
	if a := up.c.raw.RemoteAddr(); a != nil {
		at = a.String()
	}
	l.refusals.connectedTo(up.w.member(), at)
	if l.s.ctx.Err() == nil {
		l.s.emit(Event{PeerClosed, up.w.member(), up.w.pid})
	}
	return true, up.err
}

// reach makes a connection on which the peer has greeted us.
func (l *link) reach() (up *session, err error) {
	s := l.s
	c, err := s.wire.dial(s.ctx, l.node)
	if err != nil {
		if kind := reason(err); kind != "other" { // that nobody listens is no news
			s.refuse(fmt.Sprint("dial ", l.node, kind), "control: cannot connect", "node", l.node, "address", s.wire.address(l.node), "err", err)
		}
		return nil, err
	}
	defer context.AfterFunc(s.ctx, func() { c.Close() })() // the end of the server does not wait for a greeting
	r := bufio.NewReaderSize(c, 16<<10)
	hello, err := l.greet(c, r)
	if err != nil {
		c.Close()
		err = s.wire.why(err)
		if s.ctx.Err() == nil && !errors.Is(err, io.EOF) {
			s.refuse(fmt.Sprint("greet ", l.node), "control: a node does not let us in", "node", l.node, "address", s.wire.address(l.node), "err", err)
		}
		return nil, err
	}
	w := s.watchPeer(c, l.node)
	s.heard(hello.member(), w)
	return &session{
		c: c, r: r, w: w,
		queue: make(chan []byte, queueFrames), quit: make(chan struct{}), waiting: map[uint64]chan envelope{},
	}, nil
}

// serve carries a session until it ends.
func (l *link) serve(up *session) {
	l.s.wg.Go(func() { writer(up.c, up.queue, up.quit) })
	l.s.wg.Go(func() {
		up.err = l.read(up, up.r, up.w)
		up.end()
	})
}

// greet says hello and waits for the answer, so that a link counts as
// connected only when the other end is the node we mean.
func (l *link) greet(c *conn, r *bufio.Reader) (envelope, error) {
	e := l.s.envelope(l.node, kindHello)
	e.ID = l.s.callID.Add(1)
	f, err := e.encode()
	if err != nil {
		return envelope{}, err
	}
	if !plant.Is(plant.CtlGreet) {
		c.SetDeadline(time.Now().Add(l.s.cfg.Handshake))
	}
	if _, err := c.Write(f); err != nil {
		return envelope{}, err
	}
	b, err := readFrame(r)
	if err != nil {
		return envelope{}, err
	}
	a, err := l.check(b)
	if err != nil {
		return envelope{}, err
	}
	c.SetDeadline(time.Time{})
	return a, a.failure()
}

// check decodes an answer and makes sure of whom it is.
func (l *link) check(b []byte) (envelope, error) {
	a, err := decode(b)
	switch {
	case err != nil:
		l.s.stats.garbage.Add(1)
		return envelope{}, err
	case !a.Reply:
		l.s.stats.garbage.Add(1)
		return envelope{}, fmt.Errorf("%w: a request on a connection for answers", ErrGarbage)
	case !a.ofOurVersion():
		l.s.stats.wrongVersion.Add(1)
		return envelope{}, fmt.Errorf("%w: %s answers in version %d, this node speaks %d: run the same version everywhere", ErrVersion, l.s.wire.address(l.node), a.Version, version)
	case a.Cluster != l.s.cfg.ClusterID:
		l.s.stats.wrongCluster.Add(1)
		return envelope{}, fmt.Errorf("%w: %s answers for %.64q", ErrWrongCluster, l.s.wire.address(l.node), a.Cluster)
	case a.From != l.node && !plant.Is(plant.CtlAnswer):
		l.s.stats.wrongNode.Add(1)
		return envelope{}, fmt.Errorf("%w: %s answers for node %d", ErrWrongNode, l.s.wire.address(l.node), a.From)
	}
	return a, nil
}

// failure is the error an answer carries.
func (e *envelope) failure() error {
	if e.Code == "" {
		return nil
	}
	return fmt.Errorf("%w: node %d: %s: %s", sentinelOf(e.Code), e.From, e.Kind, e.Error)
}

func (l *link) read(up *session, r *bufio.Reader, w *watch) error {
	for {
		b, err := readFrame(r)
		if err != nil {
			return err
		}
		a, err := l.check(b)
		if err != nil {
			return err
		}
		l.s.heard(a.member(), w)
		if a.ID == 0 {
			return a.failure() // it could not make sense of what we sent and ends the connection
		}
		up.mu.Lock()
		ch := up.waiting[a.ID]
		delete(up.waiting, a.ID)
		up.mu.Unlock()
		if ch != nil {
			ch <- a // has room for one
		}
	}
}

// end lets go of everybody who still waits for an answer.
func (u *session) end() {
	u.c.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	for id, ch := range u.waiting {
		delete(u.waiting, id)
		close(ch)
	}
	close(u.quit) // err can be read
}

func (u *session) expect(id uint64) (chan envelope, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return nil, false
	}
	ch := make(chan envelope, 1)
	u.waiting[id] = ch
	return ch, true
}

func (u *session) forget(id uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.waiting, id)
}

func (s *Server) session(n proto.NodeID) (*session, error) {
	if n >= proto.NodesMax || s.links[n] == nil {
		return nil, fmt.Errorf("%w: node %d is not configured", ErrUnreachable, n)
	}
	l := s.links[n]
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up == nil {
		return nil, fmt.Errorf("%w: node %d: %s", ErrUnreachable, n, l.last)
	}
	return l.up, nil
}

// Call sends a request and waits for the answer, which is decoded into resp
// unless that is nil. It fails at once with ErrUnreachable when n is not
// connected, or when the connection ends before the answer: then n may have
// acted on it or not. A refusal by n's handler is ErrRemote.
func (s *Server) Call(ctx context.Context, n proto.NodeID, kind string, req, resp any) error {
	if n == s.cfg.Node {
		return s.callSelf(ctx, kind, req, resp)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("control: %s to node %d: %w", kind, n, err)
	}
	up, err := s.session(n)
	if err != nil {
		return err
	}
	e := s.envelope(n, kind)
	e.ID = s.callID.Add(1)
	if t, ok := ctx.Deadline(); ok {
		e.TimeoutMicros = max(1, time.Until(t).Microseconds())
	}
	f, err := s.requestFrame(&e, req)
	if err != nil {
		return err
	}
	ch, ok := up.expect(e.ID)
	if !ok {
		return fmt.Errorf("%w: node %d: connection ended", ErrUnreachable, n)
	}
	s.stats.calls.Add(1)
	select {
	case up.queue <- f:
	case <-up.quit:
		return fmt.Errorf("%w: node %d: connection ended", ErrUnreachable, n)
	case <-ctx.Done():
		up.forget(e.ID)
		return fmt.Errorf("control: %s to node %d: %w", kind, n, ctx.Err())
	}
	select {
	case a, ok := <-ch:
		if !ok {
			return fmt.Errorf("%w: node %d: connection ended before the answer to %s", ErrUnreachable, n, kind)
		}
		if err := a.failure(); err != nil {
			return err
		}
		return decodeBody(kind, a.Body, resp)
	case <-ctx.Done():
		up.forget(e.ID)
		return fmt.Errorf("control: %s to node %d: %w", kind, n, ctx.Err())
	}
}

// Notify sends a message nobody waits for an answer to. It never blocks: when
// n is not connected or its queue is full the message is dropped and counted.
func (s *Server) Notify(n proto.NodeID, kind string, req any) {
	if n == s.cfg.Node {
		go s.callSelf(s.ctx, kind, req, nil)
		return
	}
	up, err := s.session(n)
	if err != nil {
		s.stats.dropped.Add(1)
		return
	}
	e := s.envelope(n, kind)
	f, err := s.requestFrame(&e, req)
	if err != nil {
		s.stats.dropped.Add(1)
		s.log.Warn("control: notice not sent", "err", err)
		return
	}
	select {
	case up.queue <- f:
		s.stats.notices.Add(1)
	default:
		s.stats.dropped.Add(1)
	}
}

func (s *Server) requestFrame(e *envelope, req any) ([]byte, error) {
	if req != nil {
		b, err := json.Marshal(req)
		if err != nil {
			return nil, fmt.Errorf("control: encode %s: %w", e.Kind, err)
		}
		e.Body = b
	}
	return e.encode()
}

func decodeBody(kind string, body json.RawMessage, resp any) error {
	if resp == nil || len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, resp); err != nil {
		return fmt.Errorf("%w: answer to %s: %v", ErrGarbage, kind, err)
	}
	return nil
}

// callSelf takes the same way through JSON as a call to a peer, so that both
// behave alike.
func (s *Server) callSelf(ctx context.Context, kind string, req, resp any) error {
	s.mu.Lock()
	h := s.handlers[kind]
	s.mu.Unlock()
	if h == nil {
		return fmt.Errorf("%w: %q", ErrUnknownKind, kind)
	}
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	var body json.RawMessage
	var err error
	if req != nil {
		if body, err = json.Marshal(req); err != nil {
			return fmt.Errorf("control: encode %s: %w", kind, err)
		}
	}
	a, err := h(ctx, s.Member(), body)
	if err != nil {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return fmt.Errorf("%w: ourselves: %s: %w", ErrRemote, kind, err)
	}
	if a == nil || resp == nil {
		return nil
	}
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("control: encode answer to %s: %w", kind, err)
	}
	return decodeBody(kind, b, resp)
}
