package control

import (
	"context"
	"crypto/x509"
	"net"
	"sync"
	"time"

	"healkv/dataplane/proto"
)

// transport makes the connections of a server.
type transport interface {
	listen() error
	// accept returns the next connection, of whom it is not known yet.
	accept() (net.Conn, error)
	// admit finds out who is at the other end of an accepted connection, or
	// refuses it. It owns raw no longer when it fails, and does not close it.
	// Both ends get as long as Config.Handshake says.
	admit(ctx context.Context, raw net.Conn) (*conn, error)
	// dial connects to node n and makes sure that it is who it should be.
	dial(ctx context.Context, n proto.NodeID) (*conn, error)
	// why makes an error that came over a connection say what to do.
	why(err error) error
	address(n proto.NodeID) string
	describe() string // our own end, for people
	close()           // the listener
}

// conn is a connection to somebody who has proved who they are, as far as the
// transport can tell.
type conn struct {
	net.Conn
	raw   net.Conn      // closed in its place: a goodbye could block
	node  proto.NodeID  // as its certificate says
	named bool          // node is known
	pid   int           // of the peer's process on this host; 0: unknown
	unix  *net.UnixConn // nil over a network
	chain []*x509.Certificate
}

// Close cuts the connection at once. Frames say where they end, so nothing is
// lost by not saying goodbye.
func (c *conn) Close() error { return c.raw.Close() }

const (
	// unprovenMax bounds the accepted connections that have not proved who they
	// are: each holds a descriptor and some memory for at most Config.Handshake.
	unprovenMax = 64
	// HandshakeDefault is many times what a handshake costs a loaded machine, and
	// little enough that a peer which hangs in one is noticed soon.
	HandshakeDefault = 5 * time.Second
	// perPeerMax bounds the connections that come from one node: its present
	// one, and those of lives and links whose end was not noticed yet. One more
	// cuts the oldest.
	perPeerMax = 4
	// perAddressMin bounds those of unprovenMax that come from one address, so
	// that one host cannot hold all places. Where a cluster has more nodes than
	// that, all of them may be on one host.
	perAddressMin = 8
)

// limiter lets one message of a kind through in a while and counts the rest:
// what strangers send must not fill the log.
type limiter struct {
	mu   sync.Mutex
	seen map[string]*quiet
}

type quiet struct {
	until   time.Time
	skipped int
}

const (
	logEvery = 10 * time.Second
	kindsMax = 256 // of messages, over all peers
)

// pass reports whether to log a message of this kind, and how many of it were
// left out since the last one.
func (l *limiter) pass(kind string, now time.Time) (skipped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.seen[kind]
	if q == nil {
		if len(l.seen) >= kindsMax {
			return 0, false
		}
		q = &quiet{}
		l.seen[kind] = q
	}
	if now.Before(q.until) {
		q.skipped++
		return 0, false
	}
	skipped, q.skipped, q.until = q.skipped, 0, now.Add(logEvery)
	return skipped, true
}
