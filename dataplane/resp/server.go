package resp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Server accepts clients. Any goroutine may call its methods.
type Server struct {
	cfg     Config
	backend Backend
	addr    net.Addr
	lns     []*listener
	log     *slog.Logger
	born    time.Time
	auth    [32]byte // hash of the password

	closing atomic.Bool // set before the loops are woken up for it
	cutting atomic.Bool // likewise: connections are not waited for
	running sync.WaitGroup
	turned  atomic.Int32 // refused connections that are being told so

	mu     sync.Mutex // cold: set-up, end, and lists of connections
	loops  []*loop    // made with the first connection
	conns  map[uint64]*conn
	lastID uint64

	stats counters
}

// counters are written by many goroutines, but once per burst.
type counters struct {
	accepted, refused, commands, protocolErrors, slowClosed, authFailures atomic.Uint64
	bytesIn, bytesOut                                                     atomic.Uint64
}

// Stats are totals since Listen, but for Conns.
type Stats struct {
	Conns          int    // now
	Accepted       uint64 // connections
	Refused        uint64 // connections beyond ConnsMax
	Commands       uint64
	ProtocolErrors uint64
	AuthFailures   uint64
	SlowClosed     uint64 // connections closed by WriteTimeout
	BytesIn        uint64
	BytesOut       uint64
}

// Listen binds the address, and makes the socket file if there is to be one; clients can connect from then on and are served
// once Serve runs. Errors wrap ErrConfig or ErrListen.
func Listen(cfg Config, b Backend) (*Server, error) {
	if b == nil {
		return nil, fmt.Errorf("%w: no backend", ErrConfig)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	ln, addr, err := listenTCP(&cfg)
	if err != nil {
		return nil, err
	}
	lns := []*listener{ln}
	if cfg.Socket != "" {
		if ln, err = listenFile(cfg.Socket); err != nil {
			lns[0].close()
			return nil, err
		}
		lns = append(lns, ln)
	}
	return &Server{
		cfg: cfg, backend: b, addr: addr, lns: lns, log: cfg.Logger, born: time.Now(),
		auth: passwordHash(cfg.Password), conns: make(map[uint64]*conn),
	}, nil
}

// Addr is the bound address of TCP; of use when port 0 was asked for.
func (s *Server) Addr() net.Addr { return s.addr }

// now is monotonic, in nanoseconds.
func (s *Server) now() int64 { return int64(time.Since(s.born)) }

// Stats returns the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	n := len(s.conns)
	s.mu.Unlock()
	return Stats{
		Conns: n, Accepted: s.stats.accepted.Load(), Refused: s.stats.refused.Load(),
		Commands: s.stats.commands.Load(), ProtocolErrors: s.stats.protocolErrors.Load(),
		AuthFailures: s.stats.authFailures.Load(), SlowClosed: s.stats.slowClosed.Load(),
		BytesIn: s.stats.bytesIn.Load(), BytesOut: s.stats.bytesOut.Load(),
	}
}

// Serve accepts clients until Shutdown or Close and returns ErrServerClosed
// then. Lack of file descriptors does not end it.
func (s *Server) Serve() error {
	ended := make(chan error, len(s.lns))
	for _, ln := range s.lns {
		go func() { ended <- s.serve(ln) }()
	}
	for range s.lns {
		if err := <-ended; err != ErrServerClosed {
			return err
		}
	}
	return ErrServerClosed
}

func (s *Server) serve(ln *listener) error {
	var pause time.Duration
	for {
		fd, remote, err := ln.accept()
		if err == nil {
			pause = 0
			err = s.admit(fd, remote, ln.settings)
		}
		if s.closing.Load() {
			return ErrServerClosed
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) &&
			!errors.Is(err, syscall.ENOBUFS) && !errors.Is(err, syscall.ENOMEM) && !errors.Is(err, syscall.ECONNABORTED) {
			return fmt.Errorf("resp: cannot accept clients any more: %w", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.log.Warn("resp: cannot accept a client now; raise the limit of open files if it says so", "error", err, "again_in", pause)
		time.Sleep(pause)
	}
}

// admit gives a client to the loop with the fewest. An error is one of the
// server; a client that has gone already is none.
func (s *Server) admit(fd int, remote netip.AddrPort, settings []setting) error {
	for _, o := range settings {
		if unix.SetsockoptInt(fd, o.level, o.option, o.value) != nil {
			unix.Close(fd)
			return nil
		}
	}
	var local netip.AddrPort
	if a, err := unix.Getsockname(fd); err == nil {
		local = addrPort(a)
	}
	c := newConn(s, fd, remote, local)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		unix.Close(fd)
		return nil
	}
	if err := s.startLoops(); err != nil {
		unix.Close(fd)
		return err
	}
	if len(s.conns) >= s.cfg.ConnsMax {
		const atOnce = 32
		s.stats.refused.Add(1)
		if s.turned.Load() >= atOnce {
			unix.Close(fd)
			return nil
		}
		s.turned.Add(1)
		c.refused = true
		s.log.Warn("resp: client refused: too many connections", "client", c.where(c.remote), "limit", s.cfg.ConnsMax)
	} else {
		s.stats.accepted.Add(1)
		s.lastID++
		c.id = s.lastID
		s.conns[c.id] = c
	}
	c.l = s.loops[0]
	for _, l := range s.loops[1:] {
		if l.members.Load() < c.l.members.Load() {
			c.l = l
		}
	}
	c.l.members.Add(1)
	c.l.post(func() { c.l.add(c) })
	return nil
}

// startLoops is called with s.mu held, before the first connection.
func (s *Server) startLoops() error {
	for len(s.loops) < s.cfg.Loops {
		l, err := newLoop(s)
		if err != nil {
			return err
		}
		s.loops = append(s.loops, l)
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			l.run()
		}()
	}
	return nil
}

// forget is called when a connection is closed.
func (s *Server) forget(c *conn) {
	if c.refused {
		s.turned.Add(-1)
		return
	}
	s.mu.Lock()
	delete(s.conns, c.id)
	s.mu.Unlock()
}

// Shutdown stops accepting, lets every connection answer the commands that have
// arrived, and closes them behind the last answer. Whoever sends a command in
// that moment gets no answer: let the backend refuse commands for a while
// first, so that clients go elsewhere. If ctx ends first the connections are cut and
// its error is returned; operations under way end by their deadlines then.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing.Swap(true) { // a second time, the file may be another server's
		for _, ln := range s.lns {
			ln.close()
		}
	}
	loops := s.loops
	s.mu.Unlock()
	for _, l := range loops {
		l.ring()
	}
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	n := s.Stats().Conns
	s.cutting.Store(true)
	for _, l := range loops {
		l.ring()
	}
	return fmt.Errorf("resp: %d connections cut at shutdown: %w", n, context.Cause(ctx))
}

// Close cuts every connection at once.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// connsByAge is for CLIENT LIST.
func (s *Server) connsByAge() []*conn {
	s.mu.Lock()
	all := make([]*conn, 0, len(s.conns))
	for _, c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *conn) int { return int(a.id) - int(b.id) })
	return all
}
