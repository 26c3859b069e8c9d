package dataplane

import (
	"sync/atomic"

	"healkv/dataplane/plant"
	"healkv/dataplane/replica"
	"healkv/dataplane/sched"
	"healkv/pmem/record"
)

// Batch is a burst of a buddy's verified records on its way from the recovery
// goroutine to the worker. The recovery goroutine owns it until AdoptOffer and
// again from AdoptTaken.
type Batch struct {
	Buf   []byte
	Items []BatchItem
	// Filled in by the worker.
	Adopted, Bytes int
	NoRoom         bool // the log had no room for some of it, for long
	OtherSeed      bool // its keys are hashed with another seed: nothing more of it was taken
	// Waited is how long, from when the worker could have begun this batch until its
	// end, it had no core, or before it began other work; nanoseconds; 0 without a thread.
	Waited int64

	offered, worked int64
}

// BatchItem is one record image in a batch.
type BatchItem struct {
	Off, Len int32
	Locked   bool
}

const batchRingLen = 64

// batchRing is a single-producer single-consumer ring; the load of tail pairs
// with the store in put.
type batchRing struct {
	slot [batchRingLen]*Batch
	head atomic.Uint64 // written by the consumer
	_    [56]byte
	tail atomic.Uint64 // written by the producer
}

func (r *batchRing) put(b *Batch) bool {
	t := r.tail.Load()
	if t-r.head.Load() == batchRingLen {
		return false
	}
	r.slot[t%batchRingLen] = b
	publish(&r.tail, t+1)
	return true
}

func (r *batchRing) take() *Batch {
	h := r.head.Load()
	if h == r.tail.Load() {
		return nil
	}
	b := r.slot[h%batchRingLen]
	r.slot[h%batchRingLen] = nil
	r.head.Store(h + 1)
	return b
}

// AdoptOffer hands a batch to the worker; false if its ring is full. Recovery
// goroutine only.
func (w *Worker) AdoptOffer(b *Batch) bool {
	b.Adopted, b.Bytes, b.NoRoom, b.OtherSeed, b.Waited = 0, 0, false, false, 0
	b.offered = w.clock()
	if !w.adoptIn.put(b) {
		return false
	}
	w.ep.Wake()
	return true
}

// AdoptTaken gives back a batch the worker is done with, or nil. Recovery
// goroutine only.
func (w *Worker) AdoptTaken() *Batch { return w.adoptOut.take() }

// adopt applies a bounded number of the buddy's records.
func (w *Worker) adopt() (moved bool) {
	for budget := w.limit.adopt; budget > 0; {
		if w.adopting == nil {
			if w.adopting = w.adoptIn.take(); w.adopting == nil {
				w.adoptStalled = 0
				return moved
			}
			w.adoptAt = 0
			w.adoptBegins(w.adopting)
		}
		b := w.adopting
		for ahead := w.adoptAt; w.adoptAt < len(b.Items) && budget > 0; w.adoptAt++ {
			if ahead == w.adoptAt {
				ahead = w.adoptAhead(b)
			}
			it := &b.Items[w.adoptAt]
			switch w.rep.Adopt(b.Buf[it.Off:it.Off+it.Len], it.Locked) {
			case replica.AdoptFull:
				if w.adoptStalled == 0 {
					w.adoptStalled = w.now
				}
				if w.now-w.adoptStalled < w.limit.noRoomPatience {
					return moved
				}
				// The cleaner finds nothing, or not while this goes on.
				b.NoRoom = !plant.Is(plant.AdoptDropped)
				w.adoptAt = len(b.Items) - 1 // give it back as it is
				continue
			case replica.AdoptSeed:
				b.OtherSeed = true
				w.adoptAt = len(b.Items) - 1
				continue
			case replica.Adopted:
				w.adoptStalled = 0
				b.Adopted++
				b.Bytes += int(it.Len)
			}
			budget--
			moved = true
		}
		if w.adoptAt == len(b.Items) {
			w.adoptEnds(b)
			w.adoptOut.put(b) // as long as the ring in, so never full
			w.adopting = nil
		}
	}
	return moved
}

// adoptBegins and adoptEnds fill in Waited: what a recovery takes from others shows
// at the worker that applies, not at the thread that copies.
func (w *Worker) adoptBegins(b *Batch) {
	if w.threaded {
		b.worked = sched.Worked()
	}
}

func (w *Worker) adoptEnds(b *Batch) {
	if !w.threaded {
		return
	}
	now := w.clock()
	b.Waited = max(0, now-max(b.offered, w.adoptEnded)-(sched.Worked()-b.worked))
	w.adoptEnded = now
}

// adoptAhead asks the memory for what the batch's next records will need, so
// that their cache misses overlap: for the places of the burst after them in the
// index, and for the records that they may replace, whose keys are compared.
func (w *Worker) adoptAhead(b *Batch) (to int) {
	var hash [2 * opsAhead]uint64
	next := b.Items[w.adoptAt:]
	next = next[:min(len(next), len(hash))]
	for i, it := range next {
		hash[i] = record.Hash(b.Buf[it.Off : it.Off+it.Len])
		if i >= opsAhead || w.adoptAt == 0 {
			w.st.PrefetchKey(hash[i])
		}
	}
	n := min(len(next), opsAhead)
	w.st.PrefetchRecords(hash[:n])
	return w.adoptAt + n
}
