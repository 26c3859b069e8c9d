//go:build verbs

package verbs

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"healkv/cgo/ibverbs"
	"healkv/rdma"
	"healkv/rdma/gather"
)

// ErrRead is an RDMA READ of recovery that failed; the remote must be opened
// again.
var ErrRead = errors.New("verbs: read of exposed memory")

// remote is rdma.Remote by RDMA READ: of the peer's memory itself, window by
// window, or of an area that the peer fills on request. It has a queue pair and
// a completion queue of its own, and so does not meet the worker.
type remote struct {
	e           *Endpoint
	peer        int
	incarnation uint32
	size        int64
	reader      uint64
	staged      string // why there is a staging area; "": the memory itself is read
	bytes       atomic.Uint64

	mu      sync.Mutex // one read at a time
	channel *ibverbs.Channel
	cq      *ibverbs.CQ
	qp      *ibverbs.QP
	buf     []byte // where reads arrive: pieceBytes
	bufMR   *ibverbs.MR
	windows []peerWindow // oldest first, as the peer has them
	broken  error
	closed  bool
	reads   []ibverbs.Request // of the present burst
	parts   []part
	done    [4]ibverbs.Completion
}

// part is what of the buffer was asked for: the rest are gaps.
type part struct{ at, n int }

type peerWindow struct {
	off  int64
	addr uint64
	key  uint32
}

// Remote asks the peer for its exposed memory. ErrNoPeer if that life exposes
// nothing (yet, or any more). Any goroutine.
func (e *Endpoint) Remote(peer int, incarnation uint32) (rdma.Remote, error) {
	if err := e.checkPeer(peer, incarnation); err != nil {
		return nil, err
	}
	e.mu.Lock()
	if e.closing {
		e.mu.Unlock()
		return nil, rdma.ErrClosed
	}
	e.tasks.Add(1)
	e.mu.Unlock()
	defer e.tasks.Done()
	r := &remote{e: e, peer: peer, incarnation: incarnation}
	if err := r.open(); err != nil {
		return nil, errors.Join(err, r.free())
	}
	e.mu.Lock()
	e.remotes[r] = true
	e.mu.Unlock()
	return r, nil
}

func (r *remote) open() (err error) {
	d := r.e.dev
	if r.channel, err = d.context.CreateChannel(); err != nil {
		return err
	}
	if r.cq, err = d.context.CreateCQ(readDepth, r.channel); err != nil {
		return err
	}
	if r.buf, err = mapMemory(pieceBytes); err != nil {
		return err
	}
	if r.bufMR, err = d.register(r.buf, ibverbs.AccessLocalWrite); err != nil {
		return err
	}
	if r.qp, err = d.pd.CreateQP(r.cq, readDepth, 1, 0); err != nil {
		return err
	}
	lanes.Add(1)
	if err = r.qp.Init(d.port, 0); err != nil {
		return err
	}
	own := psn()
	a, err := r.e.call(r.peer, &request{Op: opExpose, To: r.incarnation, Side: d.side(r.qp, own), Reads: d.readsAsked})
	if err != nil {
		return err
	}
	if err = checkMTU(d.mtu, a.Side.MTU, r.peer); err != nil {
		return err
	}
	if a.Size <= 0 {
		return fmt.Errorf("%w: node %d exposes %d bytes", ErrPeer, r.peer, a.Size)
	}
	r.size, r.reader, r.staged = a.Size, a.Reader, a.Staged
	if r.staged == "" {
		r.windows = append(r.windows, peerWindow{0, a.Addr, a.Key})
	}
	if err = r.qp.RTR(d.path(&a.Side)); err != nil {
		return err
	}
	return r.qp.RTS(own, max(1, min(a.Reads, d.readsAsked)), ackTimeout, ackRetries)
}

func (r *remote) Size() int64       { return r.size }
func (r *remote) BytesRead() uint64 { return r.bytes.Load() }

// Staged says why the peer copies what is read; "" if it does not, and its
// processor takes no part.
func (r *remote) Staged() string { return r.staged }

// ReadAt is Gather of one range, and says how much was read before an error.
func (r *remote) ReadAt(dst []byte, off int64) (int, error) {
	return r.gather(dst, []rdma.Range{{Off: off, Len: len(dst)}})
}

// Gather reads by pieces. ErrRange outside the exposed memory; the bytes may be
// torn. ErrRead, or what the peer says, when the connection is broken.
func (r *remote) Gather(dst []byte, ranges []rdma.Range) error {
	_, err := r.gather(dst, ranges)
	return err
}

func (r *remote) gather(dst []byte, ranges []rdma.Range) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, rdma.ErrClosed
	}
	if err := gather.Check(len(dst), ranges, r.size); err != nil {
		return 0, err
	}
	for c := gather.After(ranges, 0); n < len(dst); {
		k, err := r.piece(dst[n:], &c)
		if err != nil {
			return n, fmt.Errorf("%w: node %d, %d bytes in %d ranges, after %d: %w", ErrRead, r.peer, len(dst), len(ranges), n, err)
		}
		n += k
		r.bytes.Add(uint64(k))
		if r.staged == "" {
			r.e.readDirect.Add(uint64(k))
		} else {
			r.e.readStaged.Add(uint64(k))
		}
	}
	return n, nil
}

// piece reads what one burst can bring.
func (r *remote) piece(dst []byte, c *gather.Cursor) (n int, err error) {
	if r.broken != nil {
		return 0, r.broken
	}
	r.reads, r.parts = r.reads[:0], r.parts[:0]
	if r.staged != "" {
		err = r.planStaged(c)
	} else {
		err = r.planDirect(c)
	}
	if err != nil {
		return 0, err
	}
	if err := r.fetch(); err != nil {
		r.broken = err
		return 0, err
	}
	for _, p := range r.parts {
		n += copy(dst[n:], r.buf[p.at:p.at+p.n])
	}
	return n, nil
}

// planStaged lets the peer put together as many ranges as fit, for one READ.
func (r *remote) planStaged(c *gather.Cursor) error {
	var b []byte
	n := 0
	for n < pieceBytes && len(b) < rangesMax*rangeBytes {
		x := c.Peek()
		if x.Len == 0 {
			break
		}
		x.Len = min(x.Len, pieceBytes-n)
		c.Skip(x.Len)
		b, n = appendRange(b, x), n+x.Len
	}
	a, err := r.e.call(r.peer, &request{Op: opStage, To: r.incarnation, Reader: r.reader, Ranges: b})
	if err != nil {
		return err
	}
	r.parts = append(r.parts, part{0, n})
	r.read(a.Addr, a.Key, 0, n)
	return nil
}

// planDirect fills the buffer from one window. Ranges with little between them
// are one READ.
func (r *remote) planDirect(c *gather.Cursor) error {
	var w peerWindow
	used, end := 0, int64(0) // of the buffer; of the last READ in the peer's memory
	for len(r.parts) < partsMax {
		x := c.Peek()
		if x.Len == 0 {
			break
		}
		if len(r.reads) == 0 {
			var err error
			if w, err = r.window(x.Off &^ (windowBytes - 1)); err != nil {
				return err
			}
		}
		if x.Off < w.off || x.Off >= w.off+windowBytes {
			break // another window could take this one's place
		}
		gap := x.Off - end
		merge := len(r.reads) > 0 && gap >= 0 && gap <= gapMax
		if !merge {
			gap = 0
		}
		n := int(min(int64(x.Len), int64(pieceBytes-used)-gap, w.off+windowBytes-x.Off))
		if n <= 0 || !merge && len(r.reads) == readDepth {
			break
		}
		r.parts = append(r.parts, part{used + int(gap), n})
		if merge {
			r.reads[len(r.reads)-1].Bytes += uint32(int(gap) + n)
		} else {
			r.read(w.addr+uint64(x.Off-w.off), w.key, used, n)
		}
		used, end = used+int(gap)+n, x.Off+int64(n)
		c.Skip(n)
	}
	return nil
}

// read adds an RDMA READ of n bytes, to arrive in the buffer at the offset.
func (r *remote) read(addr uint64, key uint32, at, n int) {
	r.reads = append(r.reads, ibverbs.Request{QP: r.qp.Handle(), Local: ibverbs.Address(r.buf[at:]), LocalKey: r.bufMR.LKey,
		Remote: addr, RemoteKey: key, Bytes: uint32(n), Op: ibverbs.OpRead})
}

const _ = uint(0 - windowBytes&(windowBytes-1)) // a power of two

// window is the registered part of the peer's memory that begins at off; asked
// for if it is none of the last ones.
func (r *remote) window(off int64) (peerWindow, error) {
	for _, w := range r.windows {
		if w.off == off {
			return w, nil
		}
	}
	a, err := r.e.call(r.peer, &request{Op: opWindow, To: r.incarnation, Reader: r.reader, Off: off})
	if err != nil {
		return peerWindow{}, err
	}
	if len(r.windows) == windowsMax {
		r.windows = append(r.windows[:0], r.windows[1:]...)
	}
	w := peerWindow{off, a.Addr, a.Key}
	r.windows = append(r.windows, w)
	return w, nil
}

// fetch posts the READs of a burst and waits for the last one: they complete in
// order, so it speaks for all.
func (r *remote) fetch() error {
	last := len(r.reads) - 1
	r.reads[last].Flags |= ibverbs.FlagSignalled
	if err := r.cq.Notify(); err != nil {
		return err
	}
	_, got, err := ibverbs.Burst(r.cq, r.reads, r.done[:])
	for i := range r.reads {
		if r.reads[i].Err != 0 && err == nil {
			err = fmt.Errorf("posting %d reads: %w", len(r.reads), unix.Errno(r.reads[i].Err))
		}
	}
	deadline := time.Now().Add(readTime)
	for {
		switch {
		case err != nil:
			return err
		case got > 0 && r.done[0].Status != ibverbs.StatusSuccess:
			return fmt.Errorf("completion with %q, vendor code %d", r.done[0].Status, r.done[0].Vendor)
		case got > 0:
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 || r.e.ctx.Err() != nil {
			return fmt.Errorf("no completion within %v", readTime)
		}
		fds := []unix.PollFd{{Fd: int32(r.channel.FD()), Events: unix.POLLIN}}
		unix.Poll(fds, int(min(left, 100*time.Millisecond)/time.Millisecond)+1)
		r.channel.Take()
		if err = r.cq.Notify(); err == nil {
			_, got, err = ibverbs.Burst(r.cq, nil, r.done[:])
		}
	}
}

// Close gives the connection back and tells the peer, which deregisters.
func (r *remote) Close() error {
	e := r.e
	e.mu.Lock()
	if !e.remotes[r] {
		e.mu.Unlock()
		return nil
	}
	delete(e.remotes, r)
	e.tasks.Add(1)
	e.mu.Unlock()
	defer e.tasks.Done()
	err := r.close()
	if _, told := e.call(r.peer, &request{Op: opRelease, To: r.incarnation, Reader: r.reader}); told != nil {
		e.log.Debug("the peer was not told that reading has ended", "peer", r.peer, "err", told)
	}
	return err
}

func (r *remote) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.free()
}

func (r *remote) free() error {
	var errs []error
	if r.qp != nil {
		errs = append(errs, r.qp.Err(), closeQP(r.qp))
	}
	if r.bufMR != nil {
		errs = append(errs, r.bufMR.Close())
	}
	if r.buf != nil {
		errs = append(errs, unmapMemory(r.buf))
	}
	if r.cq != nil {
		r.channel.Take()
		errs = append(errs, r.cq.Close())
	}
	if r.channel != nil {
		errs = append(errs, r.channel.Close())
	}
	r.qp, r.bufMR, r.buf, r.cq, r.channel = nil, nil, nil, nil, nil
	return errors.Join(errs...)
}
