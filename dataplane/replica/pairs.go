package replica

import (
	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// Pairs appends how far each member has come with the own stream: what tells
// that a member, or the way to it and back, stands still (H29). Shard and
// AckNanos are the loop's to fill in, and Linked if it knows better.
func (s *Shard) Pairs(dst []proto.Pair) []proto.Pair {
	if !s.installed {
		return dst
	}
	tail := s.out.Tail()
	for m := s.view.Members().Without(s.self.Node); m != 0; m &= m - 1 {
		n := first(m)
		p := &s.peers[n]
		dst = append(dst, proto.Pair{Member: s.view.Member(n), Tail: tail, Applied: p.applied, Durable: p.durable, Linked: true})
	}
	return dst
}

// Probe appends an entry that means nothing to a stream in which nothing is
// under way, so that it can be seen whether the pairs move. It is a PERSIST
// nobody waits for: members append nothing to their logs, and flush. It needs
// neither a lease nor a live node. False: no view is installed, there is enough
// to see already, or the ring has no room.
func (s *Shard) Probe() bool {
	if !s.installed || s.queue.len() > 0 || s.forward.len() > 0 || s.durable < s.out.Tail() {
		return false
	}
	for m := s.view.Members().Without(s.self.Node); m != 0; m &= m - 1 {
		if p := &s.peers[first(m)]; min(p.applied, p.durable) < s.out.Tail() {
			return false
		}
	}
	dst, end, ok := s.out.Next(record.HeaderBytes)
	if !ok {
		return false
	}
	s.appendPersist(dst, end, 0, 0)
	s.Counters.Probes++
	return true
}
