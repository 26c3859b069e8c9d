package sim

import "healkv/rdma"

// pipe is what one endpoint sends to another: two lanes of messages under way,
// and what has arrived. The lanes are independent; each keeps its order.
//
// A tag names an attachment of the sender: it is on every message, and what
// carries another tag than the one that arrived last is not of that
// attachment.
type pipe struct {
	from, to *Endpoint

	stream     []message
	marks      []marksMessage
	lastStream uint64 // due time of the newest, so that none overtakes
	lastMarks  uint64

	// What has arrived.
	tag   uint64 // 0: not attached
	feed  uint64 // 1 + position; 0: not fed
	limit uint64 // tail
	have  uint64 // bytes below are in buf
	line  rdma.Marks
	buf   []byte // the reader's copy of the ring
}

type kind uint8

const (
	kindAttach kind = iota
	kindDetach
	kindFeed
	kindTail
	kindWake
)

type message struct {
	due  uint64
	kind kind
	tag  uint64
	pos  uint64 // of feed and tail
}

type marksMessage struct {
	due  uint64
	tag  uint64
	line rdma.Marks
	torn bool // already seen in part
}

func (p *pipe) pending() bool {
	return len(p.stream) > 0 || len(p.marks) > 0
}

func (p *pipe) send(n *Net, k kind, tag, pos uint64) {
	if p.to.dead || p.to.closed {
		return
	}
	due := n.due(p.from, p.to, p.lastStream)
	if k == kindWake {
		// A wake-up never overtakes what it wakes for.
		due = max(p.lastStream, p.lastMarks, n.now+1)
	}
	p.lastStream = due
	n.soon = min(n.soon, due)
	p.stream = append(p.stream, message{due, k, tag, pos})
}

func (p *pipe) sendMarks(n *Net, tag uint64, m *rdma.Marks) {
	if p.to.dead || p.to.closed {
		return
	}
	p.lastMarks = n.due(p.from, p.to, p.lastMarks)
	n.soon = min(n.soon, p.lastMarks)
	p.marks = append(p.marks, marksMessage{due: p.lastMarks, tag: tag, line: *m})
}

// loseSome drops the ends of both lanes.
func (p *pipe) loseSome(n *Net) {
	if len(p.stream) > 0 {
		keep := n.rng.IntN(len(p.stream))
		n.stats.Lost += uint64(len(p.stream) - keep)
		p.stream = p.stream[:keep]
	}
	if len(p.marks) > 0 {
		keep := n.rng.IntN(len(p.marks))
		n.stats.Lost += uint64(len(p.marks) - keep)
		p.marks = p.marks[:keep]
	}
}

// lose drops everything under way.
func (p *pipe) lose(n *Net) {
	n.stats.Lost += uint64(len(p.stream) + len(p.marks))
	p.stream, p.marks = p.stream[:0], p.marks[:0]
}

func (p *pipe) deliver(n *Net) {
	i := 0
	for i < len(p.stream) && p.stream[i].due <= n.now {
		// Watermarks due before the wake-up have arrived when it rings.
		if p.stream[i].kind == kindWake {
			p.deliverMarks(n)
			if len(p.marks) > 0 && p.marks[0].torn { // written to the end before it rings
				p.stream[i].due = p.marks[0].due
				break
			}
		}
		p.arrive(n, &p.stream[i])
		i++
	}
	p.stream = append(p.stream[:0], p.stream[i:]...)
	p.deliverMarks(n)
}

func (p *pipe) deliverMarks(n *Net) {
	i := 0
	for i < len(p.marks) && p.marks[i].due <= n.now {
		m := &p.marks[i]
		if m.tag > p.tag && p.attachUnderWay(m.tag) {
			break // it overtook its attachment
		}
		if m.tag == p.tag {
			if n.o.TearMarks && !m.torn && n.rng.IntN(4) == 0 {
				m.torn = true
				m.due = n.now + 1 + n.rng.Uint64N(3)
				p.lastMarks = max(p.lastMarks, m.due)
				tear(&p.line, &m.line, n.rng.Uint32())
				n.stats.Torn++
				break
			}
			p.line = m.line
			n.stats.Deliveries++
		} else {
			n.stats.Lost++
		}
		i++
	}
	p.marks = append(p.marks[:0], p.marks[i:]...)
}

func (p *pipe) attachUnderWay(tag uint64) bool {
	for i := range p.stream {
		if p.stream[i].kind == kindAttach && p.stream[i].tag == tag {
			return true
		}
	}
	return false
}

// tear shows some of the new numbers: Epoch is stored first and loaded last,
// so whoever sees any new number sees the new Epoch.
func tear(line, next *rdma.Marks, which uint32) {
	line.Epoch = next.Epoch
	for i, f := range [...]struct{ old, new *uint64 }{
		{&line.Visible, &next.Visible}, {&line.Stable, &next.Stable},
		{&line.Applied, &next.Applied}, {&line.Durable, &next.Durable},
		{&line.Room, &next.Room}, {&line.Settled, &next.Settled}, {&line.Flushed, &next.Flushed},
	} {
		if which>>i&1 == 1 {
			*f.old = *f.new
		}
	}
}

func (p *pipe) arrive(n *Net, m *message) {
	stale := m.tag != p.tag
	if m.kind == kindDetach { // its attachment may have been lost before it
		stale = m.tag < p.tag
	}
	if stale && m.kind != kindAttach && m.kind != kindWake {
		n.stats.Lost++
		return
	}
	n.stats.Deliveries++
	switch m.kind {
	case kindAttach:
		p.tag, p.feed, p.limit, p.have, p.line = m.tag, 0, m.pos, 0, rdma.Marks{}
	case kindDetach:
		p.tag = 0
	case kindFeed:
		p.feed, p.have = m.pos+1, m.pos
		if p.buf == nil {
			p.buf = make([]byte, p.from.cfg.RingBytes)
		}
		p.take(n, max(p.limit, p.have))
	case kindTail:
		p.limit = m.pos
		if p.feed != 0 {
			p.take(n, m.pos)
		}
	case kindWake:
		p.to.Wake()
	}
}

// overwritten reports whether the producer, while it has the reader attached,
// has given up bytes at or above pos.
func (p *pipe) overwritten(pos uint64) bool {
	if p.from.dead || p.from.closed {
		return false
	}
	l := p.from.peers[p.to.cfg.Node]
	return l != nil && l.target == p.to && l.outTag == p.tag && p.from.ring.Reclaimed() > pos
}

func (n *Net) damaged(p *pipe) {
	if n.Damaged != nil {
		n.Damaged(p.from.cfg.Node, p.to.cfg.Node)
	}
}

// take copies what the reader does not have yet through tail, from the
// producer's ring as it is now.
func (p *pipe) take(n *Net, tail uint64) {
	if tail <= p.have {
		return
	}
	out, size := p.from.ring, uint64(p.from.cfg.RingBytes)
	if p.overwritten(p.have) {
		n.stats.EarlyReclaims++
	}
	from := p.have
	p.have = tail
	if tail-from > size { // overrun: the reader will refuse the limit
		from = tail - size
	}
	end := tail
	bad := &n.bad[p.from.cfg.Node][p.to.cfg.Node]
	if bad.truncate > 0 {
		bad.truncate--
		n.damaged(p)
		n.stats.Truncated++
		end -= 1 + n.rng.Uint64N(min(tail-from, 64))
	}
	a, b := out.Bytes(from, end)
	at := from & (size - 1)
	copy(p.buf[at:], a)
	copy(p.buf, b)
	n.stats.Bytes += end - from
	if bad.corrupt > 0 && end > from {
		bad.corrupt--
		n.damaged(p)
		n.stats.Corrupted++
		bit := n.rng.Uint64N((end - from) * 8)
		p.buf[(from+bit/8)&(size-1)] ^= 1 << (bit % 8)
	}
}
