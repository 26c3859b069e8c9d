package tcp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"healkv/dataplane/plant"
	"healkv/rdma"
)

// Config says which end of which stream to make.
type Config struct {
	Node        int    // 0 to Nodes-1
	Nodes       int    // configured nodes, at most 16
	Shard       int    // 0 to 63
	Incarnation uint32 // from 1; this life of the node
	RingBytes   int    // power of two, 4 KiB to 1 GiB; 0 means 4 MiB. Holds what the slowest peer has not applied

	Exchange rdma.Exchange // of this shard; required
	Logger   *slog.Logger  // nil: none

	// Listen is the address that peers' data connections come to, or a name of
	// this host; with a port, or any free one. Not a wildcard: peers are told
	// it. "": 127.0.0.1.
	Listen string
	// TLS, if not nil, has a certificate of this node for both roles, RootCAs
	// for those of the peers it dials and ClientCAs for those that dial it.
	// ServerName, if empty, is the peer's address.
	TLS *tls.Config
	// Plain says that connections beyond loopback go without TLS: records can be
	// read and changed on their way.
	Plain bool
	// Peer says whose certificate the other end of a TLS connection has shown. A
	// connection to or from another node than was meant is refused. nil: not
	// compared; who has a certificate and a token comes in.
	Peer func(*tls.ConnectionState) (node int, err error)
	// Patience is the least there is for a call over the Exchange, an attempt to
	// connect, and each side of a handshake; 0: the defaults below.
	Patience time.Duration
}

const (
	nodesMax = rdma.NodesMax

	ringBytesMin     = 4096
	ringBytesMax     = 1 << 30
	ringBytesDefault = 4 << 20
)

// Times, the first three at least: Config.Patience. A connection is given up when the peer has acknowledged nothing for
// userTimeout, or answered no probe for idleProbe + probes*probeEvery; the
// control plane's leases end sooner, so this decides only when it is made
// again.
const (
	handshakeTime = 2 * time.Second // from accept to the token, and for its answer
	dialTime      = time.Second     // per attempt: a lost SYN is not waited for longer
	callTime      = 2 * time.Second // per exchange of parameters
	tokenTime     = 10 * time.Second
	redialMin     = 2 * time.Millisecond // back-off between attempts
	redialMax     = 500 * time.Millisecond
	userTimeout   = 1500 * time.Millisecond
	idleProbe     = 3 * time.Second
	probeEvery    = time.Second
	probes        = 3
)

// A token must outlive the attempt it is for.
const _ = uint(tokenTime - dialTime - 2*handshakeTime)

func (c *Config) handshakeTime() time.Duration { return max(handshakeTime, c.Patience) }
func (c *Config) dialTime() time.Duration      { return max(dialTime, c.Patience) }
func (c *Config) callTime() time.Duration      { return max(callTime, c.Patience) }
func (c *Config) tokenTime() time.Duration {
	return max(tokenTime, c.callTime()+c.dialTime()+2*c.handshakeTime())
}

// ErrConfig is a configuration outside its limits.
var ErrConfig = errors.New("tcp: config")

func (c *Config) validate() error {
	if c.RingBytes == 0 {
		c.RingBytes = ringBytesDefault
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := rdma.CheckEnd(c.Node, c.Nodes, c.Shard, c.Incarnation); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if c.Exchange == nil {
		return fmt.Errorf("%w: no exchange of connection parameters (Exchange): it comes from the control plane", ErrConfig)
	}
	if err := checkRingBytes(int64(c.RingBytes)); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if c.Patience < 0 {
		return fmt.Errorf("%w: patience of %v, want 0 or more", ErrConfig, c.Patience)
	}
	if err := c.listenAddress(); err != nil {
		return err
	}
	return c.checkTLS()
}

func checkRingBytes(n int64) error {
	if n < ringBytesMin || n > ringBytesMax || n&(n-1) != 0 {
		return fmt.Errorf("ring of %d bytes, want a power of two from %d to %d", n, ringBytesMin, ringBytesMax)
	}
	return nil
}

// listenAddress completes Listen to host and port.
func (c *Config) listenAddress() error {
	if c.Listen == "" {
		c.Listen = "127.0.0.1"
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		host, port = c.Listen, "0"
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%w: data connections to %q: name the address at which peers reach this node, not a wildcard", ErrConfig, c.Listen)
	}
	c.Listen = net.JoinHostPort(host, port)
	if c.TLS == nil && !c.Plain && !Loopback(host) && !plant.Is(plant.TCPInClear) {
		return fmt.Errorf("%w: data connections to %q would go over the network in the clear: set TLS, or Plain if that is meant", ErrConfig, c.Listen)
	}
	return nil
}

// Loopback tells whether nothing that goes to a host, a name or an address,
// leaves this one. A name of which that is not known may be anywhere.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkTLS wants both ends verified, whatever the defaults of crypto/tls are.
func (c *Config) checkTLS() error {
	t := c.TLS
	if t == nil {
		return nil
	}
	if len(t.Certificates) == 0 && (t.GetCertificate == nil || t.GetClientCertificate == nil) {
		return fmt.Errorf("%w: TLS without a certificate of this node for both roles", ErrConfig)
	}
	verifies := t.VerifyConnection != nil || t.VerifyPeerCertificate != nil
	if !verifies && (t.InsecureSkipVerify || t.RootCAs == nil || t.ClientCAs == nil) {
		return fmt.Errorf("%w: TLS that verifies only one end: want RootCAs and ClientCAs, and no InsecureSkipVerify", ErrConfig)
	}
	t = t.Clone()
	if (t.ClientAuth != tls.RequireAnyClientCert || !verifies) && !plant.Is(plant.TCPClients) {
		t.ClientAuth = tls.RequireAndVerifyClientCert
	}
	t.MinVersion = tls.VersionTLS13
	t.SessionTicketsDisabled = true // nothing is to be read after the handshake but what we send
	t.NextProtos = nil
	c.TLS = t
	return nil
}
