package heal

import (
	"context"
	"errors"
	"fmt"

	"healkv/dataplane"
	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/store"
)

var errServes = errors.New("heal: only nodes that serve compare what they hold")

// serves: what this node lets be read at this moment is what it may answer.
func (l *Life) serves() bool { return l.cfg.Core.Serving() || plant.Is(plant.CompareFenced) }

// bothServe refuses who is not live in this node's view. What is answered counts
// only if this node serves after it was read: the caller asks again then.
func (l *Life) bothServe(from, to proto.Member, shard int) (*dataplane.Worker, error) {
	if err := l.forMe(to); err != nil {
		return nil, err
	}
	if shard < 0 || shard >= len(l.workers) {
		return nil, fmt.Errorf("heal: shard %d of %d", shard, len(l.workers))
	}
	v := l.Installed()
	if !l.serves() || !v.Live.Has(from.Node) || from.Node == l.self.Node {
		return nil, errServes
	}
	return l.workers[shard], nil
}

func (l *Life) onSums(_ context.Context, from proto.Member, q *sumsRequest) (*sumsReply, error) {
	w, err := l.bothServe(from, q.To, q.Shard)
	if err != nil {
		return nil, err
	}
	sums, r := make([]store.Sum, store.DigestRanges), &sumsReply{}
	if !w.Do(func() {
		err = w.Digest(sums)
		r.Bits = partBits(w.Pool().Store().Index().Len())
	}) {
		return nil, errNoLife
	}
	switch {
	case errors.Is(err, dataplane.ErrDigestWalk):
		return &sumsReply{NotYet: true}, nil
	case err != nil:
		return nil, err
	case !l.serves():
		return nil, errServes
	}
	r.Sums = encodeSums(sums)
	return r, nil
}

func (l *Life) onLook(_ context.Context, from proto.Member, q *lookRequest) (*lookReply, error) {
	w, err := l.bothServe(from, q.To, q.Shard)
	if err != nil {
		return nil, err
	}
	if q.Bits < 0 || q.Bits > digestBitsMax || len(q.Parts) > entryPartsMax || !ascending(q.Parts, store.DigestRanges<<q.Bits) {
		return nil, errPage
	}
	r := &lookReply{}
	if err := l.guarded(w, func() error {
		return listParts(w.Pool().Store(), q.Parts, q.Bits, nil, func(_ int, x *store.Listed) { r.Data = appendEntry(r.Data, x) })
	}); err != nil {
		return nil, err
	}
	if !l.serves() { // what it had may be older than what others serve by now
		return nil, errServes
	}
	return r, nil
}

func (l *Life) onGet(_ context.Context, from proto.Member, q *getRequest) (*getReply, error) {
	w, err := l.bothServe(from, q.To, q.Shard)
	if err != nil {
		return nil, err
	}
	r := &getReply{}
	if !w.Do(func() { r.Image, r.Pos, r.Incarnation, _ = w.Pool().Store().CopyOf(q.Hash, q.TS, nil) }) {
		return nil, errNoLife
	}
	if !l.serves() {
		return nil, errServes
	}
	return r, nil
}

func (l *Life) onDoubt(_ context.Context, from proto.Member, q *doubtRequest) (*struct{}, error) {
	if _, err := l.bothServe(from, q.To, q.Shard); err != nil {
		return nil, err
	}
	if q.Bits < 0 || q.Bits > digestBitsMax || !ascending(q.Ranges, store.DigestRanges) {
		return nil, errPage
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.doubts) < doubtsMax { // else: the rounds find it
		l.doubts = append(l.doubts, doubt{from, q.Shard, q.Bits, q.Ranges})
		flow.Signal(l.doubted)
	}
	return &struct{}{}, nil
}
