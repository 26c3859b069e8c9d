package store

import (
	"math/rand/v2"
	"testing"

	"healkv/pmem/seglog"
)

// TestOnlyCounts: a restored store with room asks for the cleaner only to count
// what its segments hold, and says so; when that is done it asks for nothing.
func TestOnlyCounts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	m := makeStore(t, 24, 4096, 4000)
	model := make(map[int]known)
	for n := range 40 {
		m.put(r, model, n, 100, false)
	}
	m.SetFlushed(m.Tail())
	c := m.c
	c.Incarnation = 2
	l, _, err := seglog.Recover(c, m.Flushed(), 0)
	if err != nil {
		t.Fatal(err)
	}
	again := overLog(t, c, l, 4000)
	if err := again.rebuild(); err != nil {
		t.Fatal(err)
	}
	l.SetFlushed(l.Tail())
	if !again.WantsCleaning() || !again.OnlyCounts() {
		t.Errorf("restored: wants cleaning %t, only to count %t", again.WantsCleaning(), again.OnlyCounts())
	}
	steps := 0
	for ; again.clean.uncounted && steps < 1000; steps++ {
		if res := again.Clean(1000, Upto(0), l.Tail()); res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	if again.WantsCleaning() {
		t.Errorf("wants cleaning after %d steps", steps)
	}
	if err := again.deadMatches(); err != nil {
		t.Error(err)
	}
}
