package pmem

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"healkv/dataplane/plant"
)

// flight is one flush on its way: from StartFlush, which notes the tail and
// says what to write, through its drain, which runs beside the worker in the
// file domain, to FinishFlush, which makes it count. There is one at a time.
//
// Who owns what: the worker started, tail, bytes and begun, all of the time;
// mu guards under, draining and super; err and took are written before landed
// is stored and read after it is loaded.
type flight struct {
	started bool   // and not taken note of yet
	tail    uint64 // the log's at the start: what it makes durable
	bytes   int

	under    bool      // its drain has not ended: nobody else writes a superblock or drains (P1, P3)
	draining bool      // somebody runs it
	super    bool      // a superblock goes out with it
	ended    sync.Cond // of mu: under was cleared

	landed atomic.Bool // the drain has ended; pairs with the load in FinishFlush
	err    error
	took   time.Duration
}

// StartFlush begins to make the log durable through its tail as it stands now,
// and returns at once where the domain allows it: in the file domain a drain is
// a system call that waits for a disk, and runs on a goroutine of the pool's.
// The worker may go on appending; FinishFlush says when the flush counts. In the
// other domains, where a drain costs less than handing it over, it is over when
// StartFlush returns. An error is final: the node must stop (ErrFlush).
//
// Precondition: none is under way (Flushing).
func (p *Pool) StartFlush() error { return p.startFlush(p.later) }

// Flushing reports whether a flush was started that FinishFlush has not taken
// note of.
func (p *Pool) Flushing() bool { return p.flight.started }

// FlushesBeside reports whether flushes run beside the worker: they wait for a
// disk. Any goroutine, before Close.
func (p *Pool) FlushesBeside() bool { return p.later != nil }

// FinishFlush takes note of a flush that has ended, which makes it count. under:
// one is still on its way. An error is final, as StartFlush's.
func (p *Pool) FinishFlush() (under bool, err error) {
	f := &p.flight
	switch {
	case !f.started:
		return false, nil
	case !f.landed.Load() && !plant.Is(plant.FlushEarly):
		return true, nil
	}
	return false, p.finishFlush()
}

// Flush makes the log durable through its tail as it stands now, as far as the
// domain goes, and waits for that. An error is final (ErrFlush).
func (p *Pool) Flush() error {
	if err := p.awaitFlush(); err != nil {
		return err
	}
	return p.startFlush(nil)
}

// awaitFlush waits for the flush under way, if there is one, and takes note of
// it.
func (p *Pool) awaitFlush() error {
	if !p.flight.started {
		return nil
	}
	p.mu.Lock()
	p.exclude()
	p.mu.Unlock()
	return p.finishFlush()
}

// EndFlush is for the end of a worker: it waits until nothing of the pool runs
// beside it any more, and nobody is woken after it.
func (p *Pool) EndFlush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exclude()
	p.wake = nil
}

// OnFlushed makes fn be called, by another goroutine, whenever a flush that
// StartFlush left running has ended. Before the first, or nil.
func (p *Pool) OnFlushed(fn func()) {
	p.mu.Lock()
	p.wake = fn
	p.mu.Unlock()
}

func (p *Pool) startFlush(later func(job func())) error {
	f := &p.flight
	if f.started {
		if plant.Is(plant.FlushJoined) {
			f.tail = p.log.Tail()
			return nil
		}
		panic("pmem: P7: a flush is started while another is under way")
	}
	tail := p.log.Tail()
	from := p.log.Flushed()
	if tail == from && !p.log.Pending() {
		p.settle()
		return p.region.Failed()
	}
	p.marker.Store(p.store.LastMarker())
	p.index.SetMark(markMarker, p.marker.Load())
	if !p.region.flushes() {
		if p.superDue(tail) {
			if err := p.writeSuperOnce(); err != nil {
				return err
			}
		}
		p.flushedThrough(tail)
		return nil
	}
	if err := p.launch(from, tail); err != nil {
		return err
	}
	f.started, f.tail = true, tail
	if later == nil || p.domainInline() {
		p.drainFlight()
		return p.finishFlush()
	}
	later(p.job)
	return nil
}

// domainInline: a drain here is a fence.
func (p *Pool) domainInline() bool { return p.region.domain == DomainDAX }

// launch says what the flush writes. Whatever is appended from here on belongs
// to the next one.
func (p *Pool) launch(from, tail uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exclude()
	if err := p.region.Failed(); err != nil {
		return err // and leave the superblock as recordFailure left it
	}
	f := &p.flight
	if f.ended.L == nil {
		f.ended.L, p.job = &p.mu, p.drainFlight
	}
	p.ranges = p.log.Ranges(p.ranges[:0], from, tail)
	if plant.Is(plant.FlushSkipped) {
		p.ranges = p.ranges[:0]
	}
	f.bytes = 0
	for _, r := range p.ranges {
		p.region.Flush(dataOffset+r.Off, r.Len)
		f.bytes += p.weight(dataOffset+r.Off, r.Len)
	}
	if f.super = p.superDue(tail); f.super {
		// Both go out with one drain, in no order: so the superblock may
		// claim only what earlier drains have covered (P1).
		if p.refreshSuper(); plant.Is(plant.SuperFlight) {
			p.super.Durable = tail
		}
		writeSuper(p.region, &p.super)
		f.bytes += p.weight(0, superBytes)
	}
	f.under, f.draining, f.err = true, false, nil
	f.landed.Store(false)
	return nil
}

// drainFlight runs the drain of the flush under way, once, whoever calls it.
func (p *Pool) drainFlight() {
	f := &p.flight
	p.mu.Lock()
	if !f.under || f.draining {
		p.mu.Unlock()
		return
	}
	f.draining = true
	p.mu.Unlock()
	begun, err, drained := time.Now(), error(nil), false
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		f.under, f.draining = false, false
		f.ended.Broadcast()
		if !drained {
			return // a panic: a fault, or a test's crash. It never landed
		}
		if err != nil {
			// The file system may have become read-only: a store faults then.
			err = errors.Join(err, Guard(func() error { p.recordFailure(f.super); return nil }))
		}
		f.err, f.took = err, time.Since(begun)
		f.landed.Store(true) // pairs with the load in FinishFlush
		if p.wake != nil {
			p.wake()
		}
	}()
	if plant.Is(plant.FlushLandsEarly) {
		f.landed.Store(true)
	}
	if !plant.Is(plant.FenceSkipped) {
		err = p.region.Drain()
	}
	drained = true
}

// exclude waits until no drain is under way. Holds mu; others may have had it
// meanwhile.
func (p *Pool) exclude() {
	f := &p.flight
	for f.under && !plant.Is(plant.FlushNotAwaited) {
		if p.flusher == nil && !f.draining { // nobody's goroutine has it: a simulation's
			p.drainNow()
			continue
		}
		f.ended.Wait()
	}
}

// drainNow lets go of mu for the drain, and has it again even if that panics.
func (p *Pool) drainNow() {
	p.mu.Unlock()
	defer p.mu.Lock()
	p.drainFlight()
}

func (p *Pool) finishFlush() error {
	f := &p.flight
	f.started = false
	if f.err != nil && !plant.Is(plant.FlushError) {
		return f.err
	}
	p.flushes.add(f.took, f.bytes)
	tail := f.tail
	if plant.Is(plant.FlushLateTail) {
		tail = p.log.Tail()
	}
	p.flushedThrough(tail)
	return nil
}

// flushedThrough: a drain has covered the log through tail.
func (p *Pool) flushedThrough(tail uint64) {
	p.log.SetFlushed(tail)
	p.index.SetMark(markApplied, tail)
	p.settle()
}

// settle notes a position below which the worker has unlocked everything: what
// it called stable a flush ago. A replay over a kept index begins there.
func (p *Pool) settle() {
	p.index.SetMark(markSettled, p.settled)
	p.settled = p.stable.Load()
}

const pageBytes = 4096

// weight is how many bytes a flush of a range moves: whole pages, or lines.
func (p *Pool) weight(off, n int) int {
	grain := pageBytes
	if p.region.domain == DomainDAX {
		grain = lineBytes
	}
	return (off+n+grain-1)&^(grain-1) - off&^(grain-1)
}
