package healkv

import (
	"errors"
	"fmt"

	"healkv/dataplane/proto"
)

// ErrForget is why a node does not forget what absent nodes missed.
var ErrForget = errors.New("healkv: not forgotten")

// ForgetMissed has this live node forget, durably, what those have missed that are
// away now: it need not keep it for them any longer. When they come back and ask
// this node, they compare digests with it instead. It returns the view through
// which nothing is known any more. Whoever wants it to hold for the group orders
// it at every live node.
func (n *Node) ForgetMissed() (epoch uint32, err error) {
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	if l == nil {
		return 0, fmt.Errorf("%w: the node is between two lives; give the order again", ErrForget)
	}
	if v := l.heal.Installed(); !v.Live.Has(l.self.Node) || !v.Has(l.self) {
		return 0, fmt.Errorf("%w: node %d is not live: it is on its way back itself", ErrForget, l.self.Node)
	}
	for i, w := range l.core.Workers() {
		var through proto.Epoch
		if !w.Do(func() { through, err = w.ForgetRanges() }) {
			return 0, fmt.Errorf("%w: shard %d has stopped", ErrForget, i)
		}
		if err != nil {
			return 0, err // the pool has failed, and the life with it
		}
		epoch = max(epoch, uint32(through))
	}
	return epoch, nil
}
