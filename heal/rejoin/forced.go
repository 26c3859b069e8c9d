package rejoin

import (
	"errors"
	"fmt"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// ErrForced is why an order to start cold without some of the last live
// members is refused.
var ErrForced = errors.New("rejoin: forced cold start refused")

// Forced is an operator's order: the members in Without are lost with what
// they hold, the cluster is to start cold without them. It is about one view
// and void in every other.
type Forced struct {
	Epoch   proto.Epoch   // of the newest view, as the operator has seen it
	Without proto.NodeSet // some of the view's ColdSet
	Dry     bool          // only ask whether it would be taken at this moment
}

// Force takes an operator's order. The error, an ErrForced, says why it is
// refused. An order that is taken lasts as long as this life and the view, and
// only while nothing becomes known for which it would be refused.
//
// The cold view leaves nobody out who can be reached and has his data. It may
// still leave out one who runs where only clients reach him: the acceptors
// hold his lease against that view until it has run out (H33).
func (m *Machine) Force(f Forced) error {
	if why := m.refuses(&f); why != "" {
		return fmt.Errorf("%w: %s", ErrForced, why)
	}
	if !f.Dry {
		m.forced = f
	}
	return nil
}

// forcedOut is whom an order leaves out that holds at this moment.
func (m *Machine) forcedOut() proto.NodeSet {
	if m.forced.Without == 0 || m.refuses(&m.forced) != "" {
		return 0
	}
	return m.forced.Without
}

// refuses says why this node must not start cold without some members, "" if
// it may.
func (m *Machine) refuses(f *Forced) string {
	v, self := &m.view, m.self.Node
	counts := v.ColdSet()
	switch {
	case v.Epoch == 0:
		return "this node knows of no view yet"
	case f.Epoch != v.Epoch:
		return fmt.Sprintf("it is about view %d, and this node knows of view %d; look at the status again", f.Epoch, v.Epoch)
	case v.Has(m.self) && v.Cold:
		return fmt.Sprintf("this life takes part in the cold start of view %d; restart this node and give the order again", v.Epoch)
	case v.Has(m.self):
		return fmt.Sprintf("this life is a member of view %d, which goes on", v.Epoch)
	case f.Without == 0:
		return "it names nobody to go without"
	case f.Without&^counts != 0:
		return fmt.Sprintf("nodes %v are not among those a cold start over view %d waits for, which are %v", f.Without&^counts, v.Epoch, counts)
	case f.Without.Has(self):
		return "it leaves out this node, which would make the cold start"
	case !counts.Has(self):
		return fmt.Sprintf("this node is not among those a cold start over view %d goes by, which are %v; give the order to one of them", v.Epoch, counts)
	case m.blank:
		return "the pool of this node is blank, incomplete or an older copy; give the order to another node"
	}
	for _, n := range counts.Without(self).Nodes(nil) {
		was, is := v.Incarnation[n], m.connected[n]
		switch {
		case is != 0 && is <= was && v.Live.Has(n) && !plant.Is(plant.ForcedRunning):
			return fmt.Sprintf("node %d runs in its life %d of view %d: the cluster is not down", n, was, v.Epoch)
		case is != 0 && is == was && v.Live == 0 && !plant.Is(plant.ForcedInCold):
			return fmt.Sprintf("node %d is still in its life %d of the cold start of view %d, which was cut off, and about to begin another; try again in a moment", n, was, v.Epoch)
		case f.Without.Has(n):
			if is > was && !m.blanks.Has(n) {
				return fmt.Sprintf("node %d is there with a whole pool: no need to go without it", n)
			}
		case is <= was:
			return fmt.Sprintf("node %d does not answer; start it, or go without it as well", n)
		case m.blanks.Has(n):
			return fmt.Sprintf("the pool of node %d is blank, incomplete or an older copy; go without it as well", n)
		}
	}
	return ""
}

// Loses says what a cold start over v without some of its members may lose,
// for whoever is to order it. Writes that were answered are in the pool of
// every member, so what those who stay hold is what counts.
func Loses(model proto.Model, v *proto.View, without proto.NodeSet) string {
	counts := v.ColdSet()
	stay := counts &^ without
	if stay == 0 {
		return fmt.Sprintf("everything: none of the nodes %v stays", counts)
	}
	who := fmt.Sprintf("Nodes %v go on with what they hold; what nodes %v hold is discarded when they come back. ", stay, without)
	power := ""
	switch g := model.Gates(); {
	case g.Answer == proto.Durable && g.Read == proto.Durable:
		return who + "Nothing is lost that was answered or read, even if the machines lost power."
	case g.Answer == proto.Durable:
		power = "values that were read and whose writes were not yet answered"
	case g.Read == proto.Durable:
		power = "answered writes that nobody had read yet, of the last burst"
	case g.Scopes:
		power = "answered writes outside of scopes that were persisted, usually those of the last 10 ms or the last 1 MiB"
	default:
		power = "answered writes that were not yet flushed, usually those of the last 10 ms or the last 1 MiB"
	}
	return who + fmt.Sprintf("If the machines of nodes %v lost power as well, these may be lost: %s. If only processes ended, nothing is lost that was answered or read.", stay, power)
}
