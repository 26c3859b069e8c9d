package dataplane

import (
	"errors"
	"time"

	"healkv/dataplane/plant"
	"healkv/pmem/store"
)

var (
	// ErrDigestWalk says that the sums of a shard do not cover all records yet:
	// ask again.
	ErrDigestWalk = errors.New("dataplane: the shard's digest is not complete yet")
	// ErrDigestDamaged says that records did not verify when they were summed. A
	// node that cannot read a record must not tell others that there is none.
	ErrDigestDamaged = errors.New("dataplane: records of the shard do not verify: its digest says nothing about their keys")
)

// digests goes on with the walk that fills the shard's sums after the pool was
// opened: a page of the index at a time, about as long as one takes to split. A
// worker with other work does so now and then only. It begins when no page of the
// index is in doubt any more; whoever waits for the sums asks, and so wakes it,
// and for as long as somebody asks it is no chore.
func (w *Worker) digests(busy bool) (moved bool) {
	if w.st.DigestReady() || !w.st.Sure() || busy && w.now-w.digestAt < w.limit.digestEvery ||
		w.choresRest() && (w.digestAsked == 0 || w.now-w.digestAsked > digestAskedFor) {
		return false
	}
	w.digestAt = w.now
	began := w.choreBegins()
	w.st.DigestWalk()
	w.choreEnds(began)
	return true
}

// digestAskedFor is how long after a question for the sums somebody waits for them.
const digestAskedFor = int64(100 * time.Millisecond)

// Digest copies the shard's sums, len store.DigestRanges: ErrDigestWalk or
// ErrDigestDamaged if they cannot be relied on. After damage they are summed
// again, since it may have been repaired. Inside Do.
func (w *Worker) Digest(dst []store.Sum) error {
	switch {
	case !w.st.DigestReady() && !plant.Is(plant.DigestBegun):
		w.digestAsked = w.now
		return ErrDigestWalk
	case w.st.DigestDamaged() > 0:
		w.st.DigestAgain()
		return ErrDigestDamaged
	}
	w.st.Digest(dst)
	return nil
}

// OwnDigest is Digest for the node's own use: what does not verify is in no sum,
// and so differs from what any other node has.
func (w *Worker) OwnDigest(dst []store.Sum) error {
	if !w.st.DigestReady() && !plant.Is(plant.DigestBegun) {
		w.digestAsked = w.now
		return ErrDigestWalk
	}
	w.st.Digest(dst)
	return nil
}
