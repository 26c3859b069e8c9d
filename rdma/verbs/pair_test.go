//go:build verbs

package verbs

import (
	"encoding/binary"
	"testing"
	"time"

	"healkv/rdma"
)

// pair is a writer, node 0, and a reader, node 1, with numbered entries on
// their way. What is driven here is driven by one goroutine, as by a worker.
type pair struct {
	c         *cluster
	a, b      *Endpoint
	sent, got uint64
	compared  int // late writes that were looked for
}

const entryBytes = 128

func newPair(t testing.TB) *pair {
	c := newCluster(t)
	p := &pair{c: c, a: c.end(0, 1), b: c.end(1, 1)}
	p.attach(p.a, p.b)
	p.attach(p.b, p.a)
	p.a.Feed(1, 0)
	c.settle()
	return p
}

func (p *pair) prepare(e, to *Endpoint) *link {
	p.c.t.Helper()
	l, err := e.Prepare(to.self, to.cfg.Incarnation)
	if err != nil {
		p.c.t.Fatal(err)
	}
	return l.(*link)
}

func (p *pair) attach(e, to *Endpoint) { p.c.t.Helper(); e.Attach(p.prepare(e, to)) }

func (p *pair) detach(e, from *Endpoint) {
	p.c.t.Helper()
	if l := e.Detach(from.self); l == nil {
		p.c.t.Fatal("nothing to detach")
	} else if err := l.Close(); err != nil {
		p.c.t.Fatal(err)
	}
}

// send appends n entries and posts them.
func (p *pair) send(n int) {
	p.c.t.Helper()
	for range n {
		dst, _, ok := p.a.Out().Next(entryBytes)
		if !ok {
			break // full: what was sent before has to arrive first
		}
		for i := 0; i < entryBytes; i += 8 {
			binary.LittleEndian.PutUint64(dst[i:], p.sent)
		}
		p.sent++
	}
	p.a.Publish()
	p.a.WakePeers()
}

// write is a turn of the writer.
func (p *pair) write() {
	p.a.Poll()
	var m rdma.Marks
	p.a.Marks(1, &m)
	if m.Applied > p.a.Out().Reclaimed() && m.Applied <= p.a.Out().Tail() {
		p.a.Out().Reclaim(m.Applied)
	}
	p.a.WakePeers()
	p.a.cross()
}

// read is a turn of the reader: entries come in order, each once, whole.
func (p *pair) read() {
	p.b.Poll()
	if m := p.b.Mirror(0); m != nil {
		for {
			w, err := m.Window()
			if err != nil {
				p.c.t.Error(err)
				return
			}
			if w == nil {
				break
			}
			for i := 0; i < entryBytes; i += 8 {
				if x := binary.LittleEndian.Uint64(w[i:]); x != p.got {
					p.c.t.Errorf("word %d of entry %d is %d", i/8, p.got, x)
					return
				}
			}
			p.got++
			m.Advance(entryBytes)
		}
		p.b.PublishMarks(0, &rdma.Marks{Applied: m.Cursor()})
	}
	p.b.WakePeers()
	p.b.cross()
}

// until drives both until the condition holds; false after the deadline.
func (p *pair) until(what string, ok func() bool) bool {
	p.c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			p.c.t.Errorf("hangs: %s: %d entries of %d; writer %+v; reader %+v", what, p.got, p.sent, p.a.Counters(), p.b.Counters())
			return false
		}
		p.write()
		p.read()
	}
	return true
}

// arrived drives both until everything has arrived and is known to have.
func (p *pair) arrived() bool {
	p.c.t.Helper()
	return p.until("entries arrive", func() bool { return p.got == p.sent && p.a.Out().Reclaimed() == p.a.Out().Tail() })
}
