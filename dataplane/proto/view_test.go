package proto

import "testing"

// H2: the view that a node was last live in is where its missed range begins.
// A life that dies as a shadow moves nothing.
func TestLiveUntil(t *testing.T) {
	v := View{Epoch: 7, Configured: 0b1111, Live: 0b0011, Shadow: 0b0100}
	v.LiveUntil[2], v.LiveUntil[3] = 4, 2
	w := v.Next(0b0001, 0)
	for n, want := range []Epoch{7, 7, 4, 2} {
		if w.LiveUntil[n] != want {
			t.Errorf("node %d was live until %d, want %d", n, w.LiveUntil[n], want)
		}
	}
	if w.Epoch != 8 || w.Live != 0b0001 || w.Shadow != 0 || v.Epoch != 7 {
		t.Errorf("%+v after %+v", w, v)
	}
}

// H5, I2: the next timestamp is above what it follows and in the view's epoch;
// nothing wraps; two nodes never mint the same one.
func TestNextTimestamp(t *testing.T) {
	for _, c := range []struct {
		at   TS
		e    Epoch
		n    NodeID
		want TS
		ok   bool
	}{
		{0, 3, 1, MakeTS(3, 1, 1), true},
		{MakeTS(2, 9, 5), 3, 1, MakeTS(3, 1, 1), true},
		{MakeTS(3, 9, 5), 3, 1, MakeTS(3, 10, 1), true},
		{MakeTS(4, 1, 0), 3, 1, 0, false},
		{MakeTS(3, VersionMax, 5), 3, 1, 0, false},
		{MakeTS(3, VersionMax-1, 5), 3, 1, MakeTS(3, VersionMax, 1), true},
	} {
		if got, ok := c.at.Next(c.e, c.n); got != c.want || ok != c.ok || ok && got <= c.at {
			t.Errorf("after %v in view %d at node %d: %v (%v), want %v (%v)", c.at, c.e, c.n, got, ok, c.want, c.ok)
		}
	}
	if a, b := MakeTS(1, 1, 2), MakeTS(1, 1, 3); a == b || a.Node() != 2 || a.Version() != 1 || a.Epoch() != 1 {
		t.Errorf("%v, %v", a, b)
	}
}
