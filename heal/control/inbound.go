package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/identity"
)

const (
	kindHello     = "control.hello"
	requestsMax   = 64  // under way per connection
	queueFrames   = 256 // waiting to be written, per connection
	writePatience = 5 * time.Second
)

// acceptPause is how long to wait after a failed accept, twice as long each
// time.
const (
	acceptPause     = 50 * time.Millisecond
	acceptPauseMost = 500 * time.Millisecond
)

func (s *Server) accept() {
	for pause := acceptPause; ; {
		raw, err := s.wire.accept()
		if err != nil {
			if s.ctx.Err() != nil {
				return
			}
			s.log.Warn("control: cannot accept a connection now: other nodes do not reach this one unless they are connected; raise the limit of open files if it says so", "err", err, "again_in", pause)
			select { // out of descriptors, most likely: do not spin on it
			case <-time.After(pause):
			case <-s.ctx.Done():
			}
			pause = min(2*pause, acceptPauseMost)
			continue
		}
		pause = acceptPause
		select {
		case s.unproven <- struct{}{}:
		default:
			raw.Close()
			s.stats.crowded.Add(1)
			s.refuse("crowded", "control: cut a connection: too many that have not proved who they are", "limit", unprovenMax)
			continue
		}
		from := source(raw)
		s.mu.Lock()
		closing := s.ctx.Err() != nil
		crowd := s.shaking[from] >= s.perAddress() && from != "" && !plant.Is(plant.CtlCrowdOne)
		if !closing && !crowd {
			s.inbound[raw] = struct{}{}
			s.shaking[from]++
		}
		s.mu.Unlock()
		if crowd && !closing {
			<-s.unproven
			raw.Close()
			s.stats.crowded.Add(1)
			s.refuse("crowded by one", "control: cut a connection: too many from one address that have not proved who they are", "from", from, "limit", s.perAddress())
			continue
		}
		if closing {
			raw.Close()
			return
		}
		s.wg.Go(func() { s.incoming(raw, from) })
	}
}

// source is the address a connection comes from, without the port; "": of this
// host, and known by its user.
func source(raw net.Conn) string {
	if a, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
		return a.IP.String()
	}
	return ""
}

// perAddress bounds the unproven connections of one address.
func (s *Server) perAddress() int { return max(perAddressMin, s.cfg.Configured.Count()) }

// shaken: a connection from there has proved who it is, or failed to.
func (s *Server) shaken(from string) {
	<-s.unproven
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shaking[from]--; s.shaking[from] <= 0 {
		delete(s.shaking, from)
	}
}

// incoming serves one accepted connection, once it is known whose it is.
func (s *Server) incoming(raw net.Conn, from string) {
	defer func() {
		raw.Close()
		s.mu.Lock()
		delete(s.inbound, raw)
		s.mu.Unlock()
	}()
	c, err := s.wire.admit(s.ctx, raw)
	s.shaken(from)
	if err != nil {
		if s.ctx.Err() == nil {
			s.refuse(reason(err), "control: refused a connection", "from", raw.RemoteAddr().String(), "err", err)
		}
		return
	}
	if c.named {
		defer s.oneMore(c)()
	}
	s.serve(c)
}

// oneMore counts a connection of a node and cuts its oldest beyond the bound.
// The result takes it out again.
func (s *Server) oneMore(c *conn) (less func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := c.node
	s.from[n] = append(s.from[n], c)
	if len(s.from[n]) > perPeerMax && !plant.Is(plant.CtlCrowd) {
		s.from[n][0].Close() // its goroutine takes it out
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.from[n] = slices.DeleteFunc(s.from[n], func(x *conn) bool { return x == c })
	}
}

// refuse logs that something was refused, not more often than the limiter lets
// it for this kind of reason.
func (s *Server) refuse(kind, message string, about ...any) {
	if skipped, ok := s.refused.pass(kind, time.Now()); ok {
		s.log.Warn(message, append(about, "left_out", skipped)...)
	}
}

// reason sorts errors of handshakes for the limiter.
func reason(err error) string {
	for _, e := range []error{ErrVersion, ErrHandshake, identity.ErrFiles, identity.ErrUntrusted, identity.ErrExpired, identity.ErrCluster, identity.ErrNode, identity.ErrName, identity.ErrMissing} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return "other"
}

// writer sends queued frames until quit is closed or a write fails.
func writer(c net.Conn, queue <-chan []byte, quit <-chan struct{}) {
	for {
		select {
		case f := <-queue:
			c.SetWriteDeadline(time.Now().Add(writePatience))
			if _, err := c.Write(f); err != nil {
				c.Close() // the reader notices and cleans up, unless it waits for a place in the queue
				for {
					select {
					case <-queue:
					case <-quit:
						return
					}
				}
			}
		case <-quit:
			return
		}
	}
}

// serve answers the requests of one connection until it ends.
func (s *Server) serve(c *conn) {
	queue, quit := make(chan []byte, queueFrames), make(chan struct{})
	var w *watch
	defer func() {
		close(quit)
		c.Close()
		if w != nil && s.ctx.Err() == nil {
			s.emit(Event{PeerClosed, w.member(), w.pid})
		}
	}()
	s.wg.Go(func() { writer(c, queue, quit) })
	// refuse answers on the spot, in order, and then the connection ends: so
	// the peer learns why.
	refuse := func(e *envelope, err error) {
		s.refuse("message", "control: refused a message", "from", s.whom(c), "err", err)
		if f := s.errorFrame(e, err); f != nil {
			c.SetWriteDeadline(time.Now().Add(time.Second))
			c.Write(f)
		}
	}
	slots := make(chan struct{}, requestsMax)
	r := bufio.NewReaderSize(c, 16<<10)
	for {
		b, err := readFrame(r)
		if err != nil {
			switch {
			case errors.Is(err, ErrTooLarge):
				s.stats.tooLarge.Add(1)
				refuse(nil, err)
			case errors.Is(err, ErrGarbage):
				s.stats.garbage.Add(1)
				refuse(nil, err)
			case errors.Is(err, io.ErrUnexpectedEOF):
				s.stats.cutOff.Add(1)
			}
			return
		}
		e, err := decode(b)
		if err != nil {
			s.stats.garbage.Add(1)
			refuse(nil, err)
			return
		}
		if err := s.addressed(c, &e); err != nil {
			refuse(&e, err)
			return
		}
		if w == nil || w.node != e.From {
			w = s.watchPeer(c, e.From)
			s.links[e.From].poke() // it lives: no need to wait out our own back-off
		}
		s.heard(e.member(), w)
		s.mu.Lock()
		h := s.handlers[e.Kind]
		s.mu.Unlock()
		if h == nil {
			s.stats.unknownKind.Add(1)
			s.answer(&e, queue, quit, nil, fmt.Errorf("%w: %q", ErrUnknownKind, e.Kind))
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			s.stats.busy.Add(1)
			s.answer(&e, queue, quit, nil, fmt.Errorf("%w: limit %d", ErrBusy, requestsMax))
			continue
		}
		s.stats.requests.Add(1)
		s.wg.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := s.ctx, context.CancelFunc(func() {})
			if e.TimeoutMicros > 0 {
				ctx, cancel = context.WithTimeout(ctx, time.Duration(e.TimeoutMicros)*time.Microsecond)
			}
			defer cancel()
			resp, err := h(ctx, e.member(), e.Body)
			s.answer(&e, queue, quit, resp, err)
		})
	}
}

// addressed checks that a request is from our cluster and for us.
func (s *Server) addressed(c *conn, e *envelope) error {
	switch {
	case !e.ofOurVersion():
		s.stats.wrongVersion.Add(1)
		return fmt.Errorf("%w: node %d sends version %d, this node speaks %d: run the same version everywhere", ErrVersion, e.From, e.Version, version)
	case c.named && e.From != c.node && !plant.Is(plant.CtlName):
		s.stats.wrongNode.Add(1)
		return fmt.Errorf("%w: it says it comes from node %d, over a connection of node %d", ErrWrongNode, e.From, c.node)
	case e.Cluster != s.cfg.ClusterID && !plant.Is(plant.CtlCluster):
		s.stats.wrongCluster.Add(1)
		return fmt.Errorf("%w: this is %.64q, the message is of %.64q", ErrWrongCluster, s.cfg.ClusterID, e.Cluster)
	case e.To != s.cfg.Node && !plant.Is(plant.CtlTo):
		s.stats.wrongNode.Add(1)
		return fmt.Errorf("%w: this is node %d, the message is for %d", ErrWrongNode, s.cfg.Node, e.To)
	case e.From == s.cfg.Node || !s.cfg.Configured.Has(e.From):
		s.stats.wrongNode.Add(1)
		return fmt.Errorf("%w: it says it comes from node %d, which is not a configured peer of node %d", ErrWrongNode, e.From, s.cfg.Node)
	case e.Reply:
		s.stats.garbage.Add(1)
		return fmt.Errorf("%w: an answer on a connection for requests", ErrGarbage)
	}
	return nil
}

// whom names the other end of a connection, for people.
func (s *Server) whom(c *conn) string {
	if c.named {
		return fmt.Sprintf("node %d (%v)", c.node, c.RemoteAddr())
	}
	return fmt.Sprintf("process %d", c.pid)
}

// answer queues the answer to e, if somebody waits for it. A peer that does
// not take its answers in is cut off by the writer's deadline.
func (s *Server) answer(e *envelope, queue chan<- []byte, quit <-chan struct{}, resp any, err error) {
	if e.ID == 0 {
		if err != nil {
			s.log.Debug("control: notice failed", "kind", e.Kind, "from", e.member(), "err", err)
		}
		return
	}
	var f []byte
	if err == nil {
		f, err = s.replyFrame(e, resp)
	}
	if err != nil {
		f = s.errorFrame(e, err)
	}
	select {
	case queue <- f:
	case <-quit:
	case <-s.ctx.Done():
	}
}

func (s *Server) replyFrame(e *envelope, resp any) ([]byte, error) {
	a := s.envelope(e.From, e.Kind)
	a.ID, a.Reply = e.ID, true
	if resp != nil {
		b, err := json.Marshal(resp)
		if err != nil {
			return nil, fmt.Errorf("control: encode answer to %s: %w", e.Kind, err)
		}
		a.Body = b
	}
	return a.encode()
}

// errorFrame is the error answer to e; e is nil if it could not be decoded.
func (s *Server) errorFrame(e *envelope, err error) []byte {
	a := s.envelope(proto.NodeID(0), "control.error")
	a.Reply = true
	if e != nil {
		a.To, a.ID, a.Kind = e.From, e.ID, e.Kind
	}
	a.Code = codeOf(err)
	a.Error = err.Error()
	if len(a.Error) > 1<<10 {
		a.Error = a.Error[:1<<10]
	}
	f, err := a.encode()
	if err != nil {
		return nil
	}
	return f
}
