package tcp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"healkv/rdma"
	"healkv/rdma/conformance"
)

// network is a set of endpoints in one process, each driven by the test's
// goroutine except while it sleeps.
type network struct {
	t    testing.TB
	hub  *conformance.Hub
	tls  *tls.Config
	ring int
	// proxy, if not nil, is asked for the address at which peers reach an
	// endpoint.
	proxy  func(node int, address string) string
	ends   []*Endpoint
	asleep *Endpoint
}

func newNetwork(t testing.TB, c *tls.Config) *network {
	return &network{t: t, hub: conformance.NewHub(), tls: c, ring: conformance.RingBytes}
}

func (n *network) end(node int, incarnation uint32) *Endpoint {
	n.t.Helper()
	e, err := New(Config{Node: node, Nodes: conformance.Nodes, Incarnation: incarnation, RingBytes: n.ring, Exchange: n.hub.Exchange(node, 0), TLS: n.tls})
	if err != nil {
		n.t.Fatal(err)
	}
	if n.proxy != nil {
		e.gate.address = n.proxy(node, e.gate.address) // before anybody asks
	}
	n.ends = append(n.ends, e)
	n.t.Cleanup(func() {
		if err := e.Close(); err != nil && !errors.Is(err, rdma.ErrClosed) {
			n.t.Error(err)
		}
	})
	return e
}

// join makes a use b.
func (n *network) join(a, b *Endpoint) {
	n.t.Helper()
	l, err := a.Prepare(b.self, b.cfg.Incarnation)
	if err != nil {
		n.t.Fatal(err)
	}
	a.Attach(l)
}

func (n *network) pair(a, b *Endpoint) {
	n.t.Helper()
	n.join(a, b)
	n.join(b, a)
	n.settle()
}

// settle lets everything that was published arrive at those who are awake.
func (n *network) settle() {
	n.t.Helper()
	for began := time.Now(); ; {
		moved := false
		for _, e := range n.ends {
			if e != n.asleep && !e.closed.Load() {
				e.flush()
				if e.arrive() {
					moved = true
				}
			}
		}
		if !moved {
			why := n.pending()
			if why == "" {
				return
			}
			if time.Since(began) > patience {
				n.t.Fatalf("after %v: %s", patience, why)
			}
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// pending says what is still under way, "" for nothing.
func (n *network) pending() string {
	for _, x := range n.ends {
		if x.closed.Load() {
			continue
		}
		for _, l := range x.peers {
			if l == nil {
				continue
			}
			y := n.find(l.peer, l.incarnation)
			if x != n.asleep && l.from != nil && (y == nil || y.sending(x) == nil || y.sending(x).token != l.from.token) {
				return "the end of a connection"
			}
			if y == nil || y != n.asleep && y.reading(x) == nil {
				continue
			}
			s := &l.send
			switch {
			case s.lost:
			case s.conn == nil || s.wait:
				return "a connection"
			case s.size > 0 || s.announce || s.feed != 0 && x.published > s.next || s.conn.pending():
				return "a frame to send"
			case y == n.asleep:
			case y.reading(x).from == nil || y.reading(x).from.token != s.conn.token:
				return "an admission"
			case y.reading(x).from.in != s.conn.out:
				return "bytes"
			}
		}
	}
	return ""
}

func (n *network) find(node int, incarnation uint32) *Endpoint {
	for _, e := range n.ends {
		if e.self == node && e.cfg.Incarnation == incarnation && !e.closed.Load() {
			return e
		}
	}
	return nil
}

// reading is e's link to that life of x, if attached.
func (e *Endpoint) reading(x *Endpoint) *link {
	if l := e.peers[x.self]; l != nil && l.incarnation == x.cfg.Incarnation {
		return l
	}
	return nil
}

func (e *Endpoint) sending(x *Endpoint) *conn {
	if l := e.reading(x); l != nil {
		return l.send.conn
	}
	return nil
}

// sleep is conformance.Fabric.Sleep.
func (n *network) sleep(e *Endpoint, before, during func()) {
	n.t.Helper()
	e.PrepareSleep()
	before()
	n.asleep = e
	defer func() { n.asleep = nil }()
	done := make(chan struct{})
	go func() {
		e.Sleep(-1)
		close(done)
	}()
	during()
	select {
	case <-done:
	case <-time.After(patience):
		n.t.Fatal("lost wake-up: still asleep")
	}
}

func (n *network) fabric() conformance.Fabric {
	return conformance.Fabric{
		New:    func(node int, incarnation uint32) rdma.Endpoint { return n.end(node, incarnation) },
		Settle: n.settle,
		Expose: func(x rdma.Endpoint, mem []byte) {
			if err := x.(rdma.Exposer).Expose(rdma.Exposed{Size: int64(len(mem)), Mem: mem}); err != nil {
				n.t.Fatal(err)
			}
		},
		Sleep:     func(e rdma.Endpoint, before, during func()) { n.sleep(e.(*Endpoint), before, during) },
		AllocFree: !raceEnabled && n.tls == nil,
	}
}

func TestConformance(t *testing.T) {
	for name, c := range map[string]*tls.Config{"plain": nil, "tls": mutual()} {
		t.Run(name, func(t *testing.T) {
			conformance.Run(t, func(t *testing.T) conformance.Fabric { return newNetwork(t, c).fabric() })
		})
	}
}

// mutual is a configuration with an authority and a certificate for 127.0.0.1,
// made once.
var mutual = sync.OnceValue(func() *tls.Config { return authority() })

func authority() *tls.Config {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	must(err)
	caCert, err := x509.ParseCertificate(caDER)
	must(err)
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, caCert, own.Public(), key)
	must(err)
	pool := x509.NewCertPool()
	pool.AddCert(caCert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leafDER}, PrivateKey: own}}, RootCAs: pool, ClientCAs: pool}
}
