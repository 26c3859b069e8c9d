package store

import (
	"math/rand/v2"
	"testing"

	"healkv/pmem/seglog"
)

// anotherLife opens the log again, which lies as it did, with an index made of it.
func (m *made) anotherLife(t *testing.T, keys uint64) *made {
	c := m.c
	c.Incarnation = 2
	l, _, err := seglog.Recover(c, m.Flushed(), 0)
	if err != nil {
		t.Fatal(err)
	}
	again := overLog(t, c, l, keys)
	if err := again.rebuild(); err != nil {
		t.Fatal(err)
	}
	l.SetFlushed(l.Tail())
	return again
}

// TestCountLeavesABusyTurn: after an opening live bytes are counted with what
// the worker has left of its time, and at once where space is wanted.
func TestCountLeavesABusyTurn(t *testing.T) {
	const budget = 64 << 10
	open := func(writes int) *made {
		m, r, model := makeStore(t, 64, 64<<10, 20000), rand.New(rand.NewPCG(1, 6)), map[int]known{}
		for i := 0; i < writes && m.Fits(400); i++ {
			m.put(r, model, i, 100, false)
		}
		m.SetFlushed(m.Tail())
		return m.anotherLife(t, 20000)
	}
	busy := Upto(0)
	busy.Busy = true
	m, steps := open(6000), 0
	for ; m.clean.uncounted; steps++ {
		switch n := m.Clean(budget, busy, m.Flushed()).LookedAt; {
		case n > countBusy/headerCost:
			t.Fatalf("%d records looked at in a busy turn", n)
		case steps > 10_000:
			t.Fatal("never counted")
		}
	}
	if m = open(6000); m.Clean(budget, Upto(0), m.Flushed()).LookedAt < budget/headerCost {
		t.Error("a worker with nothing else to do hardly counts")
	}
	if m = open(1 << 20); m.Clean(budget, busy, m.Flushed()).LookedAt < budget/headerCost {
		t.Error("space is short, and it hardly counts")
	}
	t.Logf("counted in %d busy turns", steps)
}

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
	again := m.anotherLife(t, 4000)
	if !again.WantsCleaning() || !again.OnlyCounts() {
		t.Errorf("restored: wants cleaning %t, only to count %t", again.WantsCleaning(), again.OnlyCounts())
	}
	steps := 0
	for ; again.clean.uncounted && steps < 1000; steps++ {
		if res := again.Clean(1000, Upto(0), again.Tail()); res.Err != nil {
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
