package pmem

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
)

// ErrFlush means that a drain failed. What lay between the last good drain
// and this one may be lost even if a later call succeeds: the kernel reports
// a lost page once and then forgets it. So the region stays failed (P4).
var ErrFlush = errors.New("pmem: flush failed; the node must stop, its next open trusts nothing above the durable position")

// Region is a piece of memory with a durability domain: a mapped file, or Go
// heap for race tests and simulation.
//
// Flush and Drain belong to one goroutine at a time; Bytes may be read by
// any.
type Region struct {
	data   []byte
	mapped mapping // zero for heap
	file   *os.File
	path   string
	domain Domain

	pending  bool // something was flushed since the last drain
	failed   atomic.Pointer[error]
	syncHook func() error     // before the real drain; an error makes it fail
	lineHook func(off, n int) // told of every flush
}

// HeapRegion makes a zeroed region of Go memory in the memory domain. The race
// detector and the simulator see its accesses, which mapped memory hides.
func HeapRegion(size int) *Region {
	return &Region{data: heapAligned(size), domain: DomainMemory}
}

// Bytes is the whole region.
func (r *Region) Bytes() []byte { return r.data }

// Domain is what was got, never DomainAuto.
func (r *Region) Domain() Domain { return r.domain }

// Path names the mapped file, "" for heap.
func (r *Region) Path() string { return r.path }

// Granularity says what a power loss may tear: "cache line" (dax), "page"
// (file), "none" (memory: nothing survives one).
func (r *Region) Granularity() string {
	switch r.domain {
	case DomainDAX:
		return "cache line"
	case DomainFile:
		return "page"
	}
	return "none"
}

// SetSyncHook makes fn run before every drain; its error counts as a failed
// drain. For tests and simulation; set it before the region is used.
func (r *Region) SetSyncHook(fn func() error) { r.syncHook = fn }

// SetFlushHook makes fn hear of every Flush. With it a test keeps an image of
// what a power loss leaves, and the memory domain goes through the flushes
// that it otherwise has no need of.
func (r *Region) SetFlushHook(fn func(off, n int)) { r.lineHook = fn }

// flushes says whether flushing has an effect, or somebody who listens.
func (r *Region) flushes() bool {
	return r.domain != DomainMemory || r.syncHook != nil || r.lineHook != nil
}

// Flush starts the write-back of [off, off+n). It is complete after the next
// Drain. Panics if the range lies outside the region.
func (r *Region) Flush(off, n int) {
	if n == 0 {
		return
	}
	b := r.data[off : off+n]
	r.pending = true
	if r.lineHook != nil {
		r.lineHook(off, n)
	}
	if r.domain == DomainDAX {
		start := off &^ (lineBytes - 1) // the mapping is page aligned
		flushLines(r.data[start : off+len(b)])
	}
	// file: fdatasync in Drain finds the dirty pages. Starting write-back
	// here would make the worker's next store to the page wait for it.
}

// Drain waits until everything flushed before is durable as far as the domain
// goes. An error (ErrFlush) is final for this region.
func (r *Region) Drain() error {
	if e := r.failed.Load(); e != nil && !plant.Is(plant.H21Failed) {
		return *e
	}
	if !r.pending {
		return nil
	}
	r.pending = false
	if r.syncHook != nil {
		if err := r.syncHook(); err != nil {
			return r.fail(err)
		}
	}
	switch r.domain {
	case DomainDAX:
		flushDrain()
	case DomainFile:
		if err := fdatasync(int(r.file.Fd())); err != nil {
			return r.fail(err)
		}
	}
	return nil
}

// drainAnyway tries to drain a failed region and says whether it worked, as
// far as one can know. The region stays failed whatever comes (P4).
func (r *Region) drainAnyway() bool {
	switch r.domain {
	case DomainDAX:
		flushDrain()
		return true
	case DomainFile:
		return fdatasync(int(r.file.Fd())) == nil
	}
	return false
}

// Persist is Flush and Drain.
func (r *Region) Persist(off, n int) error {
	r.Flush(off, n)
	return r.Drain()
}

// Failed returns the error of the first failed drain, nil if there was none.
// Any goroutine.
func (r *Region) Failed() error {
	if e := r.failed.Load(); e != nil {
		return *e
	}
	return nil
}

func (r *Region) fail(cause error) error {
	err := fmt.Errorf("%w: %s: %w", ErrFlush, r.path, cause)
	r.failed.CompareAndSwap(nil, &err) // pairs with the loads in Drain and Failed
	return *r.failed.Load()
}

// Close unmaps and closes; what was not drained is not made durable. The
// bytes must not be touched afterwards.
func (r *Region) Close() error {
	r.data = nil
	err := r.mapped.unmap()
	if r.file != nil {
		err = errors.Join(err, r.file.Close())
		r.file = nil
	}
	return err
}

func fdatasync(fd int) error {
	for {
		err := unix.Fdatasync(fd) // a blocking call: goes through Syscall, the scheduler may take the processor
		if err != unix.EINTR {
			return err
		}
	}
}
