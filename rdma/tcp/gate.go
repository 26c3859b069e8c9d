package tcp

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"healkv/dataplane/plant"
)

const (
	permitsMax    = 8  // tokens of a node that are good at a time; a newer one pushes out the oldest
	handshakesMax = 64 // connections at a time that have not shown a token
	perAddressMin = 16 // of these from one address; more where all nodes are on one host
	livesMax      = 2  // lives of a node whose connection waits for the worker

	// A connection begins with these and the token; the answer is admitted.
	helloMagic = "hkvtcp1\n"
	helloBytes = len(helloMagic) + len(token{})
	admitted   = "admitted"
)

// permit is a token that was given out.
type permit struct {
	token       token
	purpose     purpose
	node        int
	incarnation uint32
	until       time.Time
}

// arrival is an admitted connection on its way to the worker.
type arrival struct {
	incarnation uint32
	conn        *conn
}

// gate is the data port: it lets in those who have a token. Everything a
// stranger can make it keep is a goroutine for handshakeTime, handshakesMax
// times.
type gate struct {
	e        *Endpoint
	listener *net.TCPListener
	address  string

	mu      sync.Mutex
	closed  bool
	permits [nodesMax][permitsMax]permit
	next    [nodesMax]int
	waiting [nodesMax][livesMax]arrival
	open    map[net.Conn]struct{} // under way, and serving remote reads: closed by close
	shaking int
	from    map[string]int // of shaking, by source address

	refused atomic.Uint64 // connections that were not admitted
	done    sync.WaitGroup
}

func (g *gate) start(e *Endpoint) error {
	g.e, g.open, g.from = e, map[net.Conn]struct{}{}, map[string]int{}
	l, err := net.Listen("tcp", e.cfg.Listen)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("another process has the port; stop it or choose another one: %w", err)
		}
		return fmt.Errorf("tcp: data port of node %d, shard %d: %w", e.self, e.cfg.Shard, err)
	}
	g.listener = l.(*net.TCPListener)
	g.address = l.Addr().String()
	sockets.Add(1)
	g.done.Add(1)
	go g.accept()
	return nil
}

// close ends everything the gate has begun, and returns when it has ended.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	for x := range g.open {
		x.Close()
	}
	g.mu.Unlock()
	g.listener.Close()
	sockets.Add(-1)
	g.done.Wait()
	for node := range g.waiting {
		for i := range g.waiting[node] {
			if c := g.waiting[node][i].conn; c != nil {
				c.close()
				g.waiting[node][i] = arrival{}
			}
		}
	}
}

// expect lets a token in, once.
func (g *gate) expect(p permit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := &g.next[p.node]
	g.permits[p.node][*i] = p
	*i = (*i + 1) % permitsMax
}

// redeem uses up a token.
func (g *gate) redeem(t *token) (found permit, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for node := range g.permits {
		for i := range g.permits[node] {
			p := &g.permits[node][i]
			if p.purpose != 0 && subtle.ConstantTimeCompare(p.token[:], t[:]) == 1 {
				found, ok = *p, now.Before(p.until) || plant.Is(plant.TCPTokenOld)
				if !plant.Is(plant.TCPTokenTwice) {
					*p = permit{}
				}
			}
		}
	}
	return found, ok
}

// acceptPause is how long to wait after a failed accept, twice as long each
// time.
const (
	acceptPause     = 10 * time.Millisecond
	acceptPauseMost = 500 * time.Millisecond
)

func (g *gate) accept() {
	defer g.done.Done()
	for pause := acceptPause; ; {
		x, err := g.listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, or the peer has left already
			g.e.log.Warn("data port: cannot accept a connection now", "err", err, "again_in", pause)
			select {
			case <-g.e.ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, acceptPauseMost)
			continue
		}
		pause = acceptPause
		g.mu.Lock()
		from := source(x)
		ok := !g.closed && g.shaking < handshakesMax && (g.from[from] < g.perAddress() || plant.Is(plant.TCPCrowdOne))
		if ok {
			g.shaking++
			g.from[from]++
			g.open[x] = struct{}{}
			g.done.Add(1)
		}
		g.mu.Unlock()
		if !ok {
			g.refused.Add(1)
			x.Close()
			continue
		}
		go g.welcome(x)
	}
}

// source is the address a connection comes from, without the port.
func source(x *net.TCPConn) string {
	if a, ok := x.RemoteAddr().(*net.TCPAddr); ok {
		return a.IP.String()
	}
	return ""
}

// perAddress bounds those of one address that have not shown a token: a node has
// a stream and a few remote reads.
func (g *gate) perAddress() int { return max(perAddressMin, 3*g.e.cfg.Nodes) }

// welcome takes one connection from accept to the worker, or to the recovery
// goroutine, which this one then is.
func (g *gate) welcome(x *net.TCPConn) {
	defer g.done.Done()
	remote, err := g.handshake(x)
	g.mu.Lock()
	g.shaking--
	if from := source(x); g.from[from] > 1 {
		g.from[from]--
	} else {
		delete(g.from, from)
	}
	if remote == nil {
		delete(g.open, x)
	}
	g.mu.Unlock()
	if err != nil {
		g.refused.Add(1)
		g.e.log.Debug("data port: connection refused", "from", x.RemoteAddr(), "err", err)
		x.Close()
		return
	}
	if remote != nil {
		remote.serve()
		g.mu.Lock()
		delete(g.open, x)
		g.mu.Unlock()
		x.Close()
	}
}

var (
	errHello = errors.New("tcp: no token, or one that is not good (any more)")
	errGone  = errors.New("tcp: a newer life of the peer is connected")

	// ErrPeer is a data connection whose other end has the certificate of another
	// node than the one that is meant.
	ErrPeer = errors.New("tcp: the other end is not the node that is meant")
)

// handshake admits a connection. One for a stream is the worker's from then
// on; x is closed then.
func (g *gate) handshake(x *net.TCPConn) (*server, error) {
	if err := errors.Join(x.SetDeadline(time.Now().Add(g.e.cfg.handshakeTime())), tune(x)); err != nil {
		return nil, err
	}
	var stream net.Conn = x
	var c *cipher
	if g.e.cfg.TLS != nil {
		c = &cipher{wire: &wire{Conn: x, fd: -1}}
		c.conn = tls.Server(c.wire, g.e.cfg.TLS)
		stream = c.conn
	}
	var hello [helloBytes]byte
	if _, err := io.ReadFull(stream, hello[:]); err != nil {
		return nil, err
	}
	p, ok := g.redeem((*token)(hello[len(helloMagic):]))
	if string(hello[:len(helloMagic)]) != helloMagic || !ok {
		return nil, errHello
	}
	if err := g.e.meant(c, p.node); err != nil {
		return nil, err
	}
	if p.purpose == forRemote {
		s, err := g.e.newServer(stream)
		if err != nil {
			return nil, err
		}
		if _, err = io.WriteString(stream, admitted); err != nil {
			s.leave()
			return nil, err
		}
		return s, nil
	}
	if _, err := io.WriteString(stream, admitted); err != nil {
		return nil, err
	}
	raw, err := handOver(x, c, p.token)
	if err != nil {
		return nil, err
	}
	if !g.arrive(p.node, p.incarnation, raw) {
		return nil, errGone
	}
	return nil, nil
}

// handOver makes a connection the worker's: nonblocking, without the Go runtime.
func handOver(x *net.TCPConn, c *cipher, t token) (*conn, error) {
	if err := x.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	fd, err := rawOf(x)
	if err != nil {
		return nil, err
	}
	if c != nil {
		c.wire.Conn, c.wire.fd = nil, fd
		c.wire.left = make([]byte, 0, gatherBytes+gatherBytes/8)
		c.buf = make([]byte, 0, gatherBytes)
	}
	return &conn{fd: fd, tls: c, token: t}, nil
}

// arrive keeps a connection for the worker: the newest of each life, of the
// newest lives. False: it was closed.
func (g *gate) arrive(node int, incarnation uint32, c *conn) bool {
	g.mu.Lock()
	slots := g.waiting[node][:]
	at := slices.IndexFunc(slots, func(w arrival) bool { return w.conn != nil && w.incarnation == incarnation })
	if at < 0 {
		at = slices.IndexFunc(slots, func(w arrival) bool { return w.conn == nil })
	}
	if at < 0 {
		at = 0
		for i := range slots {
			if slots[i].incarnation < slots[at].incarnation {
				at = i
			}
		}
		if slots[at].incarnation > incarnation {
			at = -1
		}
	}
	if g.closed || at < 0 {
		g.mu.Unlock()
		c.close()
		return false
	}
	if old := slots[at].conn; old != nil {
		old.close()
	}
	slots[at] = arrival{incarnation, c}
	g.mu.Unlock()
	g.e.arrived.Store(true)
	g.e.poller.wake()
	return true
}

// taken gives the worker what has come from one life of a node, or nil.
func (g *gate) taken(node int, incarnation uint32) *conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.waiting[node] {
		if w := &g.waiting[node][i]; w.conn != nil && (w.incarnation == incarnation || plant.Is(plant.TCPLife)) {
			c := w.conn
			*w = arrival{}
			return c
		}
	}
	return nil
}

// connect makes a connection to one life of a peer: asked for over the
// exchange, dialled, admitted.
func (e *Endpoint) connect(ctx context.Context, peer int, incarnation uint32, p purpose) (x *net.TCPConn, c *cipher, a answer, err error) {
	if a, err = e.ask(ctx, peer, incarnation, p); err != nil {
		return nil, nil, a, err
	}
	d := net.Dialer{Timeout: e.cfg.dialTime()}
	dialed, err := d.DialContext(ctx, "tcp", a.address)
	if err != nil {
		return nil, nil, a, fmt.Errorf("tcp: node %d, incarnation %d: %w", peer, incarnation, err)
	}
	x = dialed.(*net.TCPConn)
	stop := context.AfterFunc(ctx, func() { x.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if c, err = e.introduce(x, peer, &a); err != nil {
		x.Close()
		return nil, nil, a, fmt.Errorf("tcp: node %d, incarnation %d at %s: %w", peer, incarnation, a.address, err)
	}
	return x, c, a, nil
}

// meant compares whose certificate the other end has shown with the node that a
// connection is to or from. Before: the handshake.
func (e *Endpoint) meant(c *cipher, node int) error {
	if c == nil || e.cfg.Peer == nil {
		return nil
	}
	s := c.conn.ConnectionState()
	shown, err := e.cfg.Peer(&s)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPeer, err)
	}
	if shown != node && !plant.Is(plant.TCPPeer) {
		return fmt.Errorf("%w: its certificate is node %d's, node %d is meant", ErrPeer, shown, node)
	}
	return nil
}

// introduce shows the token and awaits admission.
func (e *Endpoint) introduce(x *net.TCPConn, peer int, a *answer) (*cipher, error) {
	if err := errors.Join(x.SetDeadline(time.Now().Add(e.cfg.handshakeTime())), tune(x)); err != nil {
		return nil, err
	}
	var stream net.Conn = x
	var c *cipher
	if t := e.cfg.TLS; t != nil {
		if t.ServerName == "" {
			t = t.Clone()
			t.ServerName, _, _ = net.SplitHostPort(a.address)
		}
		c = &cipher{wire: &wire{Conn: x, fd: -1}}
		c.conn = tls.Client(c.wire, t)
		stream = c.conn
		if err := c.conn.Handshake(); err != nil {
			return nil, err
		}
		if err := e.meant(c, peer); err != nil { // the token is for nobody else
			return nil, err
		}
	}
	hello := append([]byte(helloMagic), a.token[:]...)
	if _, err := stream.Write(hello); err != nil {
		return nil, err
	}
	var reply [len(admitted)]byte
	if _, err := io.ReadFull(stream, reply[:]); err != nil {
		return nil, fmt.Errorf("not admitted: %w", err)
	}
	if string(reply[:]) != admitted {
		return nil, fmt.Errorf("%w: not admitted", errParameters)
	}
	return c, nil
}
