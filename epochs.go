package healkv

import (
	"fmt"

	"healkv/dataplane/proto"
)

// epochsWarnAt is when 90 % of the epochs are used up: at the end the register
// refuses every further view, for ever.
const epochsWarnAt = proto.EpochMax / 10 * 9

// warnEpochs is told every epoch, and warns once in the life of the process.
func (n *Node) warnEpochs(e proto.Epoch) {
	if e < epochsWarnAt {
		return
	}
	n.epochs.Do(func() {
		why := fmt.Sprintf("view %d of at most %d: %d epochs are left, and then this cluster takes no change of its members any more; plan to copy its data to a new one",
			e, proto.EpochMax, proto.EpochMax-e)
		n.event("epochs_run_out", uint32(e), why)
		n.log.Warn("the epochs run out", "why", why)
	})
}
