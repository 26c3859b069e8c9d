package verbs

import (
	"testing"

	"healkv/cgo/ibverbs"
)

// Only success frees send queue entries, only a flush is without a consequence
// of its own; faults of this node are bounded.
func TestEveryStatusHasAConsequence(t *testing.T) {
	count := map[consequence]int{}
	for s := range ibverbs.Statuses {
		c := consequenceOf(s)
		count[c]++
		if (c == done) != (s == ibverbs.StatusSuccess) || (c == already) != (s == ibverbs.StatusFlushed) {
			t.Errorf("%v: consequence %d", s, c)
		}
	}
	for _, s := range []ibverbs.Status{ibverbs.StatusLocalLength, ibverbs.StatusLocalProtection, ibverbs.StatusLocalQPOperation, ibverbs.StatusLocalAccess} {
		if consequenceOf(s) != reopenIn {
			t.Errorf("%v is this node's fault", s)
		}
	}
	for _, s := range []ibverbs.Status{ibverbs.StatusRetryExceeded, ibverbs.StatusRemoteAccess, ibverbs.StatusRemoteOperation, ibverbs.Statuses, ibverbs.Statuses + 7} {
		if consequenceOf(s) != reopen {
			t.Errorf("%v: the lane must be opened anew", s)
		}
	}
	if count[done] != 1 || count[reopenIn] == 0 || localFaultsMax < 1 {
		t.Errorf("%v", count)
	}
	t.Logf("%d statuses", ibverbs.Statuses)
}
