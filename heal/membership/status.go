package membership

import (
	"slices"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/membership/blame"
)

// Status is what an operator sees of the membership.
type Status struct {
	Member      proto.Member    `json:"member"`
	View        proto.View      `json:"view"`
	Seq         uint64          `json:"seq"` // of the register's value
	LeaseValid  bool            `json:"lease_valid"`
	LeaseLeft   time.Duration   `json:"lease_left_ns"`
	Generation  uint64          `json:"lease_generation"`
	Voting      bool            `json:"voting"`
	Stopped     string          `json:"stopped,omitempty"`  // why this acceptor votes no more
	Acceptor    string          `json:"acceptor,omitempty"` // what is wrong with its file
	Config      string          `json:"config,omitempty"`   // how we differ from the register
	Promised    string          `json:"promised"`
	Accepted    string          `json:"accepted"`
	AcceptedSeq uint64          `json:"accepted_seq"`
	Guards      []proto.Member  `json:"guards"` // leases this acceptor guards
	Quiet       time.Duration   `json:"quiet_ns"`
	Suspects    []SuspectStatus `json:"suspects"`
	Edges       []blame.Edge    `json:"edges,omitempty"`  // complaints that count at present, of all nodes
	Blamed      string          `json:"blamed,omitempty"` // why complaints name this very node
	Accuses     proto.Member    `json:"accuses,omitzero"` // whom this node proposes to remove over complaints at this moment
	Peers       []PeerStatus    `json:"peers"`
	Counts      counts          `json:"counts"`
}

// SuspectStatus is a member about to be removed, and why.
type SuspectStatus struct {
	Member proto.Member `json:"member"`
	Proven bool         `json:"proven"` // its death is
	Why    string       `json:"why"`
}

// PeerStatus is another configured node.
type PeerStatus struct {
	Node      proto.NodeID  `json:"node"`
	Life      proto.Member  `json:"life"` // of its last beat
	Connected bool          `json:"connected"`
	HeardAgo  time.Duration `json:"heard_ago_ns"` // 0: never
	Config    string        `json:"config,omitempty"`
}

// Status may be asked at any time.
func (s *Service) Status() Status {
	now := s.env.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{
		Member: s.self, View: s.known.View, Seq: s.known.Seq,
		LeaseValid: s.holder.ValidAt(now), LeaseLeft: max(0, time.Duration(s.holder.Until()-now)), Generation: s.holder.Generation(),
		Voting:   s.voting && s.stopped == nil,
		Promised: s.durable.Promised.String(), Accepted: s.durable.At.String(), AcceptedSeq: s.durable.Value.Seq,
		Guards: s.granter.Holds(now), Quiet: time.Duration(s.granter.Quiet(now)),
		Accuses: s.accuses, Counts: s.counts,
	}
	if s.stopped != nil {
		st.Stopped = s.stopped.Error()
	}
	if s.older {
		st.Acceptor = olderText
	}
	if s.config != nil {
		st.Config = s.config.Error()
	}
	for _, x := range s.suspects {
		if x.since != 0 && s.known.View.Has(x.life) {
			st.Suspects = append(st.Suspects, SuspectStatus{x.life, x.gone, x.why})
		}
	}
	x := s.verdictLocked(now).Victim
	st.Edges = slices.Clone(s.edges)
	if a := &s.accused; a.gone && a.life == x {
		if x == s.self {
			st.Blamed = a.why
		}
		st.Suspects = append(st.Suspects, SuspectStatus{x, false, a.why})
	}
	for _, n := range s.others() {
		p := &s.peers[n]
		ps := PeerStatus{Node: n, Life: p.life, Connected: s.ctl.Connected(n), Config: p.config}
		if p.heardAt != 0 {
			ps.HeardAgo = time.Duration(now - p.heardAt)
		}
		st.Peers = append(st.Peers, ps)
	}
	return st
}
