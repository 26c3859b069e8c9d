package resp

// workset is what a connection needs while it has something to do. Idle
// connections have none; see the package doc.
type workset struct {
	p  parser
	in []byte // input; [r,w) is not parsed yet. All of it is usable: len == cap
	r,
	w int

	out  []byte // replies; [sent,len) are not sent yet
	sent int

	replies []reply // ring, power of two long; [head,tail) are waiting
	head,
	tail uint32
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
	replyText
)

// reply is a command's place in the order of answers.
type reply struct {
	kind    replyKind
	lit     literal
	begun   bool  // its first part is written
	pending int32 // ops not done yet, submitted or not
	total   int32
	ok      int32 // ops without an error
	count   int32 // keys that existed
	bytes   int   // of the values read
	unsafe  bool  // some failed op may have been applied
	err     error // the first
	first,  // chain of ops whose values the reply shows, in the order of the command
	last *cmdOp
	text []byte // the whole of a replyText
}

const (
	// Buffers of ops, in bytes. While a loop is at work its ops keep theirs as
	// long as all together stay below opsBytesKept, and the small ones always:
	// a lone client of large values allocates nothing either.
	opBytesKept  = 4 << 10
	opsBytesKept = 4 << 20
	opsBytesIdle = 512 << 10 // and of a loop that has nothing to do
	repliesMin   = 16
	repliesKept  = 128 // longest queue that any unused workset keeps
)

func newWorkset() *workset {
	return &workset{
		in:      make([]byte, inBytes),
		out:     make([]byte, 0, inBytes),
		replies: make([]reply, repliesMin),
	}
}

func (ws *workset) queued() int { return int(ws.tail - ws.head) }

// unsent is how many bytes of replies wait for the socket.
func (ws *workset) unsent() int { return len(ws.out) - ws.sent }

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

// chain appends o to the ops whose values r shows.
func (r *reply) chain(o *cmdOp) {
	if r.last == nil {
		r.first = o
	} else {
		r.last.next = o
	}
	r.last = o
}

// unchain takes the first op of the chain.
func (r *reply) unchain() *cmdOp {
	o := r.first
	if r.first = o.next; r.first == nil {
		r.last = nil
	}
	o.next = nil
	return o
}

// shrink prepares an unused workset for the shelf: what one connection needed
// at its worst is not kept for the next one. large: a long queue may stay.
func (ws *workset) shrink(large bool) {
	assert(ws.queued() == 0 && ws.unsent() == 0, "a workset goes back with commands under way")
	ws.r, ws.w, ws.sent = 0, 0, 0
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
	if len(ws.replies) > repliesKept && !large {
		ws.replies = make([]reply, repliesMin)
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
