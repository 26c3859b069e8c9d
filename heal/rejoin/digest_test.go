package rejoin_test

import (
	"testing"

	"healkv/heal/rejoin"
)

// Without a range a node compares digests, with the same buddy and with any
// other; where nobody can compare it takes a full copy.
func TestComparesDigests(t *testing.T) {
	live := 0
	shadow := func(c rejoin.Config) *rejoin.Machine {
		m, v := joining(c)
		v = admitted(m, v)
		m.AllInstalled(v.Epoch)
		live = v.Live.Count()
		return m
	}
	by := func(what string, m *rejoin.Machine, digest, full bool) rejoin.Action {
		t.Helper()
		a := m.Next()
		if a.Do != rejoin.Transfer || a.Digest != digest || a.Full != full {
			t.Fatalf("%s: %+v", what, a)
		}
		return a
	}
	m := shadow(rejoin.Config{Digests: true})
	a := by("first", m, false, false)
	m.Transferred(a.Buddy, false, true)
	a = by("no range", m, true, false)
	m.Transferred(a.Buddy, false, false)
	if b := by("another buddy", m, true, false); b.Buddy == a.Buddy {
		t.Errorf("again %v", b.Buddy)
	}
	m.Transferred(a.Buddy, true, false)
	if a := m.Next(); a.Do != rejoin.RollLeftovers {
		t.Errorf("after it: %+v", a)
	}

	m = shadow(rejoin.Config{Digests: true, Doubtful: "a part of the log does not verify"})
	tries := 0
	for ; m.Next().Do == rejoin.Transfer && tries < 100; tries++ {
		m.Transferred(by("doubtful", m, true, false).Buddy, false, false)
	}
	if a := m.Next(); a.Do != rejoin.StartOver || tries != 3*live {
		t.Errorf("%d tries, then %+v", tries, a)
	}

	by("full anyway", shadow(rejoin.Config{Digests: true, Doubtful: "a part of the log does not verify", Full: "selected"}), false, true)
	by("doubtful without digests", shadow(rejoin.Config{Doubtful: "a part of the log does not verify"}), false, true)
	m = shadow(rejoin.Config{})
	m.Transferred(by("without digests", m, false, false).Buddy, false, true)
	if a := m.Next(); a.Do != rejoin.StartOver {
		t.Errorf("no range, no digests: %+v", a)
	}
}
