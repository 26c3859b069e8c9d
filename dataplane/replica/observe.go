package replica

import "healkv/dataplane/proto"

// Observation is what a Shard shows of itself to somebody who compares it with
// the specification (heal/simulation). Positions are those of log and streams.
type Observation struct {
	View      proto.Epoch // installed; 0: none
	Visible   uint64      // of the own stream
	Stable    uint64      // of the own stream
	StablePos uint64
	Forward   []Place // what the roll-forward cursor still has to do
	Lent      []Place // adopted locked records whose owner's stream is not taken yet
	Streams   [proto.NodesMax]ObservedStream
}

// Place is a record that the index references, locked.
type Place struct{ Hash, Pos uint64 }

// ObservedStream is what is known of a member's stream; nothing if In is false.
type ObservedStream struct {
	In                       bool
	Member                   proto.Member
	Applied, Visible, Stable uint64
}

// Observe fills o in, between two events. It changes nothing.
func (s *Shard) Observe(o *Observation) {
	*o = Observation{View: s.view.Epoch, Visible: s.visible, Stable: s.stable, StablePos: s.stablePos, Forward: o.Forward[:0], Lent: o.Lent[:0]}
	for i := s.forward.head; i != s.forward.tail; i++ {
		p := s.forward.at(i)
		if current, locked := s.st.References(p.hash, p.pos); current && locked {
			o.Forward = append(o.Forward, Place{p.hash, p.pos})
		}
	}
	for _, l := range s.lent {
		if st := &s.streams[l.owner.Node]; !st.in || st.member != l.owner {
			o.Lent = append(o.Lent, Place{l.hash, l.pos})
		}
	}
	for n := range s.streams {
		if st := &s.streams[n]; st.in {
			o.Streams[n] = ObservedStream{true, st.member, st.applied, min(st.visible, st.applied), min(st.stable, st.applied)}
		}
	}
}
