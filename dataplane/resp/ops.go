package resp

import "healkv/dataplane"

// cmdOp is one op of a command with its memory. It belongs to a loop and is
// in exactly one place: on the loop's free list, in flight in its session, or
// held in the chain of a reply whose values it has. Bytes an op refers to are
// its own buffers and are not touched while it is in flight.
type cmdOp struct {
	op     dataplane.Op
	conn   *conn
	next   *cmdOp // free list, or chain of a reply
	slot   uint32 // its reply, as a position of the ring that never wraps back
	flying bool
	held   int    // its part of conn.held
	in     []byte // key, and behind it the value of a Put
	val    []byte // what a Get appends to
}

// opPool is a loop's ops.
type opPool struct {
	ops  []*cmdOp // all of them; Op.Tag is the index
	free *cmdOp
	kept int // capacity of all ops' buffers
}

// take returns an op for the reply of c at slot.
func (p *opPool) take(c *conn, kind dataplane.OpKind, slot uint32) *cmdOp {
	if p.free == nil {
		p.more()
	}
	o := p.free
	p.free, o.next = o.next, nil
	o.conn = c
	o.slot = slot
	o.op.Kind = kind
	o.op.Scope = 0
	o.op.Deadline = 0 // Submit fills it in, so an old one would still stand there
	o.op.Err = nil
	o.op.Existed = false
	o.op.Key = nil
	o.op.Value = nil
	return o
}

func (p *opPool) more() {
	n := max(8, min(len(p.ops), 256))
	block := make([]cmdOp, n)
	for i := range block {
		o := &block[i]
		o.op.Tag = uint64(len(p.ops))
		p.ops = append(p.ops, o)
		o.next = p.free
		p.free = o
	}
}

// load copies key and value into the op: the read buffer is free for new input
// at once, however long the op is under way.
func (p *opPool) load(o *cmdOp, key, value []byte) {
	p.kept -= cap(o.in)
	o.in = append(append(o.in[:0], key...), value...)
	p.kept += cap(o.in)
	o.op.Key = o.in[:len(key):len(key)]
	switch o.op.Kind {
	case dataplane.OpPut:
		o.op.Value = o.in[len(key):]
	case dataplane.OpGet:
		o.op.Value = o.val[:0]
	}
	o.hold(len(o.in))
}

func (o *cmdOp) hold(n int) {
	o.held += n
	o.conn.held += n
}

// keepValue makes v, to which o's buffer may have grown, that buffer.
func (p *opPool) keepValue(o *cmdOp, v []byte) {
	p.kept += cap(v) - cap(o.val)
	o.val = v
}

// release puts o on the free list and gives back what it need not keep.
func (p *opPool) release(o *cmdOp) {
	o.conn.held -= o.held
	o.held = 0
	o.conn = nil
	o.op.Key, o.op.Value = nil, nil
	if p.kept > opsBytesKept && cap(o.in)+cap(o.val) > opBytesKept {
		p.trim(o)
	}
	o.next = p.free
	p.free = o
}

func (p *opPool) trim(o *cmdOp) {
	p.kept -= cap(o.in) + cap(o.val)
	o.in, o.val = nil, nil
}

// shrink gives back large buffers. Nothing is in flight or held.
func (p *opPool) shrink() {
	if p.kept <= opsBytesIdle {
		return
	}
	for o := p.free; o != nil; o = o.next {
		p.trim(o)
	}
}
