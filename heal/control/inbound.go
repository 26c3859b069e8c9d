package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/proto"
)

const (
	kindHello     = "control.hello"
	requestsMax   = 64  // under way per connection
	queueFrames   = 256 // waiting to be written, per connection
	writePatience = 5 * time.Second
)

func (s *Server) accept() {
	for {
		c, err := s.ln.AcceptUnix()
		if err != nil {
			if s.ctx.Err() != nil {
				return
			}
			s.log.Warn("control: accept", "err", err)
			select { // out of descriptors, most likely: do not spin on it
			case <-time.After(50 * time.Millisecond):
			case <-s.ctx.Done():
			}
			continue
		}
		s.mu.Lock()
		closing := s.ctx.Err() != nil
		if !closing {
			s.inbound[c] = struct{}{}
		}
		s.mu.Unlock()
		if closing {
			c.Close()
			return
		}
		s.wg.Go(func() { s.serve(c) })
	}
}

// peerCredential reads who is at the other end, as the kernel knows it.
func peerCredential(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, inner)
}

// writer sends queued frames until quit is closed or a write fails.
func writer(c *net.UnixConn, queue <-chan []byte, quit <-chan struct{}) {
	for {
		select {
		case f := <-queue:
			c.SetWriteDeadline(time.Now().Add(writePatience))
			if _, err := c.Write(f); err != nil {
				c.Close() // the reader notices and cleans up
				return
			}
		case <-quit:
			return
		}
	}
}

// serve answers the requests of one connection until it ends.
func (s *Server) serve(c *net.UnixConn) {
	queue, quit := make(chan []byte, queueFrames), make(chan struct{})
	var w *watch
	defer func() {
		close(quit)
		c.Close()
		s.mu.Lock()
		delete(s.inbound, c)
		s.mu.Unlock()
		if w != nil && s.ctx.Err() == nil {
			s.emit(Event{PeerClosed, w.member(), w.pid})
		}
	}()
	cred, err := peerCredential(c)
	if err != nil || cred.Uid != s.uid {
		s.stats.wrongUser.Add(1)
		s.log.Warn("control: refused a peer: not our user", "cred", cred, "err", err)
		return
	}
	s.wg.Go(func() { writer(c, queue, quit) })
	// refuse answers on the spot, in order, and then the connection ends: so
	// the peer learns why.
	refuse := func(e *envelope, err error) {
		s.log.Warn("control: refused a message", "pid", cred.Pid, "err", err)
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
		if err := s.addressed(&e); err != nil {
			refuse(&e, err)
			return
		}
		if w == nil || w.node != e.From {
			w = s.watchPeer(c, e.From, int(cred.Pid))
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
func (s *Server) addressed(e *envelope) error {
	switch {
	case e.Cluster != s.cfg.ClusterID:
		s.stats.wrongCluster.Add(1)
		return fmt.Errorf("%w: this is %.64q, the message is of %.64q", ErrWrongCluster, s.cfg.ClusterID, e.Cluster)
	case e.To != s.cfg.Node:
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
