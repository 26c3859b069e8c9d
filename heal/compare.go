package heal

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

const (
	// compareAgain is when a range that differs is looked at once more.
	compareAgain = 100 * time.Millisecond
	// lookAtOnce is how many ranges a round looks at key by key.
	lookAtOnce = 64
)

// Compared is what comparing with other live members has come to in this life.
type Compared struct {
	Rounds, Ranges uint64 // shards compared; ranges that nobody wrote to meanwhile
	Looked         uint64 // ranges looked at key by key
	Divergent      uint64 // ranges in which keys diverged
	Keys           uint64 // keys found to diverge
	Repaired       uint64 // of them, taken from another member
	Unresolved     uint64 // of them, left as they are: nobody can tell which is right
	Recounts       uint64 // sums that were not those of the records, and begun anew
}

// comparer compares what this live node serves with what the others serve, one
// member and one shard after the other, as often as Config.CompareEvery
// says (ADR 0027, "Among live members"). One task of a life.
type comparer struct {
	l      *Life
	shards []compared
	own    [2][]store.Sum // before and after the peer's
	theirs []store.Sum
	first  []store.Sum // the peer's in the first look
}

// compared is what a comparer remembers of a shard.
type compared struct {
	busy []uint8 // for so many rounds a range was written to, and not compared
}

// comparisons is a Compared that any goroutine may look at.
type comparisons struct {
	mu sync.Mutex
	Compared
}

func (t *comparisons) add(f func(c *Compared)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.Compared)
}

// Compared is what the comparisons with other live members have come to.
func (l *Life) Compared() Compared {
	l.tally.mu.Lock()
	defer l.tally.mu.Unlock()
	return l.tally.Compared
}

// comparing goes on as long as the life does.
func (l *Life) comparing(ctx context.Context) {
	if l.cfg.CompareEvery <= 0 {
		return
	}
	c := &comparer{l: l, shards: make([]compared, len(l.workers))}
	for i := range c.own {
		c.own[i] = make([]store.Sum, store.DigestRanges)
	}
	c.theirs, c.first = make([]store.Sum, store.DigestRanges), make([]store.Sum, store.DigestRanges)
	for i := range c.shards {
		c.shards[i].busy = make([]uint8, store.DigestRanges)
	}
	for turn := 0; ctx.Err() == nil; {
		told := l.env.Wait(l.cfg.CompareEvery, l.doubted, ctx.Done()) == 0
		if ctx.Err() != nil || !l.serves() {
			continue
		}
		c.doubts(ctx)
		if told {
			continue
		}
		v := l.Installed()
		others := v.Live.Without(l.self.Node).Nodes(nil)
		if len(others) == 0 {
			continue
		}
		peer := v.Member(others[turn%len(others)])
		turn++
		for shard := range c.shards {
			if err := c.round(ctx, peer, shard); err != nil {
				l.log.Debug("not compared", "peer", peer, "shard", shard, "err", err)
			}
		}
	}
}

// doubts looks at what others have found to differ, and cannot repair themselves.
func (c *comparer) doubts(ctx context.Context) {
	l := c.l
	l.mu.Lock()
	list := l.doubts
	l.doubts = nil
	l.mu.Unlock()
	for _, d := range list {
		if err := c.look(ctx, d.from, d.shard, d.bits, d.ranges, nil); err != nil {
			l.log.Debug("a doubt was not looked at", "peer", d.from, "shard", d.shard, "err", err)
		}
	}
}

// sums takes both nodes' sums: the own ones before and after the peer's.
func (c *comparer) sums(ctx context.Context, peer proto.Member, shard int, theirs []store.Sum) (bits int, err error) {
	w := c.l.workers[shard]
	own := func(dst []store.Sum) error {
		err := errNoLife
		w.Do(func() { err = w.Digest(dst) })
		return err
	}
	if err := own(c.own[0]); err != nil {
		return 0, err
	}
	var r sumsReply
	ctx, cancel := c.l.env.Timeout(ctx, c.l.helloTimeout())
	defer cancel()
	if err := c.l.cfg.Control.Call(ctx, peer.Node, kindSums, sumsRequest{peer, shard}, &r); err != nil {
		return 0, err
	}
	if r.NotYet {
		return 0, dataplane.ErrDigestWalk
	}
	if r.Bits < 0 || r.Bits > digestBitsMax {
		return 0, fmt.Errorf("%w: parts of %d bits", errPage, r.Bits)
	}
	if err := decodeSums(r.Sums, theirs); err != nil {
		return 0, err
	}
	return r.Bits, own(c.own[1])
}

// round compares one shard with one peer. A range that is written to shows
// nothing: it is compared in another round, and if it never rests, key by key.
// Tombstones are left out: one may be dropped here and not there yet.
func (c *comparer) round(ctx context.Context, peer proto.Member, shard int) error {
	l, busy := c.l, c.shards[shard].busy
	bits, err := c.sums(ctx, peer, shard, c.first)
	if err != nil {
		return err
	}
	before := slices.Clone(c.own[0])
	var differ, look []uint32
	quiet := uint64(0)
	for i := range busy {
		switch {
		case c.own[0][i] != c.own[1][i]:
			busy[i] = min(busy[i], 254) + 1
		case c.own[0][i].Values == c.first[i].Values:
			busy[i] = 0
			quiet++
		default:
			quiet++
			differ = append(differ, uint32(i))
		}
	}
	l.tally.add(func(t *Compared) { t.Rounds++; t.Ranges += quiet })
	if len(differ) > 0 {
		if err := flow.Sleep(l.env, ctx, min(compareAgain, l.cfg.CompareEvery)); err != nil {
			return err
		}
		if _, err := c.sums(ctx, peer, shard, c.theirs); err != nil {
			return err
		}
		rest := differ[:0]
		for _, i := range differ {
			switch {
			case before[i] != c.own[0][i] || before[i] != c.own[1][i] || c.first[i] != c.theirs[i]:
				busy[i] = min(busy[i], 254) + 1 // it was under way
			case len(rest) < lookAtOnce:
				rest = append(rest, i)
			}
		}
		if err := c.look(ctx, peer, shard, bits, rest, before); err != nil {
			return err
		}
	}
	for i := range busy {
		if int(busy[i]) >= l.cfg.Limits.CompareBusy && len(look) < lookAtOnce {
			busy[i] = 0
			look = append(look, uint32(i))
		}
	}
	return c.look(ctx, peer, shard, bits, look, nil)
}

// look compares ranges key by key. still are the own sums if the ranges differed
// and nobody wrote to them, else nil.
func (c *comparer) look(ctx context.Context, peer proto.Member, shard, bits int, ranges []uint32, still []store.Sum) error {
	for _, x := range ranges {
		f := finding{c: c, peer: peer, shard: shard, w: c.l.workers[shard]}
		for first, end := x<<bits, (x+1)<<bits; first < end; first += entryPartsMax {
			var parts []uint32
			for p := first; p < min(end, first+entryPartsMax); p++ {
				parts = append(parts, p)
			}
			if err := f.parts(ctx, parts, bits); err != nil {
				return err
			}
		}
		if err := f.close(ctx, x, bits, still); err != nil {
			return err
		}
	}
	return nil
}

// finding is what one range comes to.
type finding struct {
	c      *comparer
	peer   proto.Member
	shard  int
	w      *dataplane.Worker
	sum    store.Sum // of what this node has
	moving int       // keys that were written to or are locked
	older  []store.Listed
	lacks  []store.Listed
	peers  int // keys that the peer lacks or has older
	unlike int // keys of one timestamp and two values
}

// parts sorts the keys of some parts out. A key diverges if this node lets one
// record of it be read all the time from before to after the peer lets another one
// be read, and both serve: that cannot be (I1).
func (f *finding) parts(ctx context.Context, parts []uint32, bits int) error {
	l, st := f.c.l, f.w.Pool().Store()
	list := func(dst map[uint64]store.Listed) error {
		return l.guarded(f.w, func() error {
			return listParts(st, parts, bits, nil, func(_ int, x *store.Listed) { put(dst, x) })
		})
	}
	before, theirs, after := map[uint64]store.Listed{}, map[uint64]store.Listed{}, map[uint64]store.Listed{}
	if err := list(before); err != nil {
		return err
	}
	if err := l.lookAt(ctx, f.peer, f.shard, bits, parts, theirs); err != nil {
		return err
	}
	if err := list(after); err != nil {
		return err
	}
	if !l.serves() {
		return errServes
	}
	hashes := make([]uint64, 0, len(after))
	for h := range after {
		hashes = append(hashes, h)
	}
	for h := range theirs {
		if _, ok := after[h]; !ok {
			hashes = append(hashes, h)
		}
	}
	slices.Sort(hashes) // the map's order must not matter
	for _, h := range hashes {
		a, was := after[h], before[h]
		b, has := theirs[h]
		if a.TS != 0 {
			f.sum.Add(a.Sum())
		}
		moves := a.TS != was.TS && !plant.Is(plant.CompareOnce) || (a.Locked || was.Locked || b.Locked) && !plant.Is(plant.CompareLocked)
		switch {
		case moves || a.Bytes < 0 || b.Bytes < 0:
			f.moving++
		case a.TS == b.TS:
			if has && (a.BodyCRC != b.BodyCRC || a.Tombstone != b.Tombstone) {
				f.unlike++
			}
		case a.TS == 0:
			if !b.Tombstone {
				f.lacks = append(f.lacks, b)
			}
		case b.TS == 0:
			if !a.Tombstone {
				f.peers++
			}
		case a.TS < b.TS:
			f.older = append(f.older, b)
		default:
			f.peers++
		}
	}
	return nil
}

// put notes a record under its hash. Two keys of one hash, should there be any,
// are not compared.
func put(dst map[uint64]store.Listed, x *store.Listed) {
	y := *x
	if _, two := dst[x.Hash]; two {
		y.Bytes = -1
	}
	dst[x.Hash] = y
}

// lookAt asks a live member for what it has in parts.
func (l *Life) lookAt(ctx context.Context, peer proto.Member, shard, bits int, parts []uint32, dst map[uint64]store.Listed) error {
	ctx, cancel := l.env.Timeout(ctx, l.helloTimeout())
	defer cancel()
	var r lookReply
	if err := l.cfg.Control.Call(ctx, peer.Node, kindLook, lookRequest{peer, shard, bits, parts}, &r); err != nil {
		return err
	}
	for rest := r.Data; len(rest) > 0; {
		x, left, err := decodeEntry(rest)
		if err != nil {
			return err
		}
		if _, ok := slices.BinarySearch(parts, uint32(x.Hash>>(rangeShift-bits))); !ok {
			return fmt.Errorf("%w: an entry of another part", errPage)
		}
		put(dst, &x)
		rest = left
	}
	return nil
}

// close reports a range and repairs what can be repaired here.
func (f *finding) close(ctx context.Context, x uint32, bits int, still []store.Sum) error {
	l := f.c.l
	keys := len(f.older) + len(f.lacks) + f.peers + f.unlike
	l.tally.add(func(t *Compared) {
		t.Looked++
		if keys > 0 {
			t.Divergent++
			t.Keys += uint64(keys)
			t.Unresolved += uint64(f.unlike)
		}
	})
	if keys == 0 {
		if still != nil && f.moving == 0 && still[x] != f.sum {
			return f.recount(x, still[x])
		}
		return nil
	}
	why := fmt.Sprintf("shard %d, range %d of %d: beside node %d %d keys are older here, %d are missing here, %d are older or missing there, %d have one timestamp and two values",
		f.shard, x, store.DigestRanges, f.peer.Node, len(f.older), len(f.lacks), f.peers, f.unlike)
	l.log.Error("records diverge", "what", why)
	l.cfg.Event("diverged", l.newestEpoch(), why)
	var err error
	for _, y := range slices.Concat(f.older, f.lacks) {
		missing := !slices.ContainsFunc(f.older, func(o store.Listed) bool { return o.Hash == y.Hash })
		if e := f.repair(ctx, &y, missing); e != nil {
			err = cmp.Or(err, e)
			l.tally.add(func(t *Compared) { t.Unresolved++ })
			l.log.Error("a diverging record is not repaired", "shard", f.shard, "hash", fmt.Sprintf("%#x", y.Hash), "err", e)
		}
	}
	if f.peers > 0 {
		ctx, cancel := l.env.Timeout(ctx, l.helloTimeout())
		defer cancel()
		return l.cfg.Control.Call(ctx, f.peer.Node, kindDoubt, doubtRequest{f.peer, f.shard, bits, []uint32{x}}, nil)
	}
	return err
}

// recount: nobody wrote to a range, the sums differ, and no key does. Then one of
// them is not the sum of its records. The peer finds out by itself if it is its.
func (f *finding) recount(x uint32, was store.Sum) error {
	wrong := false
	if !f.w.Do(func() {
		sums := f.c.own[0]
		if f.w.Digest(sums) == nil && sums[x] == was {
			wrong = true
			f.w.Pool().Store().DigestAgain()
		}
	}) {
		return errNoLife
	}
	if wrong {
		f.c.l.tally.add(func(t *Compared) { t.Recounts++ })
		f.c.l.log.Warn("a digest was not that of its records and is begun anew", "shard", f.shard, "range", x)
	}
	return nil
}

// repair takes a record from the peer. One that is only missing here may have been
// deleted, and its tombstone dropped: it is taken if more than half of the live
// members have it, and left as it is otherwise.
func (f *finding) repair(ctx context.Context, x *store.Listed, missing bool) error {
	l := f.c.l
	if missing {
		v := l.Installed()
		have, live := 1, v.Live.Count()
		part := uint32(x.Hash >> (rangeShift - digestBitsMax))
		for _, n := range v.Live.Without(l.self.Node).Without(f.peer.Node).Nodes(nil) {
			theirs := map[uint64]store.Listed{}
			if err := l.lookAt(ctx, v.Member(n), f.shard, digestBitsMax, []uint32{part}, theirs); err != nil {
				return err
			}
			if y := theirs[x.Hash]; y.TS >= x.TS && !y.Tombstone {
				have++
			}
		}
		if 2*have <= live && !plant.Is(plant.CompareVote) {
			return fmt.Errorf("heal: %d of %d live members have it", have, live)
		}
	}
	ctx, cancel := l.env.Timeout(ctx, l.helloTimeout())
	defer cancel()
	var r getReply
	if err := l.cfg.Control.Call(ctx, f.peer.Node, kindGet, getRequest{f.peer, f.shard, x.Hash, x.TS}, &r); err != nil {
		return err
	}
	if len(r.Image) == 0 {
		return nil // written to meanwhile: the stream brings it
	}
	var h record.Header
	if err := record.VerifyHeader(r.Image, record.Seed(r.Pos, r.Incarnation), &h); err != nil {
		return err
	}
	if err := record.VerifyBody(r.Image, &h); err != nil {
		return err
	}
	if h.Hash != x.Hash || h.TS != x.TS || h.Kind != record.Put && h.Kind != record.Delete {
		return fmt.Errorf("%w: another record than the one asked for", errPage)
	}
	var got replica.Adoption
	if !f.w.Do(func() { got = f.w.Replica().Adopt(r.Image, false) }) {
		return errNoLife
	}
	switch got {
	case replica.AdoptFull:
		return errFull
	case replica.AdoptSeed:
		return errSeed
	case replica.Adopted:
		l.tally.add(func(t *Compared) { t.Repaired++ })
	}
	return nil
}
