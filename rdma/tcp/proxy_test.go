package tcp

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands before an endpoint's data port and breaks connections where it
// is told to.
type proxy struct {
	listener net.Listener
	target   string
	done     sync.WaitGroup

	mu    sync.Mutex
	open  map[net.Conn]bool
	left  [2]int64 // bytes that pass to the target, and back, before all connections are cut; negative: no end
	flip  int64    // the byte to the target, from now on, whose lowest bit is changed; negative: none
	cuts  int
	due   int // cuts that are decided and not yet made
	flips int
	// gentle: what has passed when a connection is cut still arrives.
	gentle bool
	rate   int // bytes per second back to who connected; 0: as fast as it goes
}

func newProxy(t testing.TB, target string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, open: map[net.Conn]bool{}, left: [2]int64{-1, -1}, flip: -1}
	p.done.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.done.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		x, err := p.listener.Accept()
		if err != nil {
			return
		}
		y, err := net.Dial("tcp", p.target)
		if err != nil {
			x.Close()
			continue
		}
		p.mu.Lock()
		p.open[x], p.open[y] = true, true
		p.mu.Unlock()
		p.done.Go(func() { p.pass(x, y, 0) })
		p.done.Go(func() { p.pass(y, x, 1) })
	}
}

func (p *proxy) pass(from, to net.Conn, direction int) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		pass, cut := p.meter(buf[:n], direction)
		if direction == 1 && p.rate > 0 {
			time.Sleep(time.Duration(pass) * time.Second / time.Duration(p.rate))
		}
		if _, werr := to.Write(buf[:pass]); werr != nil {
			err = werr
		}
		if cut {
			p.cut()
			p.mu.Lock()
			p.due--
			p.mu.Unlock()
			return
		}
		if err != nil {
			if err != io.EOF {
				to.Close()
				from.Close()
			} else {
				to.(*net.TCPConn).CloseWrite()
			}
			p.mu.Lock()
			delete(p.open, from)
			p.mu.Unlock()
			return
		}
	}
}

func (p *proxy) meter(b []byte, direction int) (pass int, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if direction == 0 && p.flip >= 0 {
		if p.flip < int64(len(b)) {
			b[p.flip] ^= 1
			p.flip = -1
			p.flips++
		} else {
			p.flip -= int64(len(b))
		}
	}
	left := &p.left[direction]
	if *left < 0 || len(b) == 0 {
		return len(b), false
	}
	pass = int(min(int64(len(b)), *left))
	if *left -= int64(pass); *left > 0 {
		return pass, false
	}
	*left = -1
	p.cuts++
	p.due++
	return pass, true
}

// cutAfter cuts all connections when n more bytes have passed in a direction;
// 0 means with the next byte, which does not pass.
func (p *proxy) cutAfter(n int64, direction int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left[direction] = n
}

func (p *proxy) flipAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flip = n
}

func (p *proxy) counts() (cuts, flips int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts, p.flips
}

// cut ends all connections at once.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for x := range p.open {
		if !p.gentle {
			x.(*net.TCPConn).SetLinger(0)
		}
		x.Close()
		delete(p.open, x)
	}
}

// calm lets everything pass from now on; a cut that was decided has been made.
func (p *proxy) calm() {
	for {
		p.mu.Lock()
		p.left, p.flip = [2]int64{-1, -1}, -1
		due := p.due
		p.mu.Unlock()
		if due == 0 {
			return
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// proxied makes a network whose endpoints are reached through proxies, by node.
func proxied(t testing.TB, n *network) *[nodesMax]*proxy {
	var all [nodesMax]*proxy
	n.proxy = func(node int, address string) string {
		all[node] = newProxy(t, address)
		return all[node].listener.Addr().String()
	}
	return &all
}
