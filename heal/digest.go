package heal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/heal/rejoin"
	"healkv/pmem/store"
)

// digestPause passes between two looks at a digest that is not complete yet.
const digestPause = 5 * time.Millisecond

// pullDigest is pull where there is no range to list, or where it would not be
// enough: the node compares its sums over ranges of keys with the buddy's, then
// finer ones of the ranges that differ, and fetches the records that are newer
// there. Why nothing is missed stands in ADR 0027.
func (l *Life) pullDigest(ctx context.Context, e proto.Epoch, a rejoin.Action, shard int) error {
	l.ownThread()
	b, w := a.Buddy, l.workers[shard]
	d := &differ{l: l, w: w, b: b, shard: shard, st: w.Pool().Store()}
	if err := d.sums(ctx, e); err != nil {
		return err
	}
	remote, err := w.Endpoint().Remote(int(b.Node), uint32(b.Incarnation))
	if err != nil {
		return err
	}
	defer remote.Close()
	p := l.newPuller(w, remote, 0) // it waits for much that is no core
	d.p = p
	p.listBytes = uint64(len(d.reply.Sums))
	err = d.ranges(ctx)
	if err == nil {
		_, _, err = p.fetch(false)
	}
	err = errors.Join(err, p.finish())
	if err == nil {
		err = d.bury(ctx)
	}
	if err == nil {
		err = l.endRange(ctx, b, d.reply.ID)
	}
	l.recovery.add(p.listBytes+remote.BytesRead(), p.records, p.adopted, d.missed, 0, d.reply.StoreBytes)
	l.recovery.compared(d.differing, d.parts, d.buried, d.unlike)
	return err
}

// differ compares one shard with the buddy's. Recovery goroutine only.
type differ struct {
	l     *Life
	w     *dataplane.Worker
	st    *store.Store
	b     proto.Member
	shard int
	p     *puller
	reply digestReply

	list   []uint32 // ranges that differ
	extras []extra  // own records of keys that the buddy has not
	wanted []store.Listed

	missed    uint64 // bytes of the records listed for fetching
	differing uint64 // ranges
	parts     uint64 // that differ
	buried    uint64
	unlike    uint64 // records of one timestamp and two values: nobody can tell which is right
}

type extra struct{ hash, pos uint64 }

// sums waits until both have summed up all their records, and notes the ranges
// whose sums differ. The own ones are taken after the buddy's: where they are
// equal, this node had then what the buddy had a moment before, and what the buddy
// applies after that moment comes to this node as well.
func (d *differ) sums(ctx context.Context, e proto.Epoch) error {
	own, theirs := make([]store.Sum, store.DigestRanges), make([]store.Sum, store.DigestRanges)
	if err := d.own(ctx, own); err != nil { // before the buddy keeps anything for this node
		return err
	}
	for {
		d.reply = digestReply{}
		if err := d.l.cfg.Control.Call(ctx, d.b.Node, kindDigest, digestRequest{d.b, d.l.self, e, d.shard}, &d.reply); err != nil {
			return err
		}
		if !d.reply.NotYet {
			break
		}
		if err := flow.Sleep(d.l.env, ctx, digestPause); err != nil {
			return err
		}
	}
	if err := decodeSums(d.reply.Sums, theirs); err != nil {
		return err
	}
	if d.reply.Bits < 0 || d.reply.Bits > digestBitsMax {
		return fmt.Errorf("%w: parts of %d bits", errPage, d.reply.Bits)
	}
	if err := d.own(ctx, own); err != nil {
		return err
	}
	for i := range own {
		if own[i] != theirs[i] {
			d.list = append(d.list, uint32(i))
		}
	}
	if plant.Is(plant.DigestRange) && len(d.list) > 0 {
		d.list = d.list[:len(d.list)-1]
	}
	d.differing = uint64(len(d.list))
	return nil
}

// own copies this node's sums once they are complete.
func (d *differ) own(ctx context.Context, dst []store.Sum) error {
	for {
		var err error
		if !d.w.Do(func() { err = d.w.OwnDigest(dst) }) {
			return errNoLife
		}
		if !errors.Is(err, dataplane.ErrDigestWalk) {
			return err
		}
		if err := flow.Sleep(d.l.env, ctx, digestPause/5); err != nil {
			return err
		}
	}
}

// skipped: a record of this node's own that does not verify is as one that it
// does not have. Whatever the buddy has for it is fetched.
func skipped(uint64) {}

// ranges goes through the ranges that differ.
func (d *differ) ranges(ctx context.Context) error {
	bits := d.reply.Bits
	step := max(1, partSumsMax>>bits)
	var parts []uint32
	for list := d.list; len(list) > 0; {
		some := list[:min(step, len(list))]
		list = list[len(some):]
		if bits == 0 {
			parts = append(parts, some...)
		} else {
			var err error
			if parts, err = d.compare(ctx, some, parts); err != nil {
				return err
			}
		}
		for len(parts) >= entryPartsMax || len(parts) > 0 && len(list) == 0 {
			n := min(entryPartsMax, len(parts))
			if err := d.entries(ctx, parts[:n]); err != nil {
				return err
			}
			parts = parts[:copy(parts, parts[n:])]
		}
	}
	return nil
}

// compare appends the parts of some ranges that differ.
func (d *differ) compare(ctx context.Context, some, parts []uint32) ([]uint32, error) {
	bits := d.reply.Bits
	var r partsReply
	if err := d.l.cfg.Control.Call(ctx, d.b.Node, kindParts, partsRequest{d.b, d.reply.ID, bits, some}, &r); err != nil {
		return nil, err
	}
	d.p.listBytes += uint64(len(r.Sums))
	var own []store.Sum
	err := d.l.guarded(d.w, func() (err error) {
		own, err = partSums(d.st, some, bits, skipped)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(r.Sums) != partSumBytes*len(own) {
		return nil, fmt.Errorf("%w: %d bytes of sums for %d parts", errPage, len(r.Sums), len(own))
	}
	for i := range own {
		if fold(own[i]) != binary.LittleEndian.Uint64(r.Sums[partSumBytes*i:]) {
			parts = append(parts, some[i>>bits]<<bits|uint32(i&(1<<bits-1)))
		}
	}
	return parts, nil
}

// entries looks at the records of parts that differ, key by key: what is newer at
// the buddy is fetched, what only this node has is noted.
func (d *differ) entries(ctx context.Context, parts []uint32) error {
	bits := d.reply.Bits
	d.parts += uint64(len(parts))
	var own []store.Listed // before the buddy's: this node's timestamps only grow
	if err := d.l.guarded(d.w, func() error {
		return listParts(d.st, parts, bits, skipped, func(_ int, x *store.Listed) { own = append(own, *x) })
	}); err != nil {
		return err
	}
	var r entriesReply
	if err := d.l.cfg.Control.Call(ctx, d.b.Node, kindEntries, entriesRequest{d.b, d.reply.ID, bits, parts}, &r); err != nil {
		return err
	}
	d.p.listBytes += uint64(len(r.Data))
	var theirs []store.Listed
	for rest := r.Data; len(rest) > 0; {
		x, left, err := decodeEntry(rest)
		if err != nil {
			return err
		}
		if _, ok := slices.BinarySearch(parts, uint32(x.Hash>>(rangeShift-bits))); !ok {
			return fmt.Errorf("%w: an entry of another part", errPage)
		}
		theirs, rest = append(theirs, x), left
	}
	d.judge(own, theirs)
	return d.fetch(ctx)
}

// judge sorts out what the two have. Keys of one hash, should there be any, are
// all fetched: whoever adopts them looks at the keys.
func (d *differ) judge(own, theirs []store.Listed) {
	byHash := func(a, b store.Listed) int {
		switch {
		case a.Hash < b.Hash:
			return -1
		case a.Hash > b.Hash:
			return 1
		}
		return 0
	}
	slices.SortFunc(own, byHash)
	slices.SortFunc(theirs, byHash)
	d.wanted = d.wanted[:0]
	for i, j := 0, 0; i < len(own) || j < len(theirs); {
		switch {
		case j == len(theirs) || i < len(own) && own[i].Hash < theirs[j].Hash:
			if x := &own[i]; !x.Tombstone {
				d.extras = append(d.extras, extra{x.Hash, x.Pos})
			}
			i++
		case i == len(own) || theirs[j].Hash < own[i].Hash:
			d.wanted = append(d.wanted, theirs[j])
			j++
		default:
			hash, from := own[i].Hash, j
			x := &own[i]
			for i++; i < len(own) && own[i].Hash == hash; i++ {
				x = nil
			}
			for ; j < len(theirs) && theirs[j].Hash == hash; j++ {
			}
			if y := &theirs[from]; x == nil || j-from > 1 || y.TS > x.TS {
				d.wanted = append(d.wanted, theirs[from:j]...)
			} else if y.TS == x.TS && (y.BodyCRC != x.BodyCRC || y.Tombstone != x.Tombstone) {
				d.unlike++
			}
		}
	}
}

// fetch plans to read what is wanted, neighbours in one run.
func (d *differ) fetch(ctx context.Context) error {
	slices.SortFunc(d.wanted, func(a, b store.Listed) int {
		if a.Pos < b.Pos {
			return -1
		}
		return 1
	})
	var r run
	for i := range d.wanted {
		x := &d.wanted[i]
		d.missed += uint64(x.Bytes)
		next := run{x.Pos, x.Off, x.Bytes, x.Incarnation, x.Locked}
		if r.bytes > 0 && next.pos == r.pos+uint64(r.bytes) && next.off == r.off+int64(r.bytes) && next.incarnation == r.incarnation && next.locked == r.locked {
			r.bytes += next.bytes
			continue
		}
		if r.bytes > 0 {
			if err := d.p.run(ctx, r); err != nil {
				return err
			}
		}
		r = next
	}
	d.p.expect(d.missed)
	if r.bytes == 0 {
		return nil
	}
	return d.p.run(ctx, r)
}

// buriedAtOnce is how many records are looked at in one step of the worker.
const buriedAtOnce = 256

// bury puts tombstones in the place of what the buddy has no key for.
func (d *differ) bury(ctx context.Context) error {
	for list := d.extras; len(list) > 0; {
		some := list[:min(buriedAtOnce, len(list))]
		list = list[len(some):]
		full := false
		if !d.w.Do(func() {
			for _, x := range some {
				switch d.w.Replica().Bury(x.hash, x.pos, d.l.cfg.Doubtful != "") {
				case replica.Buried:
					d.buried++
				case replica.BuryNoRoom:
					full = true
				}
			}
		}) {
			return errNoLife
		}
		if full {
			return errFull
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if d.buried > 0 {
		d.l.log.Warn("records that no longer exist at the buddy were deleted here", "shard", d.shard, "buddy", d.b, "records", d.buried)
	}
	return nil
}
