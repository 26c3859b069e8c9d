package healkv

import (
	"log/slog"
	"strings"
	"testing"

	"healkv/dataplane/proto"
)

// One warning comes when a tenth of the epochs is left.
func TestEpochsRunOut(t *testing.T) {
	n := &Node{log: slog.New(slog.DiscardHandler)}
	for _, c := range []struct {
		epoch  proto.Epoch
		events int
	}{{1, 0}, {epochsWarnAt - 1, 0}, {epochsWarnAt, 1}, {epochsWarnAt + 1, 1}, {proto.EpochMax, 1}} {
		n.warnEpochs(c.epoch)
		if len(n.events) != c.events {
			t.Fatalf("epoch %d: %d warnings, want %d", c.epoch, len(n.events), c.events)
		}
	}
	if e := n.events[0]; e.Name != "epochs_run_out" || !strings.Contains(e.Detail, "epochs are left") {
		t.Errorf("%+v", e)
	}
	if share := float64(epochsWarnAt) / proto.EpochMax; share < 0.89 || share > 0.91 {
		t.Errorf("the warning comes at %.2f of them", share)
	}
}
