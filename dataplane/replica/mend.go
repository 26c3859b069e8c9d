package replica

import "healkv/dataplane/proto"

// InFlight reports whether the record appended at pos is an entry, of this
// node's stream or of a member's, that is not visible yet. This node has
// acknowledged it, others may not have it: nothing older may take its place
// before they do (docs/decisions/0026).
func (s *Shard) InFlight(pos uint64) bool {
	for i := s.visAt; i < s.queue.tail; i++ {
		if s.queue.at(i).pos == pos {
			return true
		}
	}
	for n := range s.streams {
		q := &s.streams[n].entries
		for i := q.head; i < q.tail; i++ {
			if q.at(i).pos == pos {
				return true
			}
		}
	}
	return false
}

// NewestBefore is above no timestamp that a record at pos can have, by what
// this node knows without reading it: what stood in the log before the present
// view was installed is of an earlier epoch.
func (s *Shard) NewestBefore(pos uint64) proto.TS {
	e := s.view.Epoch
	if pos < s.settleTo && e > 0 {
		e--
	}
	return proto.MakeTS(e, proto.VersionMax, proto.NodesMax-1)
}
