package control

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// slowly listens at an address of its own and passes on to another one what
// comes, each piece that much later, in both directions: so a slow machine
// looks from outside.
func slowly(t *testing.T, to string, late time.Duration) (at string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	pass := func(from, to net.Conn) {
		defer from.Close()
		defer to.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := from.Read(b)
			select {
			case <-time.After(late):
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
	}
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			stop := context.AfterFunc(ctx, func() { in.Close(); out.Close() })
			wg.Go(func() { pass(in, out); stop() })
			wg.Go(func() { pass(out, in) })
		}
	})
	return l.Addr().String()
}

// Machines that need longer for a handshake than the limit never connect, and
// say what the limit is; the same machines with a longer limit do.
func TestHandshakesOfSlowMachines(t *testing.T) {
	const late = 150 * time.Millisecond // twice or more in a handshake
	for _, c := range []struct {
		name  string
		limit time.Duration
		in    bool
	}{
		{"too little time", 50 * time.Millisecond, false},
		{"enough time", 8 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := onNetwork(t)
			p.handshake = c.limit
			b := server(t, p, 1, 0b11)
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
			cfg := p.config(0, 0b11)
			cfg.TCP.Peers = []string{p.at[0], slowly(t, p.at[1], late)}
			a, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { a.Close() })
			if err := a.Start(); err != nil {
				t.Fatal(err)
			}
			if c.in {
				until(t, "connected", func() bool { return a.Connected(1) })
				if n := a.Stats().Handshakes + b.Stats().Handshakes; n != 0 {
					t.Errorf("%d handshakes failed on the way", n)
				}
				return
			}
			until(t, "several tries", func() bool { return a.Stats().Handshakes >= 3 && b.Stats().Handshakes >= 3 })
			p0 := a.Peers()[0]
			if p0.Connected || !strings.Contains(p0.Error, c.limit.String()) || !strings.Contains(p0.Error, "a longer lease") {
				t.Errorf("connected %v, %q", p0.Connected, p0.Error)
			}
			if _, err := a.wire.dial(t.Context(), 1); !errors.Is(err, ErrHandshake) {
				t.Errorf("%v, want %v", err, ErrHandshake)
			}
		})
	}
	p := onNetwork(t)
	cfg := p.config(0, 0b11)
	cfg.Handshake = -time.Second
	if _, err := New(cfg); err == nil {
		t.Error("a handshake limit below zero is accepted")
	}
}

// A try that failed at once is repeated soon, one that took long later, none
// exactly when all others are.
func TestPauses(t *testing.T) {
	for _, c := range []struct{ wait, took, least, most time.Duration }{
		{dialWaitMin, 0, dialWaitMin / 2, dialWaitMin * 3 / 2},
		{dialWaitMax, time.Millisecond, dialWaitMax / 2, dialWaitMax * 3 / 2},
		{dialWaitMin, 400 * time.Millisecond, 200 * time.Millisecond, 600 * time.Millisecond},
		{dialWaitMin, time.Minute, dialWaitBusy / 2, dialWaitBusy * 3 / 2},
	} {
		least, most := pause(c.wait, c.took, 0), pause(c.wait, c.took, 1)
		if least != c.least || most != c.most {
			t.Errorf("after a try of %v, waiting %v: %v to %v, want %v to %v", c.took, c.wait, least, most, c.least, c.most)
		}
	}
}
