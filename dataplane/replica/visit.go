package replica

import "healkv/dataplane/proto"

// Visitor is shown everything a Shard knows, in an order that follows from the
// state alone. It may change what it is shown: so one list of the fields saves
// a state, brings it back, and compares two. For exhaustive exploration only
// (heal/explore).
type Visitor interface {
	// Number is anything that is no log position: a stream position, a
	// timestamp, a count, a flag.
	Number(*uint64)
	// Place is a log position between records.
	Place(*uint64)
	// Record is a record of the own log.
	Record(hash, pos *uint64)
	// Key is a waiting read's key.
	Key(*[]byte)
	// Len is the length of a list that follows; what is returned is the length
	// it is to have.
	Len(int) int
	View(*proto.View)
}

// Visit shows the state between two events, after Done. Left out are scratch
// memory, counters, what New was given, and what a member that is gone had
// flushed (SawFlushed is wrong after a change).
func (s *Shard) Visit(v Visitor) {
	visit(v, &s.self.Node)
	visit(v, &s.self.Incarnation)
	v.View(&s.view)
	flag(v, &s.installed)
	flag(v, &s.wantFlush)
	flag(v, &s.exhausted)
	for _, p := range [...]*uint64{&s.visible, &s.answered, &s.stable, &s.durable, &s.limit} {
		v.Number(p)
	}
	for n := range s.peers {
		s.visitPeer(v, n)
	}
	s.visitQueue(v)
	s.spans.visit(v)
	visitQueue(v, &s.persists, func(p *persist) { v.Number(&p.seq); visit(v, &p.handle) })
	visitQueue(v, &s.forward, func(p *pending) { v.Record(&p.hash, &p.pos) })
	s.lent = visitList(v, s.lent, func(l *lent) {
		v.Record(&l.hash, &l.pos)
		visit(v, &l.owner.Node)
		visit(v, &l.owner.Incarnation)
		v.Number(&l.seq)
	})
	s.markers = visitList(v, s.markers, func(m *marker) { visit(v, &m.epoch); v.Place(&m.pos) })
	v.Place(&s.stablePos)
	flag(v, &s.held)
	visit(v, &s.settleAt)
	visit(v, &s.barrier)
	v.Place(&s.settleTo)
	visit(v, &s.settled)
	v.Place(&s.lifeStart)
	s.waiters.visit(v)
}

func (s *Shard) visitPeer(v Visitor, n int) {
	p, st := &s.peers[n], &s.streams[n]
	s.fed = s.fed.Without(proto.NodeID(n)) // follows from the rest
	flag(v, &p.in)
	if !p.in { // nothing is left of it
		*p = peer{}
		*st = stream{entries: st.entries, spans: st.spans}
		st.entries.reset()
		st.spans.clear()
		return
	}
	p.flushed = 0
	for _, x := range [...]*uint64{&p.start, &p.applied, &p.durable, &p.room} {
		v.Number(x)
	}
	visit(v, &p.settled)
	if flag(v, &st.in); st.in {
		s.fed = s.fed.With(proto.NodeID(n))
	}
	visit(v, &st.member.Node)
	visit(v, &st.member.Incarnation)
	visit(v, &st.barrier)
	for _, x := range [...]*uint64{&st.applied, &st.durable, &st.visible, &st.stable, &st.limit} {
		v.Number(x)
	}
	visitQueue(v, &st.entries, func(e *entry) { v.Number(&e.seq); v.Record(&e.hash, &e.pos) })
	st.spans.visit(v)
}

func (s *Shard) visitQueue(v Visitor) {
	answer, vis := s.answerAt-s.queue.head, s.visAt-s.queue.head
	visitQueue(v, &s.queue, func(o *own) {
		v.Number(&o.seq)
		v.Record(&o.hash, &o.pos)
		visit(v, &o.ts)
		visit(v, &o.handle)
	})
	v.Number(&answer)
	v.Number(&vis)
	s.answerAt, s.visAt = s.queue.head+answer, s.queue.head+vis
}

func (s *spans) visit(v Visitor) {
	durable := s.durable - s.head
	visitQueue(v, &s.queue, func(x *span) { v.Number(&x.seq); v.Place(&x.before); v.Place(&x.after) })
	v.Number(&durable)
	s.durable = s.head + durable
}

func (w *waiters) visit(v Visitor) {
	var list []waiter
	for b := 0; w.count > len(list); b++ {
		for i := w.bucket[b]; i >= 0; i = w.slot[i].next {
			list = append(list, w.slot[i])
		}
	}
	for w.count > 0 {
		x := &list[w.count-1]
		w.cancel(x.hash, x.handle)
	}
	list = visitList(v, list, func(x *waiter) {
		v.Record(&x.hash, &x.pos)
		v.Number(&x.ts)
		v.Key(&x.key)
		visit(v, &x.handle)
	})
	for i := len(list) - 1; i >= 0; i-- { // add puts in front
		w.add(list[i])
	}
}

func visit[T ~uint8 | ~uint32 | ~uint64](v Visitor, p *T) {
	x := uint64(*p)
	v.Number(&x)
	*p = T(x)
}

func flag(v Visitor, p *bool) {
	x := uint64(0)
	if *p {
		x = 1
	}
	v.Number(&x)
	*p = x == 1
}

// visitQueue makes the oldest element's index 0.
func visitQueue[T any](v Visitor, q *queue[T], each func(*T)) {
	n := v.Len(q.len())
	if n != q.len() || n == 0 {
		q.reset()
		for range n {
			q.push(*new(T))
		}
	}
	for i := q.head; i != q.tail; i++ {
		each(q.at(i))
	}
}

func visitList[T any](v Visitor, list []T, each func(*T)) []T {
	n := v.Len(len(list))
	for len(list) < n {
		list = append(list, *new(T))
	}
	list = list[:n]
	for i := range list {
		each(&list[i])
	}
	return list
}
