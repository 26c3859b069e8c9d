package dataplane

import "healkv/dataplane/proto"

// linked is what a transport may tell of its connections.
type linked interface {
	// Linked reports whether there is a connection to the member it is attached
	// to.
	Linked(peer int) bool
}

// Pairs appends how far each member has come with this shard's stream, for the
// node's detector (H29). Inside Do.
func (w *Worker) Pairs(dst []proto.Pair) []proto.Pair {
	begin := len(dst)
	dst = w.rep.Pairs(dst)
	ep, tells := w.ep.(linked)
	for i := begin; i < len(dst); i++ {
		p := &dst[i]
		p.Shard = uint8(w.shard)
		if tells {
			p.Linked = ep.Linked(int(p.Member.Node))
		}
	}
	return dst
}

// Probe gives an idle stream an entry that means nothing, so that Pairs can
// tell who stands still. Inside Do.
func (w *Worker) Probe() { w.rep.Probe() }

// restsMax is how many looks in a row an idle shard is left alone.
const restsMax = 7

// Watch looks at all shards of a node, time and again, for its detector. A shard
// that sleeps and had nothing to wait for at the last look is not woken as long
// as its stream ends where it did. One goroutine.
type Watch struct {
	core  *Core
	looks []look
	pairs []proto.Pair
}

// look is what was seen of one shard.
type look struct {
	pairs []proto.Pair
	epoch proto.Epoch // of the installed view
	rests bool        // every member had all of the stream
	tail  uint64
	again int // times it was left alone since
}

// Pairs is what Worker.Pairs says of all shards of c, which may be nil; it is
// valid until the next call. newest is the epoch of the newest view known. It
// waits for the workers.
func (x *Watch) Pairs(c *Core, newest proto.Epoch) []proto.Pair {
	x.pairs = x.pairs[:0]
	if c == nil {
		return nil
	}
	if c != x.core {
		x.core, x.looks = c, make([]look, len(c.workers))
	}
	for i, w := range c.workers {
		l := &x.looks[i]
		if !l.rests || l.epoch != newest || l.tail != w.streamed.Load() || l.again == restsMax {
			*l = look{pairs: l.pairs[:0]}
			w.Do(func() {
				l.pairs = w.Pairs(l.pairs)
				l.epoch, l.rests = w.rep.View().Epoch, true
			})
			for _, p := range l.pairs {
				l.tail = p.Tail
				l.rests = l.rests && p.Applied == p.Tail && p.Durable == p.Tail && p.Linked
			}
		}
		l.again++
		x.pairs = append(x.pairs, l.pairs...)
	}
	return x.pairs
}
