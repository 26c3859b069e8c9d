package control

import (
	"bufio"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/identity"
)

// posing listens at node 1's address with node 1's certificate, and hands over
// each connection that got through the handshake.
func posing(t *testing.T, p *place) <-chan *tls.Conn {
	t.Helper()
	self := identity.Name{Cluster: testCluster, Node: 1}
	own, err := p.files(1).Load(self)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", p.at[1])
	if err != nil {
		t.Fatal(err)
	}
	in := make(chan *tls.Conn, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s := tls.Server(c, own.Accept(self, protocolName))
			if s.Handshake() == nil {
				in <- s
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
		for close(in); ; {
			c, ok := <-in
			if !ok {
				return
			}
			c.Close()
		}
	})
	return in
}

// A node that says nothing after the handshake holds its link up for the limit
// only.
func TestSilentGreetingIsGivenUp(t *testing.T) {
	p := onNetwork(t)
	p.handshake = 100 * time.Millisecond
	in := posing(t, p)
	a := server(t, p, 0, 0b11)
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		select {
		case c := <-in:
			defer c.Close()
		case <-time.After(10 * time.Second):
			t.Fatalf("connection %d: the one before is still waited for", i)
		}
	}
	until(t, "the reason", func() bool { return strings.Contains(a.Peers()[0].Error, "timeout") })
	if a.Connected(1) {
		t.Error("connected to who has said nothing")
	}
}

// The end of a server does not wait for a greeting that may yet come.
func TestCloseCutsAGreeting(t *testing.T) {
	p := onNetwork(t)
	p.handshake = time.Hour
	in := posing(t, p)
	a := server(t, p, 0, 0b11)
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	c := <-in
	defer c.Close()
	closed := make(chan error)
	go func() { closed <- a.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for the greeting")
	}
}

// Who answers never waits for a connection that is broken.
func TestBrokenConnectionTakesNoAnswers(t *testing.T) {
	c, other := net.Pipe()
	other.Close()
	queue, quit, ended := make(chan []byte, 1), make(chan struct{}), make(chan struct{})
	go func() { writer(c, queue, quit); close(ended) }()
	limit := time.After(10 * time.Second)
	for i := range 10 {
		select {
		case queue <- []byte("answer"):
		case <-limit:
			t.Fatalf("answer %d finds no place", i)
		}
	}
	close(quit)
	<-ended
}

// Whoever answers for another node than its own is not let in.
func TestAnswerOfAnotherNode(t *testing.T) {
	p := onNetwork(t)
	in := posing(t, p)
	a := server(t, p, 0, 0b111)
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	c := <-in
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	b, err := readFrame(bufio.NewReader(c))
	if err != nil {
		t.Fatal(err)
	}
	hello, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	answer := envelope{Version: version, Cluster: testCluster, From: 2, To: 0, Kind: hello.Kind, ID: hello.ID, Reply: true}
	f, err := answer.encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(f); err != nil {
		t.Fatal(err)
	}
	until(t, "counted", func() bool { return a.Stats().WrongNode > 0 })
	until(t, "said", func() bool { return strings.Contains(a.Peers()[0].Error, "answers for node 2") })
	if a.Connected(1) {
		t.Error("connected all the same")
	}
}

// Messages of an earlier life may still be under way when a newer one has
// spoken: they are no news, and take nothing back.
func TestOnlyANewerLifeIsNews(t *testing.T) {
	a := server(t, onHost(t), 0, 0b11)
	var news []proto.Member
	a.OnEvent(func(e Event) {
		if e.Kind == PeerHello {
			news = append(news, e.Member)
		}
	})
	for _, i := range []proto.Incarnation{0, 5, 3, 5, 7, 6, 0, 7} {
		a.heard(proto.Member{Node: 1, Incarnation: i}, nil)
	}
	if len(news) != 2 || news[0].Incarnation != 5 || news[1].Incarnation != 7 || a.Peers()[0].Incarnation != 7 {
		t.Errorf("news %v, newest %d", news, a.Peers()[0].Incarnation)
	}
}
