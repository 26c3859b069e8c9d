package resp

import (
	"healkv/dataplane"
)

// workset is what a connection needs while it has something to do. Idle
// connections have none; see the package doc.
//
// Invariants: an op is in exactly one place: on the free list, in flight in
// the session, or held in the chain of a reply. Bytes an op refers to are
// its own buffers and are not touched while it is in flight.
type workset struct {
	session Session // opened with the first op, kept with the workset

	p  parser
	in []byte // input; [r,w) is not parsed yet. All of it is usable: len == cap
	r,
	w int

	out []byte // replies not sent yet

	ops  []*cmdOp // all of them; Op.Tag is the index
	free *cmdOp
	done [pollEvery]*dataplane.Op

	replies []reply // ring, power of two long; [head,tail) are waiting
	head,
	tail uint32

	inFlight int // submitted, not yet polled
	held     int // bytes of values in flight or waiting in chains
	kept     int // capacity of all ops' buffers
}

// cmdOp is one op of a command with its memory.
type cmdOp struct {
	op   dataplane.Op
	next *cmdOp // free list, or chain of a reply
	slot uint32 // its reply, as a position of the ring that never wraps back
	held int    // its part of workset.held
	in   []byte // key, and behind it the value of a Put
	val  []byte // what a Get appends to
}

type replyKind uint8

const (
	replyLiteral replyKind = iota + 1
	replyGet
	replyStrlen
	replySet
	replyDel
	replyExists
	replyMGet
	replyMSet
	replyPersist
)

// reply is a command's place in the order of answers.
type reply struct {
	kind    replyKind
	lit     literal
	pending int32 // ops not done yet, submitted or not
	total   int32
	ok      int32 // ops without an error
	count   int32 // keys that existed
	bytes   int   // of the values read
	unsafe  bool  // some failed op may have been applied
	err     error // the first
	first,  // chain of ops whose values the reply shows, in the order of the command
	last *cmdOp
}

const (
	// Buffers of ops, in bytes. While a connection is at work its ops keep
	// theirs as long as all together stay below runBytesKept, and the small
	// ones always: a lone client of large values allocates nothing either.
	opBytesKept    = 4 << 10
	runBytesKept   = 4 << 20
	shelfBytesKept = 512 << 10 // and of a workset nobody uses
	opsKept        = opsWindow
	repliesMin     = 16
)

func newWorkset() *workset {
	return &workset{
		in:      make([]byte, inBytes),
		out:     make([]byte, 0, inBytes),
		replies: make([]reply, repliesMin),
	}
}

func (ws *workset) queued() int { return int(ws.tail - ws.head) }

func (ws *workset) slot(pos uint32) *reply { return &ws.replies[pos&uint32(len(ws.replies)-1)] }

// push adds a reply at the end of the queue. The caller checked the limit.
func (ws *workset) push(kind replyKind, ops int) *reply {
	if ws.queued() == len(ws.replies) {
		bigger := make([]reply, 2*len(ws.replies))
		for pos := ws.head; pos != ws.tail; pos++ {
			bigger[pos&uint32(len(bigger)-1)] = *ws.slot(pos)
		}
		ws.replies = bigger
	}
	r := ws.slot(ws.tail)
	ws.tail++
	*r = reply{kind: kind, pending: int32(ops), total: int32(ops)}
	return r
}

// takeOp returns an op that belongs to the newest reply.
func (ws *workset) takeOp(kind dataplane.OpKind) *cmdOp {
	if ws.free == nil {
		ws.moreOps()
	}
	o := ws.free
	ws.free, o.next = o.next, nil
	o.slot = ws.tail - 1
	o.op.Kind = kind
	o.op.Scope = 0
	o.op.Deadline = 0 // Submit fills it in, so an old one would still stand there
	o.op.Err = nil
	o.op.Existed = false
	o.op.Key = nil
	o.op.Value = nil
	return o
}

func (ws *workset) moreOps() {
	n := max(8, min(len(ws.ops), 256))
	block := make([]cmdOp, n)
	for i := range block {
		o := &block[i]
		o.op.Tag = uint64(len(ws.ops))
		ws.ops = append(ws.ops, o)
		o.next = ws.free
		ws.free = o
	}
}

// load copies key and value into the op: the read buffer is free for new input
// at once, however long the op is under way.
func (o *cmdOp) load(ws *workset, key, value []byte) {
	ws.kept -= cap(o.in)
	o.in = append(append(o.in[:0], key...), value...)
	ws.kept += cap(o.in)
	o.op.Key = o.in[:len(key):len(key)]
	switch o.op.Kind {
	case dataplane.OpPut:
		o.op.Value = o.in[len(key):]
	case dataplane.OpGet:
		o.op.Value = o.val[:0]
	}
	o.hold(ws, len(o.in))
}

func (o *cmdOp) hold(ws *workset, n int) {
	o.held += n
	ws.held += n
}

// finish books a completed op to its reply.
func (ws *workset) finish(o *cmdOp, err error, replyBytesMax int) {
	r := ws.slot(o.slot)
	r.pending--
	switch {
	case err == nil:
		r.ok++
	case err == dataplane.ErrNotFound:
		r.ok++
	default:
		if r.err == nil {
			r.err = err
		}
		if !notApplied(err) {
			r.unsafe = true
		}
	}
	if o.op.Kind == dataplane.OpGet {
		// The session may have grown the buffer: it stays with the op.
		ws.kept += cap(o.op.Value) - cap(o.val)
		o.val = o.op.Value
	}
	switch r.kind {
	case replyGet, replyStrlen, replyMGet:
		if err == nil {
			r.bytes += len(o.val)
			if r.kind == replyMGet && r.bytes > replyBytesMax {
				o.val = o.val[:0] // the reply is an error already: do not pile up values
				ws.trim(o)
			} else {
				o.hold(ws, len(o.val))
			}
		}
		o.op.Err = err
		return // stays in the reply's chain
	case replyDel:
		if err == nil && o.op.Existed {
			r.count++
		}
	case replyExists:
		if err == nil {
			r.count++
		}
	}
	ws.release(o)
}

// chain appends o to the ops whose values r shows.
func (r *reply) chain(o *cmdOp) {
	if r.last == nil {
		r.first = o
	} else {
		r.last.next = o
	}
	r.last = o
}

// release puts o on the free list and gives back what it need not keep.
func (ws *workset) release(o *cmdOp) {
	ws.held -= o.held
	o.held = 0
	o.op.Key, o.op.Value = nil, nil
	if ws.kept > runBytesKept && cap(o.in)+cap(o.val) > opBytesKept {
		ws.trim(o)
	}
	o.next = ws.free
	ws.free = o
}

func (ws *workset) trim(o *cmdOp) {
	ws.kept -= cap(o.in) + cap(o.val)
	o.in, o.val = nil, nil
}

// pop drops the oldest reply and frees its ops.
func (ws *workset) pop() {
	r := ws.slot(ws.head)
	for o := r.first; o != nil; {
		next := o.next
		ws.release(o)
		o = next
	}
	r.first, r.last, r.err = nil, nil, nil
	ws.head++
}

// shrink prepares an unused workset for the shelf: what one connection needed
// at its worst is not kept for the next one.
func (ws *workset) shrink() {
	assert(ws.inFlight == 0 && ws.queued() == 0, "a workset goes back with ops under way")
	ws.r, ws.w = 0, 0
	ws.p.reset()
	if cap(ws.p.args) > 1024 {
		ws.p.args = nil
	}
	if len(ws.in) > inBytesKept {
		ws.in = make([]byte, inBytes)
	}
	ws.out = ws.out[:0]
	if cap(ws.out) > 2*outBytes {
		ws.out = make([]byte, 0, inBytes)
	}
	if len(ws.ops) > opsKept {
		ws.ops, ws.free, ws.kept = nil, nil, 0
	} else if ws.kept > shelfBytesKept {
		for _, o := range ws.ops {
			ws.trim(o)
		}
	}
}

// assert stays on in every build; what bytes from a client decide never trips it.
func assert(ok bool, broken string) {
	if !ok {
		assertFailed(broken)
	}
}

//go:noinline
func assertFailed(broken string) { panic("resp: " + broken) }
