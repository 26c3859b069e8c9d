package healkv

import (
	"testing"

	"healkv/dataplane/proto"
	"healkv/heal/control"
	"healkv/heal/membership"
)

// Why a node does not serve, in words an operator can act on.
func TestBlocked(t *testing.T) {
	set := func(nodes ...proto.NodeID) (s proto.NodeSet) {
		for _, n := range nodes {
			s = s.With(n)
		}
		return s
	}
	peer := func(n proto.NodeID, life proto.Incarnation) membership.PeerStatus {
		return membership.PeerStatus{Node: n, Life: proto.Member{Node: n, Incarnation: life}, Connected: life != 0}
	}
	view := proto.View{Epoch: 9, Live: set(0, 1, 2, 4), Incarnation: [proto.NodesMax]proto.Incarnation{1, 1, 1, 1, 1}}
	cold := proto.View{Epoch: 9, Cold: true, Shadow: set(0, 1, 3), Incarnation: view.Incarnation}
	all := []membership.PeerStatus{peer(0, 1), peer(1, 1), peer(2, 1), peer(4, 1)}
	two := []membership.PeerStatus{peer(0, 0), peer(1, 2), peer(2, 2), peer(4, 0)}
	one := []membership.PeerStatus{peer(0, 0), peer(1, 2), peer(2, 0), peer(4, 0)}
	cases := []struct {
		role, waits string
		view        proto.View
		members     membership.Status
		stuck       bool
		want        string
	}{
		{"fenced", "", view, membership.Status{Peers: one}, false, "no lease: acceptors 1,3 of 0-4 answer, 3 needed"},
		{"fenced", "", view, membership.Status{Peers: one, Stopped: "disk is full"}, false, "no lease: acceptors 1,3 of 0-4 answer, 3 needed; its own votes no more, and tries to write its file again: disk is full"},
		{"fenced", "", view, membership.Status{Peers: all}, true, "no lease: its shard workers stand still"},
		{"fenced", "", view, membership.Status{Peers: all}, false, "no lease yet: acceptors 0-4 answer; see what they suspect this node of"},
		{"fenced", "", view, membership.Status{Peers: all, Config: "3 shards"}, false, "no lease: 3 shards"},
		{"joining", "", view, membership.Status{Peers: one}, false, "not let in: acceptors 1,3 of 0-4 answer, 3 needed"},
		{"joining", "", view, membership.Status{Peers: two}, false, "waits for node 0,4 (cold start)"},
		{"joining", "a pool is blank", view, membership.Status{Peers: two}, false, "a pool is blank"},
		{"joining", "", view, membership.Status{Peers: all}, false, "asks node 0-2,4 to be let in"},
		{"joining", "", cold, membership.Status{Peers: two}, false, "waits for node 0 (cold start)"},
		{"joining", "", proto.View{}, membership.Status{Peers: two}, false, "waits for node 0,4 (first view)"},
		{"joining", "", proto.View{}, membership.Status{Peers: all}, false, "waits for the first view"},
		{"starting", "", view, membership.Status{Peers: one}, false, "has no number for this life: acceptors 1,3 of 0-4 answer, 3 needed"},
		{"drained", "", view, membership.Status{Peers: all}, false, "drained by order; `node drain --back` brings it back"},
	}
	for _, c := range cases {
		b := blockade{self: 3, configured: set(0, 1, 2, 3, 4), view: &c.view, members: &c.members, stuck: c.stuck}
		if got := b.why(c.role, c.waits); got != c.want {
			t.Errorf("%s: %q, want %q", c.role, got, c.want)
		}
	}
	refused := []control.PeerStatus{{Node: 1, Connected: true}, {Node: 2, Error: "dial tcp 10.0.0.2:7299: connect: connection refused"}, {Node: 4, Error: "not tried yet"}}
	for want, c := range map[string]struct {
		role    string
		view    proto.View
		members membership.Status
	}{
		"waits for node 0,4 (first view); node 4: not tried yet":                                                         {"joining", proto.View{}, membership.Status{Peers: two}},
		"not let in: acceptors 1,3 of 0-4 answer, 3 needed; node 2: dial tcp 10.0.0.2:7299: connect: connection refused": {"joining", view, membership.Status{Peers: one}},
	} {
		b := blockade{self: 3, configured: set(0, 1, 2, 3, 4), view: &c.view, members: &c.members, links: refused}
		if got := b.why(c.role, ""); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, s := range map[string]proto.NodeSet{"none": 0, "5": set(5), "0,1": set(0, 1), "0-2,4,6-8": set(0, 1, 2, 4, 6, 7, 8)} {
		if got := list(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	t.Logf("%d reasons", len(cases))
}
