package control

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/identity"
)

// lines collects what servers log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// stranger dials as somebody who does not keep to what a node would do, and
// returns what came of it: nil if the server let it in.
func stranger(t *testing.T, at string, cfg *tls.Config) error {
	t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", at, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	// The server checks after our side of the handshake: it tells with the
	// first bytes. One that lets us in waits for ours; a frame of no bytes makes
	// it answer.
	if _, err := c.Write(frame("")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, headBytes))
	return err
}

// as loads the credentials of node n of a place, and how it dials.
func as(t *testing.T, p *place, cluster string, n proto.NodeID, to int) *tls.Config {
	t.Helper()
	self := identity.Name{Cluster: cluster, Node: n}
	own, err := p.files(n).Load(self)
	if err != nil {
		t.Fatal(err)
	}
	c := own.Dial(self, to, protocolName)
	c.VerifyConnection = nil // whoever it is
	return c
}

func elsewhere(t *testing.T, cluster string, now time.Time, valid time.Duration) *place {
	p := &place{dir: runDir(t), tcp: true}
	issue(t, p.dir, cluster, now, valid)
	return p
}

func TestOnlyNodesOfTheClusterGetIn(t *testing.T) {
	p := onNetwork(t)
	var log lines
	p.log = slog.NewTextHandler(&log, nil)
	b := server(t, p, 1, 0b11)
	b.Handle("echo", handleEcho)
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	if err := stranger(t, p.at[1], as(t, p, testCluster, 0, 1)); err != nil {
		t.Fatalf("a node of the cluster: %v", err)
	}
	other := elsewhere(t, testCluster, time.Now(), time.Hour) // the same names by another authority
	// One authority for two clusters: what keeps them apart is the name.
	mixed := elsewhere(t, "another", time.Now(), time.Hour)
	mixedCA, err := os.ReadFile(mixed.files(0).CA)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(p.files(1).CA)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.files(1).CA, append(ours, mixedCA...), 0o600); err != nil { // b trusts both
		t.Fatal(err)
	}
	cases := []struct {
		name  string
		dials *tls.Config
		at    func(Stats) uint64
		says  string // to whom dials
		log   string
	}{
		{"no certificate", &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{protocolName}}, func(s Stats) uint64 { return s.Handshakes + s.Untrusted }, "certificate required", "certificate"},
		{"another authority", as(t, other, testCluster, 0, 1), func(s Stats) uint64 { return s.Untrusted }, "unknown certificate authority", "is not signed by this cluster's authority"},
		{"another cluster", as(t, mixed, "another", 0, 1), func(s Stats) uint64 { return s.WrongCluster }, "bad certificate", "certificate of another cluster"},
		{"itself", as(t, p, testCluster, 1, 1), func(s Stats) uint64 { return s.WrongNode }, "bad certificate", "this node itself"},
		{"another version", withProtocols(as(t, p, testCluster, 0, 1), "healkv-control/9"), func(s Stats) uint64 { return s.WrongVersion }, "no application protocol", "healkv-control/9"},
		{"no version", withProtocols(as(t, p, testCluster, 0, 1)), func(s Stats) uint64 { return s.WrongVersion }, "EOF", ErrVersion.Error()},
		{"TLS 1.2", older(as(t, p, testCluster, 0, 1)), func(s Stats) uint64 { return s.Handshakes }, "protocol version", "unsupported versions"},
	}
	for _, c := range cases {
		b.refused.mu.Lock()
		b.refused.seen = map[string]*quiet{} // each may log
		b.refused.mu.Unlock()
		before := c.at(b.Stats())
		err := stranger(t, p.at[1], c.dials)
		// Cut without a word, what we have sent may be unread: then it is a reset.
		if err == nil || !strings.Contains(err.Error(), c.says) && !(c.says == "EOF" && errors.Is(err, syscall.ECONNRESET)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		until(t, c.name+" counted", func() bool { return c.at(b.Stats()) == before+1 })
		until(t, c.name+" logged", func() bool { return strings.Contains(log.String(), c.log) })
	}
	t.Logf("%d kinds of strangers refused", len(cases))
}

func withProtocols(c *tls.Config, names ...string) *tls.Config { c.NextProtos = names; return c }

func older(c *tls.Config) *tls.Config {
	c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	return c
}

// Certificates are read again at every handshake: an expired one is refused by
// its owner at start, and later does not take the place of one that is good; a
// new one is taken without a restart.
func TestCertificatesAreReadAgain(t *testing.T) {
	p := onNetwork(t)
	b := server(t, p, 1, 0b11)
	var log lines
	p.log = slog.NewTextHandler(&log, nil)
	a := server(t, p, 0, 0b11)
	start(t, a, b)
	past := time.Now().Add(-48 * time.Hour)
	issue(t, p.dir, testCluster, past, time.Hour) // by the same authority
	if _, err := New(p.config(0, 0b11)); !errors.Is(err, identity.ErrFiles) || !errors.Is(err, identity.ErrExpired) || !strings.Contains(err.Error(), "node certs") {
		t.Errorf("start with an expired certificate: %v", err)
	}
	b.Close()
	until(t, "noticed", func() bool { return !a.Connected(1) })
	until(t, "says why", func() bool {
		s, _ := a.Certificate()
		return strings.Contains(s.Error, "not valid at this time") && s.NotAfter.After(time.Now())
	})
	if s := a.Stats(); s.OwnFiles != 0 || strings.Count(log.String(), "is kept") != 1 {
		t.Errorf("%d handshakes failed for our own files; log: %s", s.OwnFiles, log.String())
	}
	issue(t, p.dir, testCluster, time.Now(), time.Hour)
	b = server(t, p, 1, 0b11)
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "connected again, with new certificates", func() bool { return a.Connected(1) && b.Connected(0) })
}

// The dialling side checks too, and says what is wrong at the address.
func TestDialledNodeMustBeTheRightOne(t *testing.T) {
	for _, c := range []struct {
		name, want string
		other      func(t *testing.T, p *place) Config // of what listens at node 1's address
		count      func(Stats) uint64
	}{
		{"another node", "node 1 was expected", func(t *testing.T, p *place) Config {
			c := p.config(2, 0b111)
			c.TCP.Listen = p.at[1]
			return c
		}, func(s Stats) uint64 { return s.WrongNode }},
		{"another authority", "not signed by this cluster's authority", func(t *testing.T, p *place) Config {
			other := elsewhere(t, testCluster, time.Now(), time.Hour)
			other.at = p.at
			return other.config(1, 0b111)
		}, func(s Stats) uint64 { return s.Untrusted }},
		{"another cluster", "not signed by this cluster's authority", func(t *testing.T, p *place) Config {
			other := elsewhere(t, "another", time.Now(), time.Hour)
			other.at = p.at
			c := other.config(1, 0b111)
			c.ClusterID = "another"
			return c
		}, func(s Stats) uint64 { return s.Untrusted }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := onNetwork(t)
			a := server(t, p, 0, 0b111)
			s, err := New(c.other(t, p))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			if err := errors.Join(s.Start(), a.Start()); err != nil {
				t.Fatal(err)
			}
			until(t, "refused, with the reason", func() bool {
				return c.count(a.Stats()) > 0 && strings.Contains(a.Peers()[0].Error, c.want)
			})
			if a.Connected(1) {
				t.Error("connected all the same")
			}
		})
	}
}

// Whoever refuses us tells by an alert; the error says what it means.
func TestRefusedNodeLearnsWhy(t *testing.T) {
	p := onNetwork(t)
	a := server(t, p, 0, 0b11)
	// b trusts an authority of its own; a trusts both, so that it is b who refuses.
	other := elsewhere(t, testCluster, time.Now(), time.Hour)
	other.at = p.at
	theirs, err := os.ReadFile(other.files(1).CA)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(p.files(0).CA)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.files(0).CA, append(ours, theirs...), 0o600); err != nil {
		t.Fatal(err)
	}
	b := server(t, other, 1, 0b11)
	if err := errors.Join(a.Start(), b.Start()); err != nil {
		t.Fatal(err)
	}
	until(t, "a says what to do", func() bool { return strings.Contains(a.Peers()[0].Error, "give all nodes the same tls.ca") })
}

// Messages in the name of another node end the connection.
func TestConnectionSpeaksForItsNodeOnly(t *testing.T) {
	p := onNetwork(t)
	b := server(t, p, 1, 0b111)
	b.Handle("echo", handleEcho)
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	c, r := raw(t, p, 1) // node 0
	fmt.Fprintf(c, "%s", frame(fmt.Sprintf(`{"version":%d,"cluster":%q,"from":2,"to":1,"kind":"echo","id":5,"body":{"Text":"x"}}`, version, testCluster)))
	j, err := readFrame(r)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := decode(j); err != nil || a.Code != "wrong_node" || !strings.Contains(a.Error, "over a connection of node 0") {
		t.Errorf("answer %s, %v", j, err)
	}
	if _, err := readFrame(r); err == nil {
		t.Error("connection goes on")
	}
	if b.Stats().WrongNode != 1 {
		t.Errorf("stats %+v", b.Stats())
	}
}

// Those who have not proved who they are are bounded in number and time, and
// hold nobody else up for longer than that.
func TestUnprovenConnectionsAreBounded(t *testing.T) {
	p := onNetwork(t)
	var log lines
	p.log = slog.NewTextHandler(&log, nil)
	b := server(t, p, 1, 0b11)
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	const tries = unprovenMax + 20
	var held []net.Conn
	for i := range tries {
		c := dialFrom(t, fmt.Sprintf("127.0.9.%d", 1+i/perAddressMin), p.at[1])
		defer c.Close()
		held = append(held, c)
	}
	until(t, "the rest cut", func() bool { return b.Stats().Crowded == tries-unprovenMax })
	if n := strings.Count(log.String(), "too many that have not proved"); n != 1 {
		t.Errorf("logged %d times, want once in a while", n)
	}
	for _, c := range held { // they say something that is no TLS
		c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	}
	until(t, "all refused", func() bool { return b.Stats().Handshakes == unprovenMax })
	if n := strings.Count(log.String(), "refused a connection"); n != 1 {
		t.Errorf("logged %d refusals, want once in a while", n)
	}
	a := server(t, p, 0, 0b11)
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "a node connects afterwards", func() bool { return a.Connected(1) })
}

func TestSilentConnectionIsCut(t *testing.T) {
	p := onNetwork(t)
	p.handshake = 50 * time.Millisecond
	b := server(t, p, 1, 0b11)
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.at[1])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("still open: %v", err)
	}
	until(t, "counted", func() bool { return b.Stats().Handshakes == 1 })
}

// A node that connects again and again, as one behind a broken link may, has
// its newest connections only.
func TestConnectionsOfOneNodeAreBounded(t *testing.T) {
	p := onNetwork(t)
	b := server(t, p, 1, 0b11)
	b.Handle("echo", handleEcho)
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	ask := func(c halfCloser) error {
		_, err := c.Write(frame(fmt.Sprintf(`{"version":%d,"cluster":%q,"from":0,"to":1,"kind":"echo","id":5,"body":{"Text":"x"}}`, version, testCluster)))
		return err
	}
	type end struct {
		c halfCloser
		r io.Reader
	}
	var ends []end
	for range perPeerMax + 3 {
		c, r := raw(t, p, 1)
		if err := ask(c); err != nil {
			t.Fatal(err)
		}
		if _, err := readFrame(r); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end{c, r})
	}
	for i, e := range ends {
		_, err := io.ReadFull(e.r, make([]byte, 1)) // the cut ones end, the others wait
		if cut := i < 3; cut == errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %d: %v", i, err)
		}
		if i == 2 {
			break
		}
	}
	last := ends[len(ends)-1]
	if err := ask(last.c); err != nil {
		t.Error(err)
	}
}

// Between hosts nothing proves a death: a closed connection is told, an exit
// never.
func TestNoExitOverTheNetwork(t *testing.T) {
	p := onNetwork(t)
	a, b := server(t, p, 0, 0b11), server(t, p, 1, 0b11)
	var mu sync.Mutex
	var kinds []EventKind
	a.OnEvent(func(e Event) { mu.Lock(); defer mu.Unlock(); kinds = append(kinds, e.Kind) })
	b.SetMember(proto.Member{Node: 1, Incarnation: 7})
	start(t, a, b)
	until(t, "known", func() bool { return a.Peers()[0].Incarnation == 7 })
	b.Close()
	has := func(k EventKind) bool {
		mu.Lock()
		defer mu.Unlock()
		for _, x := range kinds {
			if x == k {
				return true
			}
		}
		return false
	}
	until(t, "closed", func() bool { return has(PeerClosed) })
	if !has(PeerHello) || has(PeerExited) || a.Stats().Unwatched != 0 || a.Peers()[0].PID != 0 {
		t.Errorf("events %v, stats %+v", kinds, a.Stats())
	}
}

func TestBadNetworkConfig(t *testing.T) {
	p := onNetwork(t)
	for _, c := range []struct {
		change func(*Config)
		text   string
	}{
		{func(c *Config) { c.TCP.Listen = "7200" }, "want host:port"},
		{func(c *Config) { c.TCP.Peers = p.at[:1] }, "no address of node 1"},
		{func(c *Config) { c.TCP.Peers = []string{"", "x"} }, "of node 1: want host:port"},
		{func(c *Config) { c.RunDir = p.dir }, "either a run directory or TCP"},
		{func(c *Config) { c.TCP = nil }, "either a run directory or TCP"},
		{func(c *Config) { c.TCP.Files = p.files(1) }, "certificate of another node"},
		{func(c *Config) { c.ClusterID = "other" }, "certificate of another cluster"},
		{func(c *Config) { c.TCP.Files.Key = "" }, "no file named for the key"},
	} {
		cfg := p.config(0, 0b11)
		c.change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v; want %q", err, c.text)
		}
	}
	a := server(t, p, 0, 0b11)
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	if err := server(t, p, 0, 0b11).Start(); err == nil || !strings.Contains(err.Error(), "stop what listens there") {
		t.Errorf("address in use: %v", err)
	}
	if _, err := p.files(0).Load(identity.Name{Cluster: testCluster}); err != nil {
		t.Error(err)
	}
	if err := a.Call(context.Background(), 1, "echo", nil, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
}
