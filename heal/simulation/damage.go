package simulation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
	"healkv/pmem/store"
)

// What doDamage hits.
const (
	hurtRecord     = iota // a current record
	hurtLog               // anything between the log's oldest segment and its tail
	hurtHeader            // a segment's header
	hurtSuper             // a copy of the superblock
	hurtIndex             // a page of the index; only of a process that is down
	hurtCheckpoint        // a block of the checkpoint's file
	hurtPlaces
)

var hurtPlaceNames = [hurtPlaces]string{"record", "log", "segment header", "superblock", "index", "checkpoint"}

// How it does.
const (
	hurtFlip     = iota // one bit
	hurtZero            // a block
	hurtElse            // a block of the same kind from elsewhere
	hurtStale           // the block that stood there at the damage before: a lost write
	hurtOneWord         // 8 bytes of anything
	hurtWaysMany        // their number
)

var hurtHowNames = [hurtWaysMany]string{"bit flip", "zeroed", "misdirected", "stale", "word"}

// When it does.
const (
	hurtRunning = iota // what the process sees and the medium
	hurtLatent         // the medium, below what the process sees: it shows after a power loss
	hurtCrash          // the process is down
	hurtPower          // the machine lost power
	hurtWhens
)

var hurtWhenNames = [hurtWhens]string{"running", "below the page cache", "process down", "power lost"}

// forceDamage is how many are drawn for every seed; 0: as damages says.
var forceDamage int

// damages is how many blocks of pools are damaged in a run. They are drawn
// apart, so that a seed's others stay what they are.
func (o *Options) damages() int {
	switch {
	case forceDamage > 0:
		return forceDamage
	case o.Seed%4 == 3 && o.Seed%16 != 7:
		return 48
	}
	return 0
}

func drawDamage(o *Options) (list []Entry) {
	r := rand.New(rand.NewPCG(o.Seed, 0x64_616d_6167))
	begin, end, lease := 4*o.Lease.Microseconds(), int64(o.Millis)*1000, o.Lease.Microseconds()
	for range o.damages() {
		place := pick(r, hurtRecord, hurtRecord, hurtRecord, hurtLog, hurtHeader, hurtSuper, hurtIndex, hurtCheckpoint)
		when := pick(r, hurtRunning, hurtRunning, hurtLatent, hurtCrash, hurtCrash, hurtPower, hurtPower)
		if place == hurtIndex {
			when = hurtCrash
		}
		e := Entry{At: begin + r.Int64N(end), Do: doDamage, Node: r.IntN(o.Nodes), A: pick(r, 300, lease/4, lease, 3*lease) + r.Int64N(lease/4),
			B: int64(place | r.IntN(hurtWaysMany)<<8 | when<<16), C: r.Int64()}
		e.Other = (e.Node + 1 + r.IntN(o.Nodes-1)) % o.Nodes
		list = append(list, e)
	}
	return list
}

// hit is damage as it was done.
type hit struct {
	off           int // in the pool
	before, after []byte
	pos           uint64 // behind it in the log; 0: it is in none
}

// stands reports whether a part of the hit is still there.
func (h *hit) stands(now []byte) bool {
	for i := range h.after {
		if h.after[i] != h.before[i] && now[i] == h.after[i] {
			return true
		}
	}
	return false
}

// damaged drops the hits that were overwritten and reports whether others stand.
func (d *medium) damaged() bool {
	d.hits = slices.DeleteFunc(d.hits, func(h hit) bool {
		return !h.stands(d.heap.Pool[h.off:]) && (d.image == nil || !h.stands(d.image[at(h.off):]))
	})
	return len(d.hits) > 0
}

// hurt are the nodes whose pools may have damage: of what a key has at them there
// need not be a good copy.
func (w *world) hurt() (s proto.NodeSet) {
	if !w.damages {
		return 0
	}
	for _, m := range w.nodes {
		bad := m.doubtful
		for _, d := range m.pools {
			bad = d.damaged() || bad
		}
		if bad {
			s = s.With(proto.NodeID(m.id))
		}
	}
	return s
}

// fragile are nodes that the others must not be left alone with.
func (w *world) fragile() proto.NodeSet { return w.guarded | w.hurt() }

// spareDamage: a node's pool may be hit only while another one has everything,
// undamaged, and is not about to go.
func (w *world) spareDamage(n int) bool {
	if w.newest.Epoch == 0 || w.newest.Cold || w.guardOld >= 0 || w.away != 0 {
		return false
	}
	fragile := w.fragile()
	for i := range w.nodes {
		if i != n && w.stays(i) && !fragile.Has(proto.NodeID(i)) {
			return true
		}
	}
	return false
}

// stays: whole, and nothing is under way that takes the node down. Without damage
// who goes comes back with what it had, and a moment without anybody is harmless.
func (w *world) stays(n int) bool {
	m := w.nodes[n]
	return w.whole(n) && (!w.damages || !m.dieInFlush && !m.failFlush && w.sim.Now() >= m.failUntil && !m.p.closing && m.p.drained == nil && !m.p.life.gate.closed)
}

// damage carries a doDamage out. False: it makes no sense now.
func (w *world) damage(e *Entry) bool {
	m := w.nodes[e.Node]
	place, how, when := int(e.B&0xff), int(e.B>>8&0xff), int(e.B>>16)
	l := (*life)(nil)
	if m.up {
		l = m.p.life
	}
	if l == nil || !l.entered || m.foreign != nil || len(m.pools[0].copyOf) > 0 || w.calm || !w.spareDamage(e.Node) || when != hurtRunning && when != hurtLatent && !w.spare(set(e.Node)) ||
		!w.o.Power && (when == hurtLatent || when == hurtPower) || place == hurtCheckpoint && m.pools[0].ckpt == nil {
		return false
	}
	r := rand.New(rand.NewPCG(uint64(e.C), 0x6869_7473))
	shard := r.IntN(len(m.pools))
	d := m.pools[shard]
	if place == hurtSuper && slices.ContainsFunc(d.hits, func(h hit) bool { return h.off < pmem.SuperBytes }) {
		return false // the other copy
	}
	off, n, ok := d.target(l.pools[shard], place, how, r)
	if !ok {
		return false
	}
	w.note("fault "+e.Do, e.Node, uint64(e.B), uint64(off))
	end := d.endOf(l.pools[shard], off, n)
	switch when {
	case hurtCrash:
		m.crash(-1)
	case hurtPower:
		m.crash(r.IntN(tornKinds))
	}
	switch place {
	case hurtIndex:
		hurtBytes(d.heap.Index[off:off+n], nil, d.heap.Index[off^512:], how, r)
	case hurtCheckpoint:
		for _, b := range [][]byte{d.ckpt.now, d.ckpt.synced} {
			if off+n <= len(b) {
				d.ckptHit = true
				hurtBytes(b[off:off+n], nil, b, how, rand.New(rand.NewPCG(uint64(e.C), 1)))
			}
		}
	default:
		d.hurt(off, n, end, how, when == hurtLatent, w.nodes[e.Other].pools[shard], r)
	}
	d.stale = append(d.stale[:0], d.heap.Pool[:pmem.SuperBytes]...)
	d.stale = append(d.stale, d.heap.Pool[pmem.DataOffset:]...)
	w.count("damage: " + hurtPlaceNames[place])
	w.count("damage: " + hurtHowNames[how])
	w.count("damage: " + hurtWhenNames[when])
	if when == hurtCrash || when == hurtPower {
		m.restart(e.A * 1000)
	}
	return true
}

// target is where a hit goes, in the file it is of.
func (d *medium) target(p *pmem.Pool, place, how int, r *rand.Rand) (off, n int, ok bool) {
	st := p.Store()
	log := st.Log()
	switch place {
	case hurtRecord:
		var all []uint64
		st.Index().Words(func(word index.Word) bool {
			if st.Whole(word.Pos()) {
				all = append(all, word.Pos())
			}
			return true
		})
		if len(all) == 0 {
			return 0, 0, false
		}
		pos := all[r.IntN(len(all))]
		x, _ := log.ArenaOffset(pos)
		n = record.ImageBytes(st.Record(pos))
		if r.IntN(3) == 0 {
			n = record.HeaderBytes
		}
		off = pmem.DataOffset + int(x)
	case hurtLog, hurtHeader:
		all := log.Segments()
		if len(all) == 0 {
			return 0, 0, false
		}
		s := all[r.IntN(len(all))]
		x, ok := log.ArenaOffset(s.Start)
		if !ok {
			return 0, 0, false
		}
		head := pmem.DataOffset + int(x)&^(d.m.w.o.Segment-1)
		if place == hurtHeader {
			return head, seglog.SegmentHeaderBytes, true
		}
		n = 64 << r.IntN(4)
		off = head + int(r.Int64N(int64(max(1, s.End-s.Start))))&^(n-1)
	case hurtSuper:
		n = pmem.SuperBytes / 2
		off = r.IntN(2) * n
	case hurtIndex:
		if how == hurtStale {
			return 0, 0, false // in memory nothing is lost that was written
		}
		n = 512
		off = r.IntN(len(d.heap.Index)/n) * n
	case hurtCheckpoint:
		if how == hurtStale || d.ckpt == nil || len(d.ckpt.synced) < 8192 {
			return 0, 0, false
		}
		n = 512
		off = r.IntN(len(d.ckpt.synced)/n) * n
	}
	return off, n, true
}

// endOf is the log's position behind n bytes at off, and behind what they say of
// the log: a header holds the seal, without which the log looks as if it ended in
// its segment. 0: they are in no segment. The log is asked: the segment's header
// may have been hit before.
func (d *medium) endOf(p *pmem.Pool, off, n int) uint64 {
	if off < pmem.DataOffset {
		return 0
	}
	log, size := p.Store().Log(), d.m.w.o.Segment
	in := (off - pmem.DataOffset) & (size - 1)
	for _, s := range log.Segments() {
		if x, ok := log.ArenaOffset(s.Start); ok && int(x)&^(size-1) == off-pmem.DataOffset-in {
			if in < seglog.SegmentHeaderBytes {
				n = size - in
			}
			return s.Start&^uint64(size-1) + uint64(in+n)
		}
	}
	return 0
}

// hurt changes n bytes at off, which end at a position of the log.
func (d *medium) hurt(off, n int, end uint64, how int, latent bool, other *medium, r *rand.Rand) {
	h := hit{off: off, pos: end}
	now := d.heap.Pool
	if latent {
		now = d.image
		off = at(off)
	}
	h.before = slices.Clone(now[off : off+n])
	var stale, from []byte
	if x := at(h.off); len(d.stale) >= x+n {
		stale = d.stale[x:]
	}
	switch elsewhere := r.IntN(2) == 0; {
	case h.off < pmem.SuperBytes && elsewhere:
		from = other.heap.Pool[h.off:]
	case h.off < pmem.SuperBytes:
		from = d.heap.Pool[n-h.off:]
	default:
		size := d.m.w.o.Segment
		from = d.heap.Pool[pmem.DataOffset+r.IntN(d.m.w.o.LogBytes/size)*size+(h.off-pmem.DataOffset)&(size-1):]
	}
	if how == hurtStale && stale == nil {
		how = hurtZero
	}
	hurtBytes(now[off:off+n], stale, from, how, r)
	h.after = slices.Clone(now[off : off+n])
	if !latent && d.image != nil {
		copy(d.image[at(h.off):], h.after)
	}
	d.hits = append(d.hits, h)
	d.wasHit, d.hitTo = true, max(d.hitTo, h.pos)
}

// hurtBytes damages b; stale is what stood there before, from what stands
// elsewhere.
func hurtBytes(b, stale, from []byte, how int, r *rand.Rand) {
	switch how {
	case hurtFlip:
		bit := r.IntN(8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
	case hurtZero:
		clear(b)
	case hurtElse:
		copy(b, from)
	case hurtStale:
		copy(b, stale)
	case hurtOneWord:
		binary.LittleEndian.PutUint64(b[r.IntN(len(b)/8)*8:], r.Uint64())
	}
}

// unreadable reports whether a record that the key may have does not verify: a
// judge can say nothing about the key then, and nobody may be served it. It
// notes nothing, unlike a lookup: what is damaged the product must find.
func (w *world) unreadable(st *store.Store, key int) bool {
	if !w.damages {
		return false
	}
	var c index.Cursor
	for st.Index().Seek(&c, keyHashes[key]); c.Next(); {
		if !st.Whole(c.Word().Pos()) {
			w.count("damaged keys that a judge passed over")
			return true
		}
	}
	return false
}

// toldOf: a pool that was hit lacks something that it had. It must say so: the
// pool is doubtful, or the hit was at the end of the log, where it looks like a
// write that was torn, and the members remember what they saw flushed (H19).
func (w *world) toldOf(d *medium, p *pmem.Pool) bool {
	r := p.Recovered()
	if !d.wasHit {
		return false
	}
	if r.Doubtful != "" {
		w.count("losses of a doubtful pool")
		return true
	}
	if d.hitTo > r.Tail {
		w.count("losses at the end of a log")
		return true
	}
	return false
}

// noteOpened counts what the opening of a pool has come upon.
func (m *machine) noteOpened(p *pmem.Pool) {
	w, r := m.w, p.Recovered()
	if !w.damages {
		return
	}
	if r.Salvaged != "" {
		w.count("pools salvaged")
	}
	for _, d := range m.pools {
		m.short = m.short || d.heap.PoolID == p.Super().PoolID && d.wasHit && d.hitTo > r.Tail
	}
	if r.SuperDamaged > 0 {
		w.count("superblock copies passed over")
	}
	if len(r.Extents) > 0 {
		w.count("pools opened with ranges that do not verify")
	}
	if r.Doubtful != "" {
		w.count("doubtful pools: " + reason(r.Doubtful))
		w.count("doubtful pools")
		m.doubtful = true
	}
}

// doubtful reports whether a pool was when the life opened it.
func (l *life) doubtful() bool {
	return slices.ContainsFunc(l.pools, func(p *pmem.Pool) bool { return p.Recovered().Doubtful != "" })
}

// heldByDamage: every live member refuses a record, the others cannot recover
// from them for it, and whoever had a good copy is among those: it was removed
// when that was hit already, by nothing that spare knows of.
func (w *world) heldByDamage() bool {
	if !w.damages || w.newest.Live == 0 || w.newest.Live == w.newest.Configured {
		return false
	}
	for _, n := range w.newest.Live.Nodes(nil) {
		if !w.running(int(n)) {
			return false
		}
		refused := 0
		for _, p := range w.nodes[n].p.life.pools {
			refused += p.Store().Damage().Refused
		}
		if refused == 0 {
			return false
		}
	}
	return true
}

// cutShort: everybody who was live is down and waits, since the logs of some of
// them were hit at their ends and the others remember that they had flushed
// more: to them these pools are older copies.
func (w *world) cutShort() (short, counts proto.NodeSet) {
	counts = w.newest.ColdSet()
	for _, n := range counts.Nodes(nil) {
		m := w.nodes[n]
		if !m.up || m.p.life == nil || !m.p.life.waits {
			return 0, counts
		}
		if m.short {
			short = short.With(n)
		}
	}
	return short, counts
}

// refusesHurt: everybody who was live waits with a pool that damage has cut short
// or made doubtful. There is nobody to go on without them, and what they lost is
// nowhere else for certain: the nodes say so and wait for people, who have a
// copy of a pool or a backup.
func (w *world) refusesHurt() bool {
	short, counts := w.cutShort()
	for _, n := range counts.Nodes(nil) {
		m := w.nodes[n]
		if !m.up || m.p.life == nil || !m.p.life.waits || !short.Has(n) && !m.p.life.doubtful() {
			return false
		}
	}
	return counts != 0
}

// loseShort has the operator go on without them.
func (w *world) loseShort() {
	short, counts := w.cutShort()
	if w.lost != 0 || w.away != 0 || short == 0 || short == counts {
		return
	}
	for _, n := range short.Nodes(nil) {
		w.count("pools cut short that a cold start goes on without")
		w.lost, w.away = w.lost.With(n), w.away.With(n)
		w.nodes[n].crash(-1)
	}
}

// acceptLoss is the operator's order at every live node (Node.AcceptLoss), when
// nothing was lost that anybody was answered: whatever else the damaged records
// may have been, all keys that they may be of are there. False: something was.
func (w *world) acceptLoss() bool {
	lost, elsewhere := 0, 0
	for _, n := range w.newest.Live.Nodes(nil) {
		for shard, p := range w.nodes[n].p.life.pools {
			for _, h := range p.Store().RefusedHurts() {
				for k, hash := range keyHashes[:w.o.Keys] {
					if (hash^h.Hash)&h.Mask != 0 || w.shardOfKey(k) != shard {
						continue
					}
					if ts := w.answered[k].newest(); w.newestOf(k, w.newest.Live) < ts {
						lost++
						if w.newestOf(k, w.newest.Configured&^w.newest.Live) >= ts {
							elsewhere++
						}
					}
				}
			}
		}
	}
	if lost > 0 {
		w.count("recoveries held up by records that no live member has")
		w.Result.Marks.Add("answered ones of those that a node has which is not live", elsewhere)
		return false
	}
	for _, n := range w.newest.Live.Nodes(nil) {
		p := w.nodes[n].p
		p.Go(func() {
			for _, d := range p.life.drivers {
				records := 0
				if d.w.Do(func() { records = d.w.Pool().Store().GiveUp() }); records > 0 {
					w.Result.Marks.Add("damaged records given up by order", records)
				}
				d.w.Mended()
			}
		})
		p.poke()
	}
	w.count("losses accepted")
	return true
}

// newestOf is the newest timestamp of a key that can be read in pools of the
// nodes.
func (w *world) newestOf(key int, of proto.NodeSet) (ts uint64) {
	for _, n := range of.Nodes(nil) {
		if l := w.nodes[n].p.life; w.nodes[n].up && l != nil && l.entered {
			_, _ = l.pools[w.shardOfKey(key)].Store().Alike(keyHashes[key], ^uint64(0), func(_ bool, h *record.Header, name, _ []byte) bool {
				if string(name) == string(keyNames[key]) {
					ts = max(ts, h.TS)
				}
				return true
			})
		}
	}
	return max(ts, w.dropped[key])
}

// anew: of a pool both copies of the superblock are gone, one by damage and the
// other in a power loss. The operator makes the pools anew.
func (m *machine) anew(d *medium, err error) bool {
	if !errors.Is(err, pmem.ErrSuperblock) || !d.wasHit {
		return false
	}
	m.w.count("pools made anew over their superblocks")
	m.wipe()
	return true
}

// scrub is Node.scrub: it goes through the pools of a life again and again.
func (p *process) scrub(l *life) {
	for i, pool := range l.pools {
		p.Go(func() {
			x := pool.Store().NewScrubber()
			for !l.over && p.ctx.Err() == nil {
				lap, err := x.Step(4 << 10)
				if err != nil {
					break
				}
				if lap {
					l.laps[i]++
				}
				p.Wait(p.w.o.Lease/40, p.ctx.Done())
			}
			x.Close()
		})
	}
}

// damageCounts takes what a life found and mended.
func (l *life) damageCounts() {
	k := &l.p.w.Result.Marks
	for _, p := range l.pools {
		c, s := p.Store().Damage(), p.Store().Scrubbed()
		k.Add("damaged records found", int(c.Found))
		k.Add("damaged records repaired", int(c.Repaired))
		k.Add("damaged segment headers found by a scrubber", int(s.Headers))
		k.Add("damaged segment headers written again", int(s.Mended))
		k.Add("damage found by a scrubber", int(s.Hurt))
	}
}

// unmended says what of the damage is not settled yet: all pools are gone
// through twice from the moment of the calm on, and nothing is open then.
func (w *world) unmended() string {
	if !w.damages || w.givenUp {
		return ""
	}
	for _, m := range w.nodes {
		l := m.p.life
		if w.excused(m) {
			continue
		}
		for i, p := range l.pools {
			if c := p.Store().Damage(); c.Open > 0 {
				return fmt.Sprintf("node %d, shard %d: %d damaged records are open, %d of them refused: %v", m.id, i, c.Open, c.Refused, p.Store().RefusedHurts())
			}
			if l.calmLaps == nil {
				l.calmLaps = slices.Clone(l.laps)
			}
			if l.laps[i] < l.calmLaps[i]+2 {
				return fmt.Sprintf("node %d, shard %d is not scrubbed", m.id, i)
			}
		}
	}
	return ""
}
