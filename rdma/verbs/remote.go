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
	request [1]ibverbs.Request
	done    [4]ibverbs.Completion
}

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
	if r.cq, err = d.context.CreateCQ(len(r.done), r.channel); err != nil {
		return err
	}
	if r.buf, err = mapMemory(pieceBytes); err != nil {
		return err
	}
	if r.bufMR, err = d.register(r.buf, ibverbs.AccessLocalWrite); err != nil {
		return err
	}
	if r.qp, err = d.pd.CreateQP(r.cq, 2, 1, 0); err != nil {
		return err
	}
	lanes.Add(1)
	if err = r.qp.Init(d.port, 0); err != nil {
		return err
	}
	own := psn()
	a, err := r.e.call(r.peer, &request{Op: opExpose, To: r.incarnation, Side: d.side(r.qp, own)})
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
	return r.qp.RTS(own, readsMax, ackTimeout, ackRetries)
}

func (r *remote) Size() int64       { return r.size }
func (r *remote) BytesRead() uint64 { return r.bytes.Load() }

// Staged says why the peer copies what is read; "" if it does not, and its
// processor takes no part.
func (r *remote) Staged() string { return r.staged }

// ReadAt reads by pieces. ErrRange outside the exposed memory; the bytes may be
// torn. ErrRead, or what the peer says, when the connection is broken.
func (r *remote) ReadAt(dst []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return 0, rdma.ErrClosed
	case off < 0 || off > r.size || int64(len(dst)) > r.size-off:
		return 0, fmt.Errorf("%w: %d bytes at %d of %d", rdma.ErrRange, len(dst), off, r.size)
	}
	n := 0
	for n < len(dst) {
		k, err := r.piece(dst[n:], off+int64(n))
		if err != nil {
			return n, fmt.Errorf("%w: node %d, %d bytes at %d: %w", ErrRead, r.peer, len(dst), off, err)
		}
		n += k
		r.bytes.Add(uint64(k))
	}
	return n, nil
}

// piece reads what one RDMA READ can bring.
func (r *remote) piece(dst []byte, off int64) (int, error) {
	if r.broken != nil {
		return 0, r.broken
	}
	n := min(len(dst), pieceBytes)
	var addr uint64
	var key uint32
	if r.staged != "" {
		a, err := r.e.call(r.peer, &request{Op: opStage, To: r.incarnation, Reader: r.reader, Off: off, Len: int64(n)})
		if err != nil {
			return 0, err
		}
		addr, key = a.Addr, a.Key
	} else {
		w, err := r.window(off &^ (windowBytes - 1))
		if err != nil {
			return 0, err
		}
		n = int(min(int64(n), w.off+windowBytes-off))
		addr, key = w.addr+uint64(off-w.off), w.key
	}
	if err := r.fetch(addr, key, n); err != nil {
		r.broken = err
		return 0, err
	}
	copy(dst, r.buf[:n])
	return n, nil
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

// fetch is one RDMA READ into the buffer.
func (r *remote) fetch(addr uint64, key uint32, n int) error {
	r.request[0] = ibverbs.Request{QP: r.qp.Handle(), Local: ibverbs.Address(r.buf), LocalKey: r.bufMR.LKey, Remote: addr, RemoteKey: key,
		Bytes: uint32(n), Op: ibverbs.OpRead, Flags: ibverbs.FlagSignalled}
	if err := r.cq.Notify(); err != nil {
		return err
	}
	_, got, err := ibverbs.Burst(r.cq, r.request[:], r.done[:])
	deadline := time.Now().Add(readTime)
	for {
		switch {
		case err != nil:
			return err
		case r.request[0].Err != 0:
			return unix.Errno(r.request[0].Err)
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

// ReadStats is what recovery has cost this endpoint as the one that is read.
type ReadStats struct {
	Windows uint64 // parts of its memory registered
	Copies  uint64 // pieces copied into staging areas
	Readers int    // at the moment
}

// ReadStats may be asked by any goroutine.
func (e *Endpoint) ReadStats() ReadStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return ReadStats{e.exposed.windows.Load(), e.exposed.copies.Load(), len(e.exposed.readers)}
}
