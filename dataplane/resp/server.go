package resp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Server accepts clients. Any goroutine may call its methods.
type Server struct {
	cfg     Config
	backend Backend
	ln      net.Listener
	log     *slog.Logger
	born    time.Time
	auth    [32]byte // hash of the password

	closing atomic.Bool // set before connections are woken up for it
	running sync.WaitGroup
	turned  atomic.Int32 // refused connections that are being told so

	mu     sync.Mutex // cold: set-up, end, and lists of connections; and the shelf
	conns  map[uint64]*conn
	lastID uint64
	shelf  []*workset // unused ones, the latest used last

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
	// localhost is whatever the machine's resolver says: look at what came out.
	if a, err := netip.ParseAddrPort(ln.Addr().String()); cfg.Password == "" && (err != nil || !a.Addr().Unmap().IsLoopback()) {
		ln.Close()
		return nil, errNeedsPassword(ln.Addr().String())
	}
	return &Server{
		cfg: cfg, backend: b, ln: ln, log: cfg.Logger, born: time.Now(),
		auth: passwordHash(cfg.Password), conns: make(map[uint64]*conn),
	}, nil
}

// Addr is the bound address; of use when port 0 was asked for.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

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
		nc, err := s.ln.Accept()
		if err == nil {
			pause = 0
			s.admit(nc)
			continue
		}
		if s.closing.Load() {
			return ErrServerClosed
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

func (s *Server) admit(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		nc.Close()
		return
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		nc.Close()
		return
	}
	c := newConn(s, nc, rc)
	s.mu.Lock()
	closing, full := s.closing.Load(), len(s.conns) >= s.cfg.ConnsMax
	if !closing && !full {
		s.lastID++
		c.id = s.lastID
		s.conns[c.id] = c
	}
	if !closing {
		s.running.Add(1) // under the lock: Shutdown waits for all from before its flag
	}
	s.mu.Unlock()
	switch {
	case closing:
		nc.Close()
	case full:
		s.stats.refused.Add(1)
		s.turnAway(nc)
	default:
		s.stats.accepted.Add(1)
		go func() {
			defer s.running.Done()
			c.serve()
			s.mu.Lock()
			delete(s.conns, c.id)
			s.mu.Unlock()
		}()
	}
}

// turnAway tells a client why it is not served; it was counted as running. The words are those that
// Redis clients know as a reason to try again later.
func (s *Server) turnAway(nc net.Conn) {
	const atOnce = 32
	if s.turned.Add(1) > atOnce {
		s.turned.Add(-1)
		nc.Close()
		s.running.Done()
		return
	}
	s.log.Warn("resp: client refused: too many connections", "client", nc.RemoteAddr().String(), "limit", s.cfg.ConnsMax)
	go func() {
		defer s.running.Done()
		defer s.turned.Add(-1)
		defer nc.Close()
		nc.SetWriteDeadline(time.Now().Add(lingerMax))
		if _, err := io.WriteString(nc, "-ERR max number of clients reached\r\n"); err == nil {
			s.lingerClose(nc)
		}
	}()
}

// lingerClose lets the client read our last words: closing a socket with
// unread input makes the kernel drop them.
func (s *Server) lingerClose(nc net.Conn) {
	t, ok := nc.(*net.TCPConn)
	if !ok || t.CloseWrite() != nil {
		return
	}
	nc.SetReadDeadline(time.Now().Add(lingerMax))
	if s.closing.Load() {
		return
	}
	io.Copy(io.Discard, io.LimitReader(nc, bulkBytesHard))
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
	past := time.Unix(1, 0)
	for _, c := range s.conns {
		c.nc.SetReadDeadline(past)
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.running.Wait()
		s.mu.Lock()
		for _, ws := range s.shelf {
			ws.close()
		}
		s.shelf = nil
		s.mu.Unlock()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	cut := make([]net.Conn, 0, len(s.conns))
	for _, c := range s.conns {
		cut = append(cut, c.nc)
	}
	s.mu.Unlock()
	// Not under the lock: closing a socket waits until whoever reads from it
	// has let go, and a reader with new input takes the lock (takeWorkset).
	for _, nc := range cut {
		nc.Close()
	}
	return fmt.Errorf("resp: %d connections cut at shutdown: %w", len(cut), context.Cause(ctx))
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

// takeWorkset is called when input has arrived for an idle connection.
func (s *Server) takeWorkset() *workset {
	s.mu.Lock()
	var ws *workset
	if n := len(s.shelf); n > 0 {
		ws = s.shelf[n-1]
		s.shelf[n-1] = nil
		s.shelf = s.shelf[:n-1]
	}
	s.mu.Unlock()
	if ws == nil {
		ws = newWorkset()
	}
	return ws
}

// shelfMax is how many worksets are kept: a few more than can run at the same
// time, or as many as may well wait for a flush. To make one for every command
// costs more than the command.
func shelfMax() int { return max(8*runtime.GOMAXPROCS(0), 512) }

// giveWorkset takes back what a connection does not need any more.
func (s *Server) giveWorkset(ws *workset) {
	ws.shrink()
	s.mu.Lock()
	keep := len(s.shelf) < shelfMax() && !s.closing.Load()
	if keep {
		s.shelf = append(s.shelf, ws)
	}
	s.mu.Unlock()
	if !keep {
		ws.close()
	}
}

func (ws *workset) close() {
	if ws.session != nil {
		ws.session.Close()
		ws.session = nil
	}
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
