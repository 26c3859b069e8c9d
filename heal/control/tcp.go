package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/identity"
)

// TCP says where the nodes are and with what they prove who they are. Every
// connection is TLS 1.3 with certificates on both sides.
type TCP struct {
	Listen string   // host:port of this node
	Peers  []string // host:port by node; this node's own is not used
	Files  identity.Files
	// Look is how often to look whether Files have changed; 0: every 2 s. Besides,
	// every handshake does.
	Look time.Duration
	// Renewed, if set, is called after new files were taken into use and links
	// dialled anew: connections that are not the server's can follow. It may wait.
	Renewed func()
	// Expires, if set, is called when this node's certificate has less than 30 days
	// left, and again at 7, once each.
	Expires func(end time.Time, daysLeft float64)
}

// version of the protocol grows when frames change so that older nodes would
// misunderstand them, or when what is agreed on by them means something else:
// since 2 a lease is what acceptors guard, and its holder counts on less; a
// holder of version 1 counts on all of it; since 3 beats and requests to vote
// say what keys are hashed with. Every frame says it, and
// protocolName, which is agreed on at each handshake (ALPN, RFC 7301).
const version = 3

var protocolName = fmt.Sprintf("healkv-control/%d", version)

// ErrVersion is a peer that speaks another version of this protocol.
var ErrVersion = errors.New("control: peer speaks another version")

// ErrHandshake is a handshake that did not end in time. Nothing is known of who
// is at the other end.
var ErrHandshake = errors.New("control: no handshake")

// Times after which a connection counts as broken although nobody closed it:
// the other host is gone, or the way to it. A new one is dialled then, which
// also ends the waiting for the old one's retransmissions.
const (
	keepIdle     = 2 * time.Second
	keepInterval = time.Second
	keepCount    = 3
	unackedMax   = 1500 * time.Millisecond // TCP_USER_TIMEOUT, tcp(7): half the default lease, so that there is time to try again
)

// tcpTransport is TLS between hosts.
type tcpTransport struct {
	cfg   TCP
	limit time.Duration // of a handshake
	self  identity.Name
	keep  *identity.Keeper
	stats *counters
	ln    net.Listener
}

func newTCPTransport(cfg *Config, stats *counters) (*tcpTransport, error) {
	t := &tcpTransport{cfg: *cfg.TCP, limit: cfg.Handshake, self: identity.Name{Cluster: cfg.ClusterID, Node: cfg.Node}, stats: stats}
	if _, _, err := net.SplitHostPort(t.cfg.Listen); err != nil {
		return nil, fmt.Errorf("control: listen address %q: %w; want host:port", t.cfg.Listen, err)
	}
	for _, n := range cfg.Configured.Without(cfg.Node).Nodes(nil) {
		if int(n) >= len(t.cfg.Peers) {
			return nil, fmt.Errorf("control: no address of node %d: %d addresses are given", n, len(t.cfg.Peers))
		}
		if _, port, err := net.SplitHostPort(t.cfg.Peers[n]); err != nil || port == "" {
			return nil, fmt.Errorf("control: address %q of node %d: want host:port", t.cfg.Peers[n], n)
		}
	}
	t.keep = t.cfg.Files.Keep(t.self, cfg.Logger)
	if _, err := t.keep.Look(); err != nil { // what is wrong with them is said at the start
		return nil, fmt.Errorf("control: %w", err)
	}
	return t, nil
}

func (t *tcpTransport) address(n proto.NodeID) string {
	if int(n) < len(t.cfg.Peers) {
		return t.cfg.Peers[n]
	}
	return "?"
}

func (t *tcpTransport) listen() error {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	ln, err := lc.Listen(context.Background(), "tcp", t.cfg.Listen)
	if err != nil {
		return fmt.Errorf("control: %w; stop what listens there, or choose another address", err)
	}
	t.ln = ln
	return nil
}

var keepAlive = net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepInterval, Count: keepCount}

func (t *tcpTransport) describe() string { return "tcp " + t.cfg.Listen + ", TLS 1.3" }

func (t *tcpTransport) accept() (net.Conn, error) { return t.ln.Accept() }

func (t *tcpTransport) close() {
	if t.ln != nil {
		t.ln.Close()
	}
}

// limitUnacked makes the kernel give up a connection on which nothing is
// acknowledged.
func limitUnacked(c net.Conn) error {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		inner = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedMax/time.Millisecond))
	})
	return errors.Join(err, inner)
}

// admit is the accepting side of the handshake.
func (t *tcpTransport) admit(ctx context.Context, raw net.Conn) (*conn, error) {
	if err := limitUnacked(raw); err != nil {
		return nil, err
	}
	own, err := t.keep.Present()
	if err != nil {
		t.stats.ownFiles.Add(1)
		return nil, err
	}
	cfg := own.Accept(t.self, protocolName)
	var offered []string
	cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		offered = h.SupportedProtos
		return nil, nil
	}
	limit := t.limit
	if plant.Is(plant.CtlAdmit) {
		limit = time.Hour
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s := tls.Server(raw, cfg)
	err = s.HandshakeContext(ctx)
	state := s.ConnectionState()
	switch {
	case err == nil && state.NegotiatedProtocol != protocolName && !plant.Is(plant.CtlVersion), err != nil && spokeAnother(offered):
		return nil, t.counted(fmt.Errorf("%w: it offers %.100q, this node speaks %q", ErrVersion, offered, protocolName))
	case err != nil && ctx.Err() != nil:
		return nil, t.counted(t.late(err))
	case err != nil:
		return nil, t.counted(t.why(err))
	}
	return t.proven(s, raw, &state)
}

// dial is the dialling side.
func (t *tcpTransport) dial(ctx context.Context, n proto.NodeID) (*conn, error) {
	// First whether anybody is there: a dead process is dialled again and again.
	d := net.Dialer{Timeout: connectWait, KeepAliveConfig: keepAlive}
	raw, err := d.DialContext(ctx, "tcp", t.address(n))
	if err != nil {
		return nil, err
	}
	own, err := t.keep.Present()
	if err != nil {
		t.stats.ownFiles.Add(1)
		raw.Close()
		return nil, err
	}
	if err := limitUnacked(raw); err != nil {
		raw.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	s := tls.Client(raw, own.Dial(t.self, int(n), protocolName))
	err = s.HandshakeContext(ctx)
	state := s.ConnectionState()
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = t.counted(t.late(err))
	case err != nil:
		err = t.counted(t.why(err))
	case state.NegotiatedProtocol != protocolName:
		err = t.counted(fmt.Errorf("%w: %q, this node speaks %q", ErrVersion, state.NegotiatedProtocol, protocolName))
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	return t.proven(s, raw, &state)
}

// late is a handshake that ran out of time: nobody there who speaks, or
// machines that are too slow for the limit.
func (t *tcpTransport) late(err error) error {
	return fmt.Errorf("%w within %v: %w; are the machines overloaded? a longer lease gives handshakes more time", ErrHandshake, t.limit, err)
}

// proven makes the connection of a handshake that has succeeded.
func (t *tcpTransport) proven(s *tls.Conn, raw net.Conn, state *tls.ConnectionState) (*conn, error) {
	name, err := identity.Of(state.PeerCertificates[0]) // checked in the handshake
	if err != nil {
		return nil, t.counted(err)
	}
	return &conn{Conn: s, raw: raw, node: name.Node, named: true, chain: state.PeerCertificates}, nil
}

// spokeAnother tells whether a client named protocols, and not ours.
func spokeAnother(offered []string) bool {
	for _, p := range offered {
		if p == protocolName {
			return false
		}
	}
	return len(offered) > 0
}

// counted counts why a handshake failed.
func (t *tcpTransport) counted(err error) error {
	c := t.stats
	switch {
	case errors.Is(err, ErrVersion):
		c.wrongVersion.Add(1)
	case errors.Is(err, identity.ErrFiles):
		c.ownFiles.Add(1)
	case errors.Is(err, identity.ErrExpired):
		c.expired.Add(1)
	case errors.Is(err, identity.ErrCluster):
		c.wrongCluster.Add(1)
	case errors.Is(err, identity.ErrNode), errors.Is(err, identity.ErrName):
		c.wrongNode.Add(1)
	case errors.Is(err, identity.ErrUntrusted), errors.Is(err, identity.ErrMissing):
		c.untrusted.Add(1)
	default:
		c.handshakes.Add(1)
	}
	return err
}

// alerts are what a peer's TLS says when it refuses us, as the library spells
// them, and what is behind them. A peer that checks our certificate tells so
// after our side of the handshake is over: with the first bytes we read.
var alerts = []struct{ text, means string }{
	{"unknown certificate authority", "the peer trusts another authority than the one that signed our certificate: give all nodes the same tls.ca"},
	{"expired certificate", "our certificate is not valid by the peer's clock: issue a new one, or set the clocks"},
	{"bad certificate", "the peer does not accept our certificate: its log says why"},
	{"certificate required", "the peer wants a certificate and we have sent none"},
	{"no application protocol", "the peer speaks another version of the control protocol: run the same version everywhere"},
	{"protocol version not supported", "the peer refuses TLS 1.3"},
}

// why is transport's.
func (t *tcpTransport) why(err error) error {
	err = identity.Named(err)
	text := err.Error()
	if !strings.Contains(text, "remote error") {
		if errors.As(err, new(tls.RecordHeaderError)) {
			return fmt.Errorf("%w; is something else than a node's control plane at that address?", err)
		}
		return err
	}
	for _, a := range alerts {
		if strings.Contains(text, a.text) {
			if a.text == "no application protocol" {
				return fmt.Errorf("%w: %w: %s", ErrVersion, err, a.means)
			}
			return fmt.Errorf("%w: %s", err, a.means)
		}
	}
	return err
}
