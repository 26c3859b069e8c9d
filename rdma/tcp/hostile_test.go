package tcp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"healkv/rdma"
)

// stranger connects to a data port, says something, and returns what it is told
// until it is sent away.
func stranger(t *testing.T, e *Endpoint, says []byte) []byte {
	t.Helper()
	x, err := net.Dial("tcp", e.gate.address)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	x.SetDeadline(time.Now().Add(patience))
	x.Write(says)
	heard, err := io.ReadAll(x)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("a stranger was kept")
	}
	return heard
}

// Whoever has no token, a wrong or a used one is counted and sent away.
func TestStrangers(t *testing.T) {
	n := newNetwork(t, nil)
	a, b := n.end(0, 1), n.end(1, 1)
	n.pair(a, b)
	used := append([]byte(helloMagic), a.peers[1].send.conn.token[:]...)
	answer, err := a.ask(context.Background(), 1, 1, forStream)
	if err != nil {
		t.Fatal(err)
	}
	good := append([]byte(helloMagic), answer.token[:]...)
	wrong := bytes.Clone(good)
	wrong[len(wrong)-1] ^= 1
	magic := bytes.Clone(good)
	magic[0] ^= 1
	for name, says := range map[string][]byte{"a used token": used, "a wrong token": wrong, "HTTP": []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\nxxxxxxxxxxxxxxxxxxxx"),
		"zeros": make([]byte, 4096), "no magic": magic} {
		before := b.gate.refused.Load()
		if heard := stranger(t, b, says); len(heard) != 0 {
			t.Errorf("%s: told %q", name, heard)
		}
		awaitCount(t, name, func() bool { return b.gate.refused.Load() == before+1 })
	}
	// The good one was used up by the one without magic; a new one is too old.
	answer, err = a.ask(context.Background(), 1, 1, forStream)
	if err != nil {
		t.Fatal(err)
	}
	b.gate.mu.Lock()
	for i := range b.gate.permits[0] {
		b.gate.permits[0][i].until = time.Now().Add(-time.Second)
	}
	b.gate.mu.Unlock()
	if heard := stranger(t, b, append([]byte(helloMagic), answer.token[:]...)); len(heard) != 0 {
		t.Errorf("a token whose time is over: told %q", heard)
	}
	// More than there is room for at a time, and silent: all are sent away, and
	// who has a token comes in afterwards.
	var all []net.Conn
	for range handshakesMax + 20 {
		x, err := net.Dial("tcp", b.gate.address)
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		all = append(all, x)
	}
	for _, x := range all {
		x.SetDeadline(time.Now().Add(patience))
		if m, err := x.Read(make([]byte, 1)); m != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a silent stranger was kept: %d, %v", m, err)
		}
	}
	awaitCount(t, "silent strangers", func() bool {
		b.gate.mu.Lock()
		defer b.gate.mu.Unlock()
		return b.gate.shaking == 0
	})
	l, err := a.Prepare(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if s := b.Stats(); s.Refused < handshakesMax+20+6 {
		t.Errorf("%d refused", s.Refused)
	}
	// The link's own connection goes when the gate has seen it closed.
	awaitCount(t, "connections kept at the gate", func() bool { return b.gate.count() == 0 })
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open)
}

func awaitCount(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Since(began) > patience {
			t.Fatalf("%s: not counted", what)
		}
	}
}

// With TLS nobody without a certificate of the cluster gets as far as showing a
// token, and nobody is talked to who has none.
func TestTLSBothEnds(t *testing.T) {
	n := newNetwork(t, mutual())
	a, b := n.end(0, 1), n.end(1, 1)
	hello := func(c *tls.Config) error {
		answer, err := a.ask(context.Background(), 1, 1, forStream)
		if err != nil {
			t.Fatal(err)
		}
		x, err := net.Dial("tcp", answer.address)
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		x.SetDeadline(time.Now().Add(patience))
		y := net.Conn(x)
		if c != nil {
			y = tls.Client(x, c)
		}
		if _, err := y.Write(append([]byte(helloMagic), answer.token[:]...)); err != nil {
			return err
		}
		_, err = io.ReadFull(y, make([]byte, len(admitted)))
		return err
	}
	good := mutual().Clone()
	good.ServerName = "127.0.0.1"
	if err := hello(good); err != nil {
		t.Errorf("a good certificate: %v", err)
	}
	none := good.Clone()
	none.Certificates = nil
	other := authority()
	foreign := good.Clone()
	foreign.Certificates = other.Certificates
	old := good.Clone()
	old.MaxVersion = tls.VersionTLS12
	for name, c := range map[string]*tls.Config{"plain": nil, "no certificate": none, "another authority's": foreign, "TLS 1.2": old} {
		if err := hello(c); err == nil {
			t.Errorf("%s: admitted", name)
		}
	}
	// The other way round: a node whose certificate is not the cluster's.
	m := &network{t: t, hub: n.hub, tls: other, ring: n.ring}
	m.end(2, 1)
	if _, err := a.Prepare(2, 1); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("talks to a node of another authority: %v", err)
	}
	n.pair(a, b)
}

// send writes raw bytes on a's connection to b.
func send(a *Endpoint, peer int, b []byte) {
	a.vector.reset()
	a.vector.add(b)
	a.peers[peer].send.conn.write(&a.vector)
}

// Frames that cannot be: each is counted, costs the connection, and after some
// in a row nothing is read of the peer any more. Nobody else is disturbed, and
// what was taken before stays.
func TestMalformedFrames(t *testing.T) {
	const size = 64 << 10
	cases := map[string]func(f *frame, b []byte) []byte{
		"garbage":              func(_ *frame, b []byte) []byte { return bytes.Repeat([]byte{0xA5}, len(b)) },
		"kind":                 func(f *frame, b []byte) []byte { f.kind = 9; return nil },
		"position back":        func(f *frame, b []byte) []byte { f.pos -= 16; return nil },
		"position ahead":       func(f *frame, b []byte) []byte { f.pos += 16; return nil },
		"longer than the ring": func(f *frame, b []byte) []byte { f.length = size + 16; return nil },
		"as long as it gets":   func(f *frame, b []byte) []byte { f.length = 1<<32 - 16; return nil },
		"not aligned":          func(f *frame, b []byte) []byte { f.length = 60; return nil },
		"wrong sum":            func(f *frame, b []byte) []byte { f.sum++; return nil },
		"tag back":             func(f *frame, b []byte) []byte { f.tag = 0; return nil },
		"another feed":         func(f *frame, b []byte) []byte { f.feed += 16; return nil },
		"fed no more":          func(f *frame, b []byte) []byte { f.feed = 0; return nil },
		"new, fed unaligned":   func(f *frame, b []byte) []byte { f.tag, f.feed = f.tag+1, 9; return nil },
		"new, without feed":    func(f *frame, b []byte) []byte { f.tag, f.feed = f.tag+1, 0; return nil },
		"detach with bytes":    func(f *frame, b []byte) []byte { f.kind = frameDetach; return nil },
		"what a receiver says": func(f *frame, b []byte) []byte { f.kind = frameResume; return nil },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, nil)
			a, b, c := n.end(0, 1), n.end(1, 1), n.end(2, 1)
			n.pair(a, b)
			n.pair(c, b)
			for _, e := range []*Endpoint{a, c} {
				e.Feed(1, 0)
				put(e, 0, 64)
				e.Publish()
			}
			n.settle()
			if take(t, b, 0, 0) != 1 || take(t, b, 2, 0) != 1 {
				t.Fatal("nothing came")
			}
			for try := 1; try <= faultsMax; try++ {
				payload := make([]byte, 64)
				f := frame{kind: frameBurst, length: 64, sum: sumOf(payload, nil), tag: a.peers[1].send.tag, pos: 64, feed: 1}
				var h [frameBytes]byte
				raw := spoil(&f, make([]byte, frameBytes+64))
				if raw == nil {
					f.encode(&h)
					raw = append(h[:], payload...)
				}
				awaitCount(t, "a connection to send on", func() bool {
					a.arrive()
					return a.peers[1].send.conn != nil
				})
				send(a, 1, raw)
				awaitCount(t, name, func() bool { b.Poll(); return b.Stats().Corrupt == uint64(try) })
				if b.peers[0].from != nil {
					t.Fatal("the connection was not cut")
				}
			}
			if b.Malformed() != 1<<0 || b.Mirror(0) != nil {
				t.Errorf("after %d in a row: malformed %#x", faultsMax, b.Malformed())
			}
			put(c, 1, 64)
			c.Publish()
			c.WakePeers()
			awaitCount(t, "the other peer", func() bool { return take(t, b, 2, 1) == 2 })
			if l := b.Detach(0); l == nil || l.Close() != nil || b.Malformed() != 0 {
				t.Error("not detached")
			}
		})
	}
	t.Logf("%d kinds of frames, %d times each", len(cases), faultsMax)
}

// A receiver that names a position out of the ring gets nothing more; the
// producer notes it and goes on with the others.
func TestMalformedPositions(t *testing.T) {
	for name, f := range map[string]frame{
		"reclaimed":      {kind: frameResume, tag: 1, pos: 1},
		"ahead":          {kind: frameResume, tag: 1, pos: 1 + 4096},
		"not aligned":    {kind: frameResume, tag: 1, pos: 1 + 136},
		"at the end":     {kind: frameResume, tag: 1, pos: 1<<64 - 15},
		"another kind":   {kind: frameBurst, tag: 1, pos: 1 + 128},
		"with something": {kind: frameResume, tag: 1, pos: 1 + 128, length: 16},
	} {
		n := newNetwork(t, nil)
		a, b := n.end(0, 1), n.end(1, 1)
		n.pair(a, b)
		a.Feed(1, 0)
		for i := range uint64(3) {
			put(a, i, 64)
		}
		a.Publish()
		n.settle()
		a.Out().Reclaim(64)
		// The connection breaks; what b says on the next one is ours.
		l := a.peers[1]
		l.send.wait, l.send.got = true, 0
		f.encode(&l.send.reply)
		before := a.Stats()
		b.vector.reset()
		b.vector.add(l.send.reply[:])
		b.peers[0].from.write(&b.vector)
		awaitCount(t, name, func() bool {
			a.arrive()
			s := a.Stats()
			return s.Lost+s.Corrupt == before.Lost+before.Corrupt+1
		})
		if a.Broken()&(1<<1) == 0 && a.Stats().Lost > 0 {
			t.Errorf("%s: a stream that cannot go on is not shown", name)
		}
	}
}

func TestMistakesPanic(t *testing.T) {
	n := newNetwork(t, nil)
	a, b, c := n.end(0, 1), n.end(1, 1), n.end(2, 1)
	link := func(e, p *Endpoint) rdma.Link {
		l, err := e.Prepare(p.self, 1)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	n.pair(a, b)
	attached := link(a, c)
	a.Attach(attached)
	closed := link(a, c)
	closed.Close()
	foreign := link(b, c)
	defer foreign.Close()
	if err := attached.Close(); err == nil {
		t.Error("an attached link was closed")
	}
	a.Feed(1, 0)
	for name, f := range map[string]func(){
		"another endpoint's link": func() { a.Attach(foreign) },
		"a closed link":           func() { a.Attach(closed) },
		"an attached link":        func() { a.Attach(attached) },
		"feed twice":              func() { a.Feed(1, 0) },
		"feed beyond the tail":    func() { a.Feed(2, 16) },
		"feed not aligned":        func() { a.Feed(2, 8) },
		"feed of nobody":          func() { c.Feed(0, 0) },
		"sleep unprepared":        func() { a.Sleep(0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// FuzzInbound: whatever a peer sends, in whatever pieces, nothing but errFrame
// happens, and the mirror stays within what was published. The frame's sums are
// made right where the fuzzer says so, to get behind them.
func FuzzInbound(f *testing.F) {
	seed := func(frames ...frame) {
		var b []byte
		for _, x := range frames {
			payload := make([]byte, min(x.length, 256))
			x.sum = sumOf(payload, nil)
			var h [frameBytes]byte
			x.encode(&h)
			b = append(append(b, h[:]...), payload...)
		}
		f.Add(b, uint16(7), true)
		f.Add(b, uint16(1), false)
	}
	seed(frame{kind: frameBurst, tag: 1}, frame{kind: frameBurst, tag: 1, feed: 1, length: 64}, frame{kind: frameDetach, tag: 1})
	seed(frame{kind: frameBurst, tag: 1, feed: 33, pos: 32, length: 128}, frame{kind: frameBurst, tag: 2, feed: 17, pos: 16, length: 16})
	f.Fuzz(func(t *testing.T, b []byte, step uint16, mend bool) {
		const size = 4096
		in := inbound{buf: make([]byte, size)}
		rng := rand.New(rand.NewPCG(uint64(step), 1))
		last := uint64(0)
		for len(b) > 0 {
			if mend && in.left == 0 && in.n == 0 && len(b) >= frameBytes {
				var x frame
				h := (*[frameBytes]byte)(b)
				x.decode(h) // false leaves zeros: a frame nevertheless
				if n := int(x.length); n <= len(b)-frameBytes {
					x.sum = sumOf(b[frameBytes:frameBytes+n], nil)
				}
				x.kind = frameKind(1 + b[4]%4)
				x.encode(h)
			}
			n := min(len(b), 1+rng.IntN(int(step)+1))
			if mend && in.left == 0 && in.n == 0 {
				n = min(len(b), frameBytes)
			}
			err := in.take(b[:n])
			b = b[n:]
			if err != nil {
				if err != errFrame {
					t.Fatal(err)
				}
				return
			}
			if in.room() > size || in.left > size || in.n >= frameBytes {
				t.Fatalf("%+v", in)
			}
			if !in.look() {
				t.Fatal("a limit was refused that had passed the checks")
			}
			if m := in.mirror; m != nil {
				if m.Limit() != in.limit || in.limit > in.have || m.Limit()-m.Cursor() > size || m.Limit()%16 != 0 {
					t.Fatalf("mirror %d to %d, limit %d, have %d", m.Cursor(), m.Limit(), in.limit, in.have)
				}
				if w, err := m.Window(); err == nil && len(w) >= 16 && rng.IntN(2) == 0 {
					m.Advance(16)
				}
				last = m.Cursor()
			}
			if tag, pos := in.position(); in.feed != 0 && (tag != in.tag || pos != in.have+1) {
				t.Fatalf("names %d of %d", pos, tag)
			}
		}
		_ = last
	})
}

// FuzzParameters: what comes over the exchange is checked, though its sender is
// known.
func FuzzParameters(f *testing.F) {
	q := question{purpose: forStream, self: 1, peer: 2, ring: 4096}
	a := answer{verdict: verdictYes, self: 1, ring: 4096, size: 7, address: "127.0.0.1:1"}
	f.Add(q.encode())
	f.Add(a.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		var q question
		if err := q.decode(b); err == nil && !bytes.Equal(q.encode(), b) {
			t.Fatalf("%+v", q)
		}
		var a answer
		if err := a.decode(b); err == nil && a.verdict == verdictYes && (checkRingBytes(int64(a.ring)) != nil || a.size < 0) {
			t.Fatalf("%+v", a)
		}
	})
}
