package healkv

import (
	"fmt"
	"strconv"
	"strings"

	"healkv/dataplane/proto"
	"healkv/heal/control"
	"healkv/heal/membership"
	"healkv/heal/membership/register"
)

// blocked says in words why a node does not serve; "" if it does, or if there
// is nothing to say.
func (n *Node) blocked(s *Status, v *proto.View, m *membership.Status, waits string) string {
	if s.Serving {
		return ""
	}
	if s.Role == "failed" {
		return s.Failing.said()
	}
	b := blockade{self: proto.NodeID(n.cfg.Node), configured: n.configured(), view: v, members: m, stuck: n.stuck.Load()}
	if n.control != nil {
		b.links = n.control.Peers()
	}
	return b.why(s.Role, waits)
}

// blockade is what decides why a node does not serve.
type blockade struct {
	self       proto.NodeID
	configured proto.NodeSet
	view       *proto.View
	members    *membership.Status
	links      []control.PeerStatus
	stuck      bool // the shards did not turn lately
}

func (b *blockade) why(role, waits string) string {
	switch role {
	case "starting":
		if len(b.answer().Nodes(nil)) < register.Majority(b.configured) {
			return "has no number for this life: " + b.majority()
		}
		return "opens its pools, or closes those of its last life"
	case "joining":
		if waits != "" {
			return waits
		}
		return b.outside()
	case "cold", "shadow":
		return waits // else RECOVERY says how far it is
	case "fenced":
		return b.leaseless()
	case "live":
		return "its newest view is not installed yet"
	case "draining":
		return "leaves by order; refuses clients until it is out"
	case "drained":
		return "drained by order; `node drain --back` brings it back"
	}
	return ""
}

// answer is the acceptors that can be asked: those connected, and this node.
func (b *blockade) answer() (with proto.NodeSet) {
	with = with.With(b.self)
	for _, p := range b.members.Peers {
		if p.Connected && p.Config == "" {
			with = with.With(p.Node)
		}
	}
	return with
}

// majority says how many acceptors answer and how many have to.
func (b *blockade) majority() string {
	text := fmt.Sprintf("acceptors %s of %s answer, %d needed%s", list(b.answer()), list(b.configured), register.Majority(b.configured), b.unreached(b.configured))
	if b.members.Stopped != "" {
		text += "; its own votes no more, and tries to write its file again: " + b.members.Stopped
	}
	return text
}

// leaseless is why a member has no lease.
func (b *blockade) leaseless() string {
	switch {
	case b.members.Config != "":
		return "no lease: " + b.members.Config
	case b.answer().Count() < register.Majority(b.configured):
		return "no lease: " + b.majority()
	case b.stuck:
		return "no lease: its shard workers stand still"
	}
	return fmt.Sprintf("no lease yet: acceptors %s answer; see what they suspect this node of", list(b.answer()))
}

// outside is why a node is no member.
func (b *blockade) outside() string {
	v := b.view
	if b.members.Config != "" {
		return b.members.Config
	}
	if v.Epoch == 0 {
		var missing proto.NodeSet
		for _, p := range b.members.Peers {
			if p.Config != "" {
				return fmt.Sprintf("no first view: node %d: %s", p.Node, p.Config)
			}
			if !p.Connected || p.Life.Incarnation == 0 {
				missing = missing.With(p.Node)
			}
		}
		if missing != 0 {
			return "waits for node " + list(missing) + " (first view)" + b.unreached(missing)
		}
		return "waits for the first view"
	}
	if b.answer().Count() < register.Majority(b.configured) {
		return "not let in: " + b.majority()
	}
	must, running, away := v.Live, proto.NodeSet(0), proto.NodeSet(0)
	if v.Cold {
		must = v.Shadow
	}
	for _, n := range must.Without(b.self).Nodes(nil) {
		away = away.With(n)
		for _, p := range b.members.Peers {
			if p.Node == n && p.Connected {
				away = away.Without(n)
				if p.Life == v.Member(n) {
					running = running.With(n)
				}
			}
		}
	}
	switch {
	case running != 0 && away != 0:
		return fmt.Sprintf("asks node %s to be let in; node %s, of the same view, does not answer%s", list(running), list(away), b.unreached(away))
	case running != 0:
		return "asks node " + list(running) + " to be let in"
	case away != 0:
		return "waits for node " + list(away) + " (cold start)" + b.unreached(away)
	}
	return "a cold start begins"
}

// unreached says why the first of these nodes cannot be connected: that its
// process is away and that control.peers names another port look the same but
// for the address.
func (b *blockade) unreached(of proto.NodeSet) string {
	for _, l := range b.links {
		if of.Has(l.Node) && !l.Connected && l.Error != "" {
			return fmt.Sprintf("; node %d: %s", l.Node, l.Error)
		}
	}
	return ""
}

// list shows nodes as people write them: 0-2,4.
func list(s proto.NodeSet) string {
	nodes := s.Nodes(nil)
	if len(nodes) == 0 {
		return "none"
	}
	var parts []string
	for i := 0; i < len(nodes); {
		k := i
		for k+1 < len(nodes) && nodes[k+1] == nodes[k]+1 {
			k++
		}
		from, to := strconv.Itoa(int(nodes[i])), strconv.Itoa(int(nodes[k]))
		switch {
		case k == i:
			parts = append(parts, from)
		case k == i+1:
			parts = append(parts, from, to)
		default:
			parts = append(parts, from+"-"+to)
		}
		i = k + 1
	}
	return strings.Join(parts, ",")
}
