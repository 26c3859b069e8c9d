package explore

import (
	"encoding/binary"

	"healkv/dataplane/proto"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
	"healkv/rdma/ring"
)

// saver writes the fields of a shard down, loader puts them back.
type saver struct {
	n *node
	b []byte
}

func (s *saver) Number(p *uint64)       { s.b = binary.AppendUvarint(s.b, *p) }
func (s *saver) Place(p *uint64)        { s.b = binary.AppendUvarint(s.b, *p) }
func (s *saver) Record(hash, p *uint64) { s.b = append(s.b, keyOf(s.n, *hash)); s.Place(p) }
func (s *saver) Len(n int) int          { s.b = binary.AppendUvarint(s.b, uint64(n)); return n }
func (s *saver) View(v *proto.View)     { s.b = binary.AppendUvarint(s.b, uint64(s.n.e.viewID(v))) }
func (s *saver) Key(k *[]byte)          { s.b = append(s.b, (*k)[0]) }

type loader struct {
	n *node
	b []byte
}

func (l *loader) Number(p *uint64) {
	v, n := binary.Uvarint(l.b)
	*p, l.b = v, l.b[n:]
}
func (l *loader) Place(p *uint64) { l.Number(p) }
func (l *loader) Record(hash, p *uint64) {
	*hash = l.n.e.hashes[l.b[0]]
	l.b = l.b[1:]
	l.Number(p)
}
func (l *loader) Len(int) int {
	var n uint64
	l.Number(&n)
	return int(n)
}
func (l *loader) View(v *proto.View) {
	var id uint64
	l.Number(&id)
	*v = l.n.e.views[id]
}
func (l *loader) Key(k *[]byte) {
	*k = keyNames[l.b[0]-'a']
	l.b = l.b[1:]
}

// keyOf is the number of a key. The hash of an entry that lost is its key's as
// well, of a PERSIST it is 0.
func keyOf(n *node, hash uint64) byte {
	for k := range n.e.hashes {
		if n.e.hashes[k] == hash {
			return byte(k)
		}
	}
	return 0
}

// canon writes the part of a state that can matter to anything that follows.
// Log positions are replaced by ranks among the records that still matter:
//
// A record is left out when a later one of its key with no lower timestamp is
// flushed. The index does not lead to it (any more), recovery prefers the
// later one whatever the next crash leaves, a buddy lists only what the index
// leads to, and no read waits for it (nothing is left out from the record on
// that a read of its key found). A marker is left out when a later one is flushed, since only the
// newest is looked for. Of two positions with nothing but such records
// between them, both lie below the flushed mark; then comparing either with
// the flushed mark, with a span or with a stable position decides the same.
//
// Left out too: incarnations and claims in record headers that only the
// checksums use, what a member had flushed (SawFlushed), how many bytes of a
// segment are live (nothing cleans here), log space beyond what is promised.
type canon struct {
	n    *node
	b    []byte
	kept []uint64 // positions of the records that matter
}

func (c *canon) rank(pos uint64) (r int) {
	for r < len(c.kept) && c.kept[r] < pos {
		r++
	}
	return r
}

func (c *canon) num(v uint64)       { c.b = binary.AppendUvarint(c.b, v) }
func (c *canon) Number(p *uint64)   { c.num(*p) }
func (c *canon) Place(p *uint64)    { c.num(uint64(c.rank(*p))) }
func (c *canon) Len(n int) int      { c.num(uint64(n)); return n }
func (c *canon) View(v *proto.View) { c.num(uint64(c.n.e.viewID(v))) }
func (c *canon) Key(k *[]byte)      { c.b = append(c.b, (*k)[0]) }

func (c *canon) Record(hash, pos *uint64) {
	r := c.rank(*pos)
	switch {
	case *pos == 0: // an entry that lost
		c.b = append(c.b, 0)
	case r < len(c.kept) && c.kept[r] == *pos:
		c.b = append(c.b, 1, keyOf(c.n, *hash))
		c.num(uint64(r))
	default: // it can no longer become its key's record, but end a read
		c.b = append(c.b, 2, keyOf(c.n, *hash))
		if c.n.e.c.Gets > 0 {
			c.num(record.TS(c.n.st.Record(*pos)))
		}
	}
}

func (c *canon) flag(b bool) {
	if b {
		c.b = append(c.b, 1)
	} else {
		c.b = append(c.b, 0)
	}
}

func (c *canon) member(m proto.Member) { c.b = append(c.b, byte(m.Node), byte(m.Incarnation)) }

// image is what a record says, apart from where it stands.
func (c *canon) image(h *record.Header, img []byte) {
	c.b = append(c.b, byte(h.Kind), byte(h.OwnerNode), byte(h.OwnerIncarnation), byte(h.Flags))
	if h.Kind == record.Marker {
		c.num(uint64(h.Epoch))
		for b := record.Value(img); len(b) > 0; b = b[12:] {
			c.num(uint64(binary.LittleEndian.Uint32(b)))
			c.num(uint64(c.rank(binary.LittleEndian.Uint64(b[4:]))))
		}
		return
	}
	c.num(h.TS)
	c.num(h.Seq)
	c.b = append(c.b, record.Key(img)...)
	c.b = append(c.b, record.Value(img)...)
}

// logged is a record of the log while a state is encoded.
type logged struct {
	pos, end uint64
	kind     record.Kind
	key      uint8
	ts       proto.TS
	value    uint64
	img      []byte
}

// scan lists the records of the log.
func (n *node) scan(dst []logged) []logged {
	n.each(func(pos uint64, h *record.Header, img []byte) {
		l := logged{pos: pos, end: pos + uint64(h.Bytes()), kind: h.Kind, ts: proto.TS(h.TS), img: img}
		switch h.Kind {
		case record.Put:
			l.key = record.Key(img)[0] - 'a'
			l.value = binary.LittleEndian.Uint64(record.Value(img))
		case record.Delete:
			l.key, l.value = record.Key(img)[0]-'a', tombstone
		}
		dst = append(dst, l)
	})
	return dst
}

// matters says whether the i-th record is one of canon's.
func matters(recs []logged, i int, flushed uint64) bool {
	r := &recs[i]
	for j := i + 1; j < len(recs); j++ {
		x := &recs[j]
		if x.pos >= flushed {
			return true
		}
		if (r.kind == record.Marker) == (x.kind == record.Marker) && x.key == r.key && x.ts >= r.ts {
			return false
		}
	}
	return true
}

// awaited says whether a waiting read may end with the record.
func (n *node) awaited(r *logged) bool {
	for i := range n.ops {
		if o := &n.ops[i]; o.kind == opGet && o.key == r.key && r.kind != record.Marker && r.pos >= o.at {
			return true
		}
	}
	return false
}

// encode gives the canonical form of the node's present state.
func (n *node) encode(c *canon, recs []logged) {
	c.n, c.b, c.kept = n, c.b[:0], c.kept[:0]
	flushed := n.log.Flushed()
	for i := range recs {
		if n.awaited(&recs[i]) || matters(recs, i, flushed) {
			c.kept = append(c.kept, recs[i].pos)
		}
	}
	c.b = append(c.b, byte(n.id))
	c.life()
	var h record.Header
	k := 0
	for i := range recs {
		if k < len(c.kept) && recs[i].pos == c.kept[k] {
			record.Decode(recs[i].img, &h)
			c.image(&h, recs[i].img)
			k++
		}
	}
	c.num(uint64(c.rank(flushed)))
	c.num(uint64(c.rank(n.super.base)))
	if n.super.inc != n.self.Incarnation && !n.up {
		c.num(uint64(n.super.inc))
	}
	if !n.up {
		return
	}
	for _, h := range n.e.hashes {
		w := n.word(h)
		c.flag(w != 0)
		if w != 0 {
			pos := w.Pos()
			c.Record(&h, &pos)
			c.flag(w.Locked())
		}
	}
	c.Len(len(n.left))
	for i := range n.left {
		c.Record(&n.left[i].hash, &n.left[i].pos)
	}
	c.Len(len(n.offer))
	for i := range n.offer {
		record.Decode(n.offer[i].img, &h)
		c.image(&h, n.offer[i].img)
		c.flag(n.offer[i].locked)
	}
	if !n.entered {
		return
	}
	c.num(n.out.Tail())
	c.num(n.out.Reclaimed())
	for at := n.out.Reclaimed(); at < n.out.Tail(); at += uint64(h.Bytes()) {
		record.Decode(n.mem[at:], &h)
		c.image(&h, n.mem[at:])
		c.num(uint64(h.Epoch))
	}
	n.rep.Visit(c)
}

func (c *canon) life() {
	n := c.n
	l := &n.life
	c.flag(l.up)
	c.member(l.self)
	c.num(uint64(c.rank(l.stable)))
	c.num(uint64(c.rank(l.super.stable)))
	c.flag(l.super.complete)
	c.flag(l.lossy)
	for i := range l.ghost {
		c.num(uint64(l.ghost[i]))
	}
	if !l.up {
		c.flag(l.nextFull)
		return
	}
	c.num(uint64(l.super.inc))
	for _, b := range [...]bool{l.entered, l.served, l.leased, l.serving, l.blank, l.full} {
		c.flag(b)
	}
	c.num(uint64(l.newest))
	c.num(uint64(l.installed))
	c.num(uint64(l.machine))
	for i := range nodesMax {
		c.num(uint64(l.attached[i]))
		c.num(l.fed[i])
		c.num(uint64(l.links[i]))
		c.num(uint64(l.kept[i].inc))
		if l.kept[i].inc != 0 {
			c.num(uint64(c.rank(l.kept[i].at)))
		}
		m := &l.sent[i]
		for _, v := range [...]uint64{m.Epoch, m.Visible, m.Stable, m.Applied, m.Durable, m.Room, m.Settled} {
			c.num(v)
		}
	}
	c.b = append(c.b, byte(l.phase), l.puts)
	c.member(l.buddy)
	for i := range l.ops {
		o := &l.ops[i]
		c.b = append(c.b, byte(o.kind), o.key)
		if o.kind == opGet {
			c.num(uint64(c.rank(o.at)))
		}
		if o.kind == opGet || o.kind == opPersist {
			for _, ts := range o.bar {
				c.num(uint64(ts))
			}
		}
	}
	if n.e.c.Persists > 0 {
		for _, ts := range l.answeredScope {
			c.num(uint64(ts))
		}
	}
}

// image of one local state, to go back to.
type image struct {
	life      life
	log       seglog.Saved
	arena     []byte
	words     [keysMax]index.Word
	ring      []byte
	reclaimed uint64
	shard     []byte
	left      []leftover
	offer     []offered
	marker    uint64
}

// save takes the image of the present state.
func (n *node) save() *image {
	n.touched()
	im := &image{life: n.life, log: n.saved, left: append([]leftover(nil), n.left...), offer: append([]offered(nil), n.offer...), marker: n.st.LastMarker()}
	im.log.Segments = append([]seglog.SavedSegment(nil), n.saved.Segments...)
	n.e.bytes = n.keep(n.e.bytes[:0])
	im.arena = append([]byte(nil), n.e.bytes...)
	if !n.up {
		return im
	}
	for k, h := range n.e.hashes {
		im.words[k] = n.word(h)
	}
	if !n.entered {
		return im
	}
	im.ring = append([]byte(nil), n.mem[:n.out.Tail()]...)
	im.reclaimed = n.out.Reclaimed()
	s := saver{n, n.e.bytes[:0]}
	n.rep.Visit(&s)
	n.e.bytes = s.b
	im.shard = append([]byte(nil), s.b...)
	return im
}

// load goes back to an image.
func (n *node) load(im *image) {
	n.life = im.life
	n.m = n.e.machines[im.life.machine]
	n.restore(&im.log, im.arena)
	n.left, n.offer = im.left, im.offer
	n.st.SetLastMarker(im.marker)
	if !n.up {
		return
	}
	for k, h := range n.e.hashes {
		n.setWord(h, im.words[k])
	}
	if !n.entered {
		return
	}
	*n.out = *ring.NewOut(n.mem)
	n.out.Next(len(im.ring))
	n.out.Reclaim(im.reclaimed)
	copy(n.mem, im.ring)
	l := loader{n, im.shard}
	n.rep.Visit(&l)
}
