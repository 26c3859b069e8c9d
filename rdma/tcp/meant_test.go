package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/identity"
	"healkv/rdma"
	"healkv/rdma/conformance"
)

const meantCluster = "0123456789abcdef0123456789abcdef"

// certified are nodes' TLS configurations with a certificate of their own each.
func certified(t *testing.T, nodes int) (own []*tls.Config) {
	t.Helper()
	dir := t.TempDir()
	if _, _, err := identity.Make(identity.MakeOptions{Dir: dir, Cluster: meantCluster, Nodes: nodes, Valid: time.Hour, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		name := identity.Name{Cluster: meantCluster, Node: proto.NodeID(i)}
		own = append(own, identity.MadeFiles(dir+"/node-"+string(rune('0'+i))).Both(name))
	}
	return own
}

// A data connection is to and from the node that is meant: who shows another
// node's certificate gets no token from the one side, and is not let in with one
// by the other.
func TestTheNodeThatIsMeant(t *testing.T) {
	hub, own := conformance.NewHub(), certified(t, 3)
	end := func(node int) *Endpoint {
		e, err := New(Config{Node: node, Nodes: 3, Incarnation: 1, RingBytes: 4096, Exchange: hub.Exchange(node, 0), TLS: own[node], Peer: identity.Peer})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	a, b, c := end(0), end(1), end(2)
	mem := make([]byte, 4096)
	if err := b.Expose(rdma.Exposed{Size: int64(len(mem)), Mem: mem}); err != nil {
		t.Fatal(err)
	}
	l, err := a.Prepare(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()

	// b's address leads to c, which would take the token.
	before := c.gate.refused.Load()
	b.gate.address, c.gate.address = c.gate.address, b.gate.address
	if _, err := a.Prepare(1, 1); !errors.Is(err, ErrPeer) || !strings.Contains(err.Error(), "node 2's") {
		t.Errorf("connected to another node: %v", err)
	}
	if x, err := a.Remote(1, 1); !errors.Is(err, ErrPeer) {
		t.Errorf("reads of another node: %v, %v", x, err)
	}
	b.gate.address, c.gate.address = c.gate.address, b.gate.address
	awaitCount(t, "at the wrong node", func() bool { return c.gate.refused.Load() == before+2 })

	// c has got hold of a token that was meant for a.
	got, err := a.ask(context.Background(), 1, 1, forStream)
	if err != nil {
		t.Fatal(err)
	}
	shows := func(who *tls.Config, a *answer) error {
		raw, err := net.Dial("tcp", a.address)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		raw.SetDeadline(time.Now().Add(patience))
		x := tls.Client(raw, who)
		if _, err := x.Write(append([]byte(helloMagic), a.token[:]...)); err != nil {
			return err
		}
		_, err = io.ReadFull(x, make([]byte, len(admitted)))
		return err
	}
	before = b.gate.refused.Load()
	if err := shows(own[2], &got); err == nil {
		t.Error("admitted with another node's token")
	}
	awaitCount(t, "another node's token", func() bool { return b.gate.refused.Load() == before+1 })
	if got, err = a.ask(context.Background(), 1, 1, forStream); err != nil {
		t.Fatal(err)
	}
	if err := shows(own[0], &got); err != nil {
		t.Errorf("the node that is meant: %v", err)
	}
}

// On slow machines everything that is waited for has as long as they say.
func TestPatience(t *testing.T) {
	var c Config
	if c.handshakeTime() != handshakeTime || c.dialTime() != dialTime || c.callTime() != callTime || c.tokenTime() != tokenTime {
		t.Errorf("%v, %v, %v, %v", c.handshakeTime(), c.dialTime(), c.callTime(), c.tokenTime())
	}
	c.Patience = time.Minute
	if c.handshakeTime() != time.Minute || c.dialTime() != time.Minute || c.callTime() != time.Minute || c.tokenTime() < 3*time.Minute {
		t.Errorf("%v, %v, %v, %v", c.handshakeTime(), c.dialTime(), c.callTime(), c.tokenTime())
	}
	// A peer that answers after longer than the default: asked for with more
	// patience, it is waited for.
	hub := conformance.NewHub()
	slow := &slowExchange{Exchange: hub.Exchange(0, 0)}
	e, err := rdma.Open(Name, rdma.Config{Nodes: 2, Incarnation: 1, RingBytes: 4096, Exchange: slow, Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Prepare(1, 1); err == nil || slow.left < 50*time.Second {
		t.Errorf("a call has %v left: %v", slow.left, err)
	}
}

// slowExchange notes how long a call may take.
type slowExchange struct {
	rdma.Exchange
	left time.Duration
}

func (x *slowExchange) Call(ctx context.Context, peer int, request []byte) ([]byte, error) {
	at, _ := ctx.Deadline()
	x.left = time.Until(at)
	return nil, errors.New("not now")
}

// One address cannot hold all places of those who have shown no token.
func TestStrangersOfOneAddress(t *testing.T) {
	n := newNetwork(t, nil)
	a, b := n.end(0, 1), n.end(1, 1)
	most := b.gate.perAddress()
	if most >= handshakesMax {
		t.Fatalf("%d of %d places", most, handshakesMax)
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	for range handshakesMax {
		x, err := d.Dial("tcp", b.gate.address)
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
	}
	held := 0
	awaitCount(t, "strangers", func() bool {
		b.gate.mu.Lock()
		defer b.gate.mu.Unlock()
		held = b.gate.shaking
		return uint64(held)+b.gate.refused.Load() >= handshakesMax
	})
	if held > most {
		t.Errorf("%d strangers of one address are kept, limit %d", held, most)
	}
	l, err := a.Prepare(1, 1)
	if err != nil {
		t.Fatalf("a node, meanwhile: %v", err)
	}
	l.Close()
	awaitCount(t, "the places are free again", func() bool {
		b.gate.mu.Lock()
		defer b.gate.mu.Unlock()
		return len(b.gate.from) == 0 && b.gate.shaking == 0
	})
}
