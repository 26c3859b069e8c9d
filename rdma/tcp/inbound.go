package tcp

import (
	"healkv/dataplane/plant"
	"healkv/rdma"
	"healkv/rdma/ring"
)

// inbound is what arrives from one life of a peer: the state of its present
// attachment, and of the frame that is arriving. It does no I/O: bytes come in
// by take, or are read by the caller to where pieces says and then noted.
// Worker only.
type inbound struct {
	buf []byte // the mirror's memory, as long as the peer's ring

	// Of the attachment.
	tag    uint64 // T4; 0: the peer has not attached us, or has detached us
	feed   uint64 // 1 + position it feeds us from; 0: not yet
	start  uint64 // where we began to read
	have   uint64 // T1
	limit  uint64 // T2
	marks  rdma.Marks
	mirror *ring.Mirror // made by Poll
	resume rewind

	// Of the connection.
	hdr  [frameBytes]byte
	n    int    // bytes of hdr that are there
	f    frame  // that is arriving
	left uint64 // bytes of the stream it still wants
	at   uint64 // position of the next of them
	seen bool   // a frame has arrived on this connection
}

// rewind is where the last link to a node stood when it was detached. A new
// link to the same life that finds the peer's attachment unchanged goes on
// there: the peer has reclaimed nothing above it, and the position it fed us
// from may be long gone.
type rewind struct {
	incarnation uint32
	tag         uint64 // 0: nothing to go on with
	cursor      uint64
}

// connected: a new connection of the same link; what of a frame was under way
// comes again.
func (in *inbound) connected() {
	in.n, in.left, in.at, in.seen = 0, 0, in.have, false
}

// position is what the peer is told: of which attachment we have what (T1).
func (in *inbound) position() (tag, pos uint64) {
	switch {
	case in.feed != 0:
		return in.tag, in.have + 1
	case in.resume.tag != 0 && !plant.Is(plant.TCPRewind) && (in.tag == 0 || in.tag == in.resume.tag):
		return in.resume.tag, in.resume.cursor + 1
	}
	return in.tag, 0
}

// room is how many bytes of the stream fit behind have.
func (in *inbound) room() uint64 {
	if in.feed == 0 {
		return 0
	}
	low := in.start
	if in.mirror != nil {
		low = in.mirror.Cursor()
	}
	return uint64(len(in.buf)) - (in.have - low)
}

// pieces is the memory of n bytes of the stream from pos.
func (in *inbound) pieces(pos, n uint64) (a, b []byte) {
	size := uint64(len(in.buf))
	at := pos & (size - 1)
	if at+n <= size {
		return in.buf[at : at+n], nil
	}
	return in.buf[at:], in.buf[:at+n-size]
}

// unpair: the peer has detached us. The last watermarks stay known: they were
// true and cannot become false.
func (in *inbound) unpair() {
	in.tag, in.feed, in.start, in.have, in.limit, in.mirror = 0, 0, 0, 0, 0, nil
}

// take consumes bytes that lie elsewhere.
func (in *inbound) take(b []byte) error {
	for len(b) > 0 {
		if in.left == 0 {
			n := copy(in.hdr[in.n:], b)
			in.n, b = in.n+n, b[n:]
			if in.n == frameBytes {
				if err := in.begin(); err != nil {
					return err
				}
			}
			continue
		}
		n := min(uint64(len(b)), in.left)
		x, y := in.pieces(in.at, n)
		copy(x, b)
		copy(y, b[len(x):])
		if err := in.arrived(n); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// arrived notes n bytes of the stream that now lie where they belong.
func (in *inbound) arrived(n uint64) error {
	in.at += n
	in.left -= n
	if in.left == 0 {
		return in.complete()
	}
	return nil
}

// begin judges a whole header. Bytes of a peer: errFrame for everything that
// cannot be, before anything is changed for it but a new attachment.
func (in *inbound) begin() error {
	in.n = 0
	f := &in.f
	if !f.decode(&in.hdr) || f.tag == 0 || f.tag < in.tag {
		return errFrame
	}
	switch f.kind {
	case frameDetach:
		if f.length != 0 {
			return errFrame
		}
		in.unpair()
		in.seen = true
		return nil
	case frameBurst, framePart:
	default:
		return errFrame
	}
	if f.feed != 0 && (f.feed-1)%ring.Align != 0 {
		return errFrame
	}
	if f.tag != in.tag && !(plant.Is(plant.TCPTag) && in.tag != 0) { // attached anew: what was said before is gone
		in.unpair()
		in.tag, in.marks = f.tag, rdma.Marks{}
	}
	switch {
	case in.feed == 0 && f.feed != 0:
		in.feed, in.start = f.feed, f.feed-1
		if in.resume.tag == in.tag {
			in.start = in.resume.cursor
		}
		in.have, in.limit = in.start, in.start
	case in.feed != f.feed:
		return errFrame
	}
	in.at = in.have
	if f.length > 0 && (f.pos != in.have && !plant.Is(plant.TCPPosition) || uint64(f.length) > in.room() || f.length%ring.Align != 0) {
		return errFrame
	}
	if in.left = uint64(f.length); in.left == 0 {
		return in.complete()
	}
	return nil
}

// complete takes a frame whose bytes are all there (T1, T2).
func (in *inbound) complete() error {
	if in.f.length > 0 {
		a, b := in.pieces(in.have, uint64(in.f.length))
		if sumOf(a, b) != in.f.sum && !plant.Is(plant.TCPSum) {
			return errFrame
		}
		in.have = in.at
		if in.f.kind == frameBurst {
			in.limit = in.have
		}
	}
	in.marks = in.f.marks
	in.seen = true
	return nil
}

// look lets the mirror have what has arrived: Poll's part.
func (in *inbound) look() bool {
	if in.feed == 0 {
		return true
	}
	if in.mirror == nil {
		in.mirror = ring.NewMirror(in.buf, in.start)
	}
	return in.limit == in.mirror.Limit() || in.mirror.SetLimit(in.limit)
}
