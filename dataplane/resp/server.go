package resp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
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
	ln      *os.File // the listening socket
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

// Listen binds the address; clients can connect from then on and are served
// once Serve runs. Errors wrap ErrConfig or ErrListen.
func Listen(cfg Config, b Backend) (*Server, error) {
	if b == nil {
		return nil, fmt.Errorf("%w: no backend", ErrConfig)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	ln, err := net.Listen("tcp", cfg.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w on %s: another process has the port; stop it or choose another port: %w", ErrListen, cfg.Listen, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w on %s: %w", ErrListen, cfg.Listen, err)
	}
	socket, err := ln.(*net.TCPListener).File() // accept needs more than a net.Listener lets through
	ln.Close()
	if err != nil {
		return nil, fmt.Errorf("%w on %s: %w", ErrListen, cfg.Listen, err)
	}
	// localhost is whatever the machine's resolver says: look at what came out.
	if a, err := netip.ParseAddrPort(ln.Addr().String()); cfg.Password == "" && (err != nil || !a.Addr().Unmap().IsLoopback()) {
		socket.Close()
		return nil, errNeedsPassword(ln.Addr().String())
	}
	return &Server{
		cfg: cfg, backend: b, addr: ln.Addr(), ln: socket, log: cfg.Logger, born: time.Now(),
		auth: passwordHash(cfg.Password), conns: make(map[uint64]*conn),
	}, nil
}

// Addr is the bound address; of use when port 0 was asked for.
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
	var pause time.Duration
	for {
		fd, remote, err := s.accept()
		if err == nil {
			pause = 0
			err = s.admit(fd, remote)
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

// accept waits for a client. Its socket is kept out of the Go runtime's poller:
// a loop waits for it.
func (s *Server) accept() (fd int, remote netip.AddrPort, err error) {
	rc, err := s.ln.SyscallConn()
	if err != nil {
		return -1, remote, err
	}
	var from unix.Sockaddr
	var failed error
	err = rc.Read(func(ln uintptr) bool {
		for {
			fd, from, failed = unix.Accept4(int(ln), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if failed != unix.EINTR {
				return failed != unix.EAGAIN
			}
		}
	})
	if err = cmp.Or(err, failed); err != nil {
		return -1, remote, err
	}
	return fd, addrPort(from), nil
}

func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// settings of a client's socket: no waiting for full segments, and a look every
// 15 s whether it is there.
var settings = [...]struct{ level, option, value int }{
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
}

// admit gives a client to the loop with the fewest. An error is one of the
// server; a client that has gone already is none.
func (s *Server) admit(fd int, remote netip.AddrPort) error {
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
		s.log.Warn("resp: client refused: too many connections", "client", remote.String(), "limit", s.cfg.ConnsMax)
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
	s.closing.Store(true)
	s.ln.Close()
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
