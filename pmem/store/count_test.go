package store

import (
	"math/rand/v2"
	"testing"

	"healkv/pmem/seglog"
)

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
		c := m.c
		c.Incarnation = 2
		l, _, err := seglog.Recover(c, m.Flushed(), 0)
		if err != nil {
			t.Fatal(err)
		}
		again := overLog(t, c, l, 20000)
		if err := again.rebuild(); err != nil {
			t.Fatal(err)
		}
		l.SetFlushed(l.Tail())
		return again
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
