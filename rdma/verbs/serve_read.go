//go:build verbs

package verbs

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"healkv/cgo/ibverbs"
	"healkv/rdma"
	"healkv/rdma/gather"
)

// exposed is the memory that peers may read for recovery, and who does. Under
// the endpoint's lock, registrations apart: one reader asks for one thing at a
// time.
type exposed struct {
	mem     []byte
	readers []*reader // oldest first
	count   uint64

	// See ReadStats.
	requests atomic.Uint64
	spent    atomic.Uint64
	windows  atomic.Uint64
	copies   atomic.Uint64
	copied   atomic.Uint64
	copying  atomic.Uint64
}

// readersMax bounds the readers of one peer.
const readersMax = 4

// reader is one peer's remote: a queue pair that answers RDMA READs, and what
// is registered for it at the moment.
type reader struct {
	id          uint64
	peer        int
	incarnation uint32
	mem         []byte
	qp          *ibverbs.QP
	windows     []window
	busy        bool // an answer uses it
	closing     bool // the answer that uses it closes it

	staging   []byte // nil: the memory itself is registered
	stagingMR *ibverbs.MR
}

type window struct {
	off int64
	mr  *ibverbs.MR
}

// Expose lets peers of this life's shard read x.Mem. Nothing is registered
// before somebody asks. Any goroutine.
func (e *Endpoint) Expose(x rdma.Exposed) error {
	if len(x.Mem) == 0 || x.Size != int64(len(x.Mem)) {
		return fmt.Errorf("%w: %d bytes to expose, mapping has %d", ErrConfig, x.Size, len(x.Mem))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return rdma.ErrClosed
	}
	e.exposed.mem = x.Mem
	return nil
}

func (x *exposed) readersOf(peer int, incarnation uint32) (all []*reader) {
	for _, r := range x.readers {
		if r.peer == peer && r.incarnation == incarnation {
			all = append(all, r)
		}
	}
	return all
}

// take gives up all readers of a life. Those that are being served are left for
// the answer to close.
func (x *exposed) take(peer int, incarnation uint32) []*reader {
	all := x.readersOf(peer, incarnation)
	x.readers = slices.DeleteFunc(x.readers, func(r *reader) bool { return r.peer == peer && r.incarnation == incarnation })
	return all
}

// close gives everything back; nobody asks any more.
func (x *exposed) close() error {
	var errs []error
	for _, r := range x.readers {
		errs = append(errs, r.close())
	}
	x.readers = nil
	return errors.Join(errs...)
}

func (r *reader) close() error {
	var errs []error
	if r.qp != nil { // ERR before deregistration (V2)
		errs = append(errs, r.qp.Err(), closeQP(r.qp))
	}
	for _, w := range r.windows {
		errs = append(errs, w.mr.Close())
	}
	if r.stagingMR != nil {
		errs = append(errs, r.stagingMR.Close())
	}
	if r.staging != nil {
		errs = append(errs, unmapMemory(r.staging))
	}
	return errors.Join(errs...)
}

// answerRead serves a peer's remote, and takes the time.
func (e *Endpoint) answerRead(from int, q *request) answer {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := processorTime()
	a := e.serveRead(from, q)
	e.exposed.spent.Add(processorTime() - began)
	e.exposed.requests.Add(1)
	return a
}

func (e *Endpoint) serveRead(from int, q *request) answer {
	if q.Op == opExpose {
		return e.answerExpose(from, q)
	}
	e.mu.Lock()
	i := slices.IndexFunc(e.exposed.readers, func(r *reader) bool { return r.id == q.Reader && r.peer == from && r.incarnation == q.From })
	if i < 0 {
		e.mu.Unlock()
		return answer{Status: statusNothing, Text: "the reader is not known any more"}
	}
	r := e.exposed.readers[i]
	if q.Op == opRelease {
		e.exposed.readers = slices.Delete(e.exposed.readers, i, i+1)
		if r.busy {
			r.closing = true
			e.mu.Unlock()
			return answer{}
		}
		e.mu.Unlock()
		e.kept(from, r.close())
		return answer{}
	}
	if r.busy {
		e.mu.Unlock()
		return answer{Status: statusRefused, Text: "two requests of one reader at once"}
	}
	r.busy = true
	e.mu.Unlock()
	var a answer
	if q.Op == opWindow {
		a = e.openWindow(r, q.Off)
	} else {
		a = e.stage(r, q.Ranges)
	}
	e.mu.Lock()
	r.busy = false
	closing := r.closing
	e.mu.Unlock()
	if closing {
		e.kept(from, r.close())
		return answer{Status: statusNothing, Text: "the reader is not known any more"}
	}
	return a
}

// answerExpose makes a reader. Whether its memory can be registered is tried
// with the first window.
func (e *Endpoint) answerExpose(from int, q *request) answer {
	if err := checkMTU(e.dev.mtu, q.Side.MTU, from); err != nil {
		return answer{Status: statusMTU, Text: err.Error()}
	}
	e.mu.Lock()
	mem := e.exposed.mem
	e.mu.Unlock()
	if mem == nil {
		return answer{Status: statusNothing}
	}
	r := &reader{peer: from, incarnation: q.From, mem: mem}
	refused := func(err error) answer {
		e.log.Error("cannot serve a peer's reads", "peer", from, "err", errors.Join(err, r.close()))
		return answer{Status: statusRefused, Text: err.Error()}
	}
	var err error
	if r.qp, err = e.newQP(1, 1, 0, ibverbs.AccessRemoteRead); err != nil {
		return refused(err)
	}
	path := e.dev.path(&q.Side)
	path.Reads = max(1, min(q.Reads, e.dev.readsServed))
	if err = r.qp.RTR(path); err != nil {
		return refused(err)
	}
	a := answer{Size: int64(len(mem)), Reads: path.Reads, Side: e.dev.side(r.qp, psn())}
	if w := e.openWindow(r, 0); w.Status != statusOK {
		a.Staged = w.Text
		if r.staging, err = mapMemory(pieceBytes); err != nil {
			return refused(err)
		}
		if r.stagingMR, err = e.dev.register(r.staging, ibverbs.AccessRemoteRead); err != nil {
			return refused(err)
		}
		e.log.Info("recovery is served through a staging area", "peer", from, "why", w.Text)
	} else {
		a.Addr, a.Key = w.Addr, w.Key
	}
	e.mu.Lock()
	if e.closing {
		e.mu.Unlock()
		e.kept(from, r.close())
		return answer{Status: statusNoLife, Text: "it is being closed"}
	}
	e.exposed.count++
	r.id = e.exposed.count
	old := e.dropReaders(from, q.From)
	e.exposed.readers = append(e.exposed.readers, r)
	e.mu.Unlock()
	for _, x := range old {
		e.kept(from, x.close())
	}
	a.Reader = r.id
	return a
}

// dropReaders gives up a peer's readers of other lives, and its oldest ones
// when there are too many. Those that are being served close themselves. The
// lock is held.
func (e *Endpoint) dropReaders(peer int, incarnation uint32) (old []*reader) {
	present := len(e.exposed.readersOf(peer, incarnation))
	e.exposed.readers = slices.DeleteFunc(e.exposed.readers, func(r *reader) bool {
		if r.peer != peer || r.incarnation == incarnation && present < readersMax {
			return false
		}
		if r.incarnation == incarnation {
			present--
		}
		if r.closing = r.busy; !r.busy {
			old = append(old, r)
		}
		return true
	})
	return old
}

// openWindow registers the part of the memory that begins at off, and gives up
// the oldest one: only what is being read is pinned.
func (e *Endpoint) openWindow(r *reader, off int64) answer {
	if off < 0 || off >= int64(len(r.mem)) || off%windowBytes != 0 {
		return answer{Status: statusRange, Text: fmt.Sprintf("window at %d of %d", off, len(r.mem))}
	}
	part := r.mem[off:min(off+windowBytes, int64(len(r.mem)))]
	if noRegister.Load() {
		return answer{Status: statusRefused, Text: "registration is switched off by a test"}
	}
	mr, err := e.dev.register(part, ibverbs.AccessRemoteRead)
	if err != nil {
		return answer{Status: statusRefused, Text: err.Error()}
	}
	if len(r.windows) == windowsMax {
		e.kept(r.peer, r.windows[0].mr.Close())
		r.windows = slices.Delete(r.windows, 0, 1)
	}
	r.windows = append(r.windows, window{off, mr})
	e.exposed.windows.Add(1)
	return answer{Addr: ibverbs.Address(part), Key: mr.RKey}
}

// noRegister makes memory look as if it could not be registered, for tests.
var noRegister atomic.Bool

// stage copies parts of the memory, one after the other, to where the peer can
// read them. The goroutine is locked to its thread.
func (e *Endpoint) stage(r *reader, b []byte) answer {
	ranges, n, err := decodeRanges(b)
	if err == nil && (r.staging == nil || n > pieceBytes) {
		err = fmt.Errorf("%w: %d bytes to be staged, at most %d", rdma.ErrRange, n, len(r.staging))
	}
	if err == nil {
		err = gather.Check(n, ranges, int64(len(r.mem)))
	}
	if err != nil {
		return answer{Status: statusRange, Text: err.Error()}
	}
	began := processorTime()
	err = gather.Copy(r.staging[:n], r.mem, ranges)
	e.exposed.copying.Add(processorTime() - began)
	if err != nil {
		return answer{Status: statusRefused, Text: err.Error()}
	}
	e.exposed.copies.Add(1)
	e.exposed.copied.Add(uint64(n))
	return answer{Addr: ibverbs.Address(r.staging), Key: r.stagingMR.RKey}
}
