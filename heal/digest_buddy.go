package heal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"healkv/dataplane"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/store"
)

// The buddy's part of a recovery by digests (ADR 0027). It keeps nothing between
// the requests but the pin: what it answers is what its index says then.

// onDigest answers with the sums of a shard as they are in one step of its
// worker, after a turn in which that has taken in what all members have published
// (onRange). From then on nothing that its index leads to is given up.
func (l *Life) onDigest(_ context.Context, from proto.Member, q *digestRequest) (*digestReply, error) {
	if err := l.forMe(q.To); err != nil {
		return nil, err
	}
	if q.From.Node != from.Node {
		return nil, fmt.Errorf("heal: digest in the name of %v from node %d", q.From, from.Node)
	}
	if q.Shard < 0 || q.Shard >= len(l.workers) {
		return nil, fmt.Errorf("heal: shard %d of %d", q.Shard, len(l.workers))
	}
	w := l.workers[q.Shard]
	if !w.Do(func() {}) {
		return nil, errNoLife
	}
	s := &served{to: q.From, shard: q.Shard, more: make(chan struct{}), done: true}
	sums, ids := make([]store.Sum, store.DigestRanges), rangeReply{}
	var err error
	r := &digestReply{}
	if !w.Do(func() {
		v := w.Replica().View()
		if v.Epoch < q.Epoch || !v.Shadow.Has(q.From.Node) || !v.Has(q.From) || !v.Live.Has(l.self.Node) {
			err = errView
			return
		}
		if err = w.Digest(sums); err == nil {
			l.addRange(s, &ids)
		}
		if r.Bits = l.cfg.Limits.PartBits; r.Bits == 0 {
			r.Bits = partBits(w.Pool().Store().Index().Len())
		}
	}) {
		return nil, errNoLife
	}
	if errors.Is(err, dataplane.ErrDigestWalk) {
		return &digestReply{NotYet: true}, nil
	}
	if err != nil {
		return nil, err
	}
	r.ID, r.Sums, r.StoreBytes = ids.ID, encodeSums(sums), w.Pool().UsedBytes()
	return r, nil
}

// compared finds what onDigest began for that member.
func (l *Life) compared(from, to proto.Member, id uint64) (*dataplane.Worker, error) {
	if err := l.forMe(to); err != nil {
		return nil, err
	}
	l.rangeMu.Lock()
	s := l.ranges[id]
	l.rangeMu.Unlock()
	if s == nil || s.to.Node != from.Node {
		return nil, errPage
	}
	return l.workers[s.shard], nil
}

func (l *Life) onParts(_ context.Context, from proto.Member, q *partsRequest) (*partsReply, error) {
	w, err := l.compared(from, q.To, q.ID)
	if err != nil {
		return nil, err
	}
	if q.Bits < 1 || q.Bits > digestBitsMax || len(q.Ranges)<<q.Bits > partSumsMax || !ascending(q.Ranges, store.DigestRanges) {
		return nil, errPage
	}
	var sums []store.Sum
	err = l.guarded(w, func() (err error) {
		sums, err = partSums(w.Pool().Store(), q.Ranges, q.Bits, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &partsReply{Sums: make([]byte, 0, partSumBytes*len(sums))}
	for _, s := range sums {
		r.Sums = binary.LittleEndian.AppendUint64(r.Sums, fold(s))
	}
	return r, nil
}

func (l *Life) onEntries(_ context.Context, from proto.Member, q *entriesRequest) (*entriesReply, error) {
	w, err := l.compared(from, q.To, q.ID)
	if err != nil {
		return nil, err
	}
	if q.Bits < 0 || q.Bits > digestBitsMax || len(q.Parts) > entryPartsMax || !ascending(q.Parts, store.DigestRanges<<q.Bits) {
		return nil, errPage
	}
	r := &entriesReply{}
	err = l.guarded(w, func() error {
		return listParts(w.Pool().Store(), q.Parts, q.Bits, nil, func(_ int, x *store.Listed) {
			if x.Tombstone && plant.Is(plant.DigestTombstone) {
				return
			}
			r.Data = appendEntry(r.Data, x)
		})
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// ascending: below the bound, sorted, none twice. The list comes from a peer.
func ascending(list []uint32, bound uint32) bool {
	for i, x := range list {
		if x >= bound || i > 0 && x <= list[i-1] {
			return false
		}
	}
	return len(list) > 0
}

// partSums sums up the parts of ranges, in their order.
func partSums(st *store.Store, ranges []uint32, bits int, damaged func(pos uint64)) ([]store.Sum, error) {
	sums := make([]store.Sum, len(ranges)<<bits)
	for i, x := range ranges {
		first, last := span(x, 0)
		if err := st.ListHashes(first, last, damaged, func(x *store.Listed) bool {
			sums[i<<bits|int(x.Hash>>(rangeShift-bits)&(1<<bits-1))].Add(x.Sum())
			return true
		}); err != nil {
			return nil, err
		}
	}
	return sums, nil
}

// listParts lists the records of parts, which ascend: fn hears of which.
func listParts(st *store.Store, parts []uint32, bits int, damaged func(pos uint64), fn func(i int, x *store.Listed)) error {
	for i := 0; i < len(parts); {
		j := i + 1
		for j < len(parts) && parts[j]>>bits == parts[i]>>bits { // of one range: in one go
			j++
		}
		first, _ := span(parts[i], bits)
		_, last := span(parts[j-1], bits)
		if err := st.ListHashes(first, last, damaged, func(x *store.Listed) bool {
			if k, ok := slices.BinarySearch(parts[i:j], uint32(x.Hash>>(rangeShift-bits))); ok {
				fn(i+k, x)
			}
			return true
		}); err != nil {
			return err
		}
		i = j
	}
	return nil
}
