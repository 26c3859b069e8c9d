package control

import (
	"bufio"
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/identity"
)

// place is where the servers of a test find one another: a run directory, or
// addresses and certificates.
type place struct {
	dir string // run directory; of the certificates for TCP
	tcp bool
	at  []string // addresses by node
	log slog.Handler

	handshake time.Duration // 0: the default
	look      time.Duration // likewise
}

// onHost is a place for unix sockets.
func onHost(t testing.TB) *place { return &place{dir: runDir(t)} }

const placeNodes = 4

// onNetwork is a place for TCP over loopback, with certificates.
func onNetwork(t testing.TB) *place {
	t.Helper()
	p := &place{dir: runDir(t), tcp: true}
	issue(t, p.dir, testCluster, time.Now(), time.Hour)
	var held []net.Listener
	for range placeNodes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l)
		p.at = append(p.at, l.Addr().String())
	}
	for _, l := range held { // all at once, so that they differ
		l.Close()
	}
	return p
}

func issue(t testing.TB, dir, cluster string, now time.Time, valid time.Duration) {
	t.Helper()
	if _, _, err := identity.Make(identity.MakeOptions{Dir: dir, Cluster: cluster, Nodes: placeNodes, Valid: valid, Now: now}); err != nil {
		t.Fatal(err)
	}
}

// files are those of node n.
func (p *place) files(n proto.NodeID) identity.Files {
	return identity.MadeFiles(filepath.Join(p.dir, "node-"+string('0'+rune(n))))
}

func (p *place) config(n proto.NodeID, nodes proto.NodeSet) Config {
	c := Config{ClusterID: testCluster, Node: n, Configured: nodes, Handshake: p.handshake}
	if p.log != nil {
		c.Logger = slog.New(p.log)
	}
	if p.tcp {
		c.TCP = &TCP{Listen: p.at[n], Peers: p.at, Files: p.files(n), Look: p.look}
	} else {
		c.RunDir = p.dir
	}
	return c
}

func server(t testing.TB, p *place, n proto.NodeID, nodes proto.NodeSet) *Server {
	t.Helper()
	s, err := New(p.config(n, nodes))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// everywhere runs a test over both transports: it is what both must do.
func everywhere(t *testing.T, test func(t *testing.T, p *place)) {
	t.Run("unix", func(t *testing.T) { test(t, onHost(t)) })
	t.Run("tcp", func(t *testing.T) { test(t, onNetwork(t)) })
}

// halfCloser is what unix and TLS connections have in common.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// raw speaks to a server without the package's client, over TCP as node 0.
func raw(t *testing.T, p *place, n proto.NodeID) (halfCloser, *bufio.Reader) {
	t.Helper()
	var c halfCloser
	if p.tcp {
		own, err := p.files(0).Load(identity.Name{Cluster: testCluster})
		if err != nil {
			t.Fatal(err)
		}
		tc, err := tls.Dial("tcp", p.at[n], own.Dial(identity.Name{Cluster: testCluster}, int(n), protocolName))
		if err != nil {
			t.Fatal(err)
		}
		c = tc
	} else {
		uc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: SocketPath(p.dir, n), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		c = uc
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c, bufio.NewReader(c)
}
