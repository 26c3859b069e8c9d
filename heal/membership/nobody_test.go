package membership

import (
	"errors"
	"testing"

	"healkv/dataplane/proto"
)

// TestViewOfNobody: no change leaves a view from which nobody could start cold.
// Handing out lives does not touch the view, whatever it is.
func TestViewOfNobody(t *testing.T) {
	live := proto.View{Epoch: 5, Configured: 0b111, Live: 0b001, Shadow: 0b110, Shards: 1}
	lives := [proto.NodesMax]proto.Incarnation{2, 2, 2}
	live.Issued = lives
	cold := live.ColdOf(0b011, &lives, 0)
	issued := func(v proto.View) proto.View {
		v.Issued[1]++
		return v
	}
	nobody := cold.Without(0b001)
	for _, c := range []struct {
		what     string
		old, new proto.View
		taken    bool
	}{
		{"the last live member leaves", live, live.Without(0b001), false},
		{"a member leaves a cold view", cold, nobody, false},
		{"a cold view of nobody", live, live.ColdOf(0, &lives, 0), false},
		{"a shadow leaves", live, live.Without(0b010), true},
		{"a cold view", live, cold, true},
		{"it is repeated", cold, cold.ColdOf(0b011, &lives, 0), true},
		{"it is done", cold, cold.ColdDone(), true},
		{"a life is handed out", cold, issued(cold), true},
		{"and where nobody is left", nobody, issued(nobody), true},
	} {
		if err := checkChange(&c.old, &c.new); (err == nil) != c.taken || err != nil && !errors.Is(err, errView) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}
