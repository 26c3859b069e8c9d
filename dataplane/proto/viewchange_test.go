package proto

import "testing"

// group is view 7 of five nodes: 0 and 1 live, 2 and 3 shadows, 4 away.
func group() View {
	v := View{Epoch: 7, Configured: 0b11111, Live: 0b00011, Shadow: 0b01100, Shards: 1}
	v.Incarnation = [NodesMax]Incarnation{1, 2, 3, 4, 5}
	v.LiveUntil = [NodesMax]Epoch{1, 2, 3, 4, 5}
	return v
}

// What a change says follows from the change; everything else stays.
func TestViewChanges(t *testing.T) {
	lives := [NodesMax]Incarnation{11, 12, 13, 14, 15}
	for _, c := range []struct {
		what         string
		change       func(v *View) View
		live, shadow NodeSet
		cold         bool
		lives        [5]Incarnation
		until        [5]Epoch
		after        Epoch
	}{
		{"admitted", func(v *View) View { return v.Admitted(Member{4, 9}, false) }, 0b00011, 0b11100, false, [5]Incarnation{1, 2, 3, 4, 9}, [5]Epoch{7, 7, 3, 4, 5}, 0},
		{"admitted, full", func(v *View) View { return v.Admitted(Member{4, 9}, true) }, 0b00011, 0b11100, false, [5]Incarnation{1, 2, 3, 4, 9}, [5]Epoch{7, 7, 3, 4, 0}, 0},
		{"a live one's next life", func(v *View) View { return v.Admitted(Member{1, 9}, false) }, 0b00001, 0b01110, false, [5]Incarnation{1, 9, 3, 4, 5}, [5]Epoch{7, 7, 3, 4, 5}, 0},
		{"a live one's, full", func(v *View) View { return v.Admitted(Member{1, 9}, true) }, 0b00001, 0b01110, false, [5]Incarnation{1, 9, 3, 4, 5}, [5]Epoch{7, 0, 3, 4, 5}, 0},
		{"promoted", func(v *View) View { return v.Promoted(2) }, 0b00111, 0b01000, false, [5]Incarnation{1, 2, 3, 4, 5}, [5]Epoch{7, 7, 3, 4, 5}, 0},
		{"without two", func(v *View) View { return v.Without(0b00101) }, 0b00010, 0b01000, false, [5]Incarnation{1, 2, 3, 4, 5}, [5]Epoch{7, 7, 3, 4, 5}, 0},
		{"cold", func(v *View) View { return v.ColdOf(0b00011, &lives, 0) }, 0, 0b00011, true, [5]Incarnation{11, 12, 3, 4, 5}, [5]Epoch{7, 7, 3, 4, 5}, 7},
		{"cold by force", func(v *View) View { return v.ColdOf(0b00001, &lives, 0b00010) }, 0, 0b00001, true, [5]Incarnation{11, 2, 3, 4, 5}, [5]Epoch{7, 0, 3, 4, 5}, 7},
		{"cold again", func(v *View) View {
			w := v.ColdOf(0b00011, &lives, 0)
			w.Epoch--
			return w.ColdOf(0b00011, &lives, 0)
		}, 0, 0b00011, true, [5]Incarnation{11, 12, 3, 4, 5}, [5]Epoch{7, 7, 3, 4, 5}, 7},
		{"done", func(v *View) View {
			w := v.ColdOf(0b00011, &lives, 0)
			w.Epoch--
			return w.ColdDone()
		}, 0b00011, 0, false, [5]Incarnation{11, 12, 3, 4, 5}, [5]Epoch{7, 7, 3, 4, 5}, 7},
	} {
		v := group()
		w := c.change(&v)
		if v != group() {
			t.Errorf("%s: the view itself was changed", c.what)
		}
		if err := w.Validate(); err != nil || w.Epoch != 8 {
			t.Errorf("%s: epoch %d, %v", c.what, w.Epoch, err)
		}
		if w.Live != c.live || w.Shadow != c.shadow || w.Cold != c.cold || [5]Incarnation(w.Incarnation[:]) != c.lives || [5]Epoch(w.LiveUntil[:]) != c.until || w.ColdAfter != c.after {
			t.Errorf("%s: %+v", c.what, w)
		}
	}
	v := group()
	cold := v.ColdOf(0b00011, &lives, 0)
	if v.ColdSet() != 0b00011 || cold.ColdSet() != 0b00011 {
		t.Errorf("a cold start counts on %v, and when made again on %v", v.ColdSet(), cold.ColdSet())
	}
}

// TestFailed: lives that end as shadows are counted until one is live, but not
// those whose end is a cold start or comes in one.
func TestFailed(t *testing.T) {
	v := group()
	count := func(what string, want uint8) {
		t.Helper()
		if v.Failed[2] != want {
			t.Fatalf("%s: %d lives of node 2 have failed, want %d", what, v.Failed[2], want)
		}
		for n, k := range v.Failed {
			if n != 2 && k != 0 {
				t.Fatalf("%s: %d lives of node %d", what, k, n)
			}
		}
	}
	v = v.Without(0b00100)
	count("removed as a shadow", 1)
	v = v.Admitted(Member{2, 20}, true)
	count("admitted", 1)
	v = v.Admitted(Member{2, 20}, true)
	count("the same life again", 1)
	v = v.Admitted(Member{2, 21}, false)
	count("its next life", 2)
	v = v.Admitted(Member{4, 9}, false)
	count("another node", 2)
	w := v
	v = v.Promoted(2)
	count("promoted", 0)
	v = v.Without(0b00100)
	count("removed as a live member", 0)
	v = w
	lives := [NodesMax]Incarnation{11, 12}
	v = v.ColdOf(0b00011, &lives, 0)
	count("a cold start without it", 2)
	v = v.ColdOf(0b00001, &lives, 0b00010)
	count("made again", 2)
	for range 300 {
		v = w.Without(0b00100)
		v.Failed[2]--
		w = v.Admitted(Member{2, w.Incarnation[2] + 1}, false)
		w.Failed[2] += min(2, 255-w.Failed[2])
		v = w
	}
	if v.Failed[2] < 254 {
		t.Errorf("%d", v.Failed[2])
	}
	v.Failed[2] = 255
	v = v.Without(0b00100)
	count("more than a byte holds", 255)
}
