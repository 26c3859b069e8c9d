package simulation

import (
	"math/rand/v2"
	"testing"
	"time"

	"healkv/bench/tally"
	"healkv/dataplane/proto"
)

// slowCell is a cluster under load in which, after rest, nodes have slow disks
// for so many leases.
func slowCell(seed uint64, model proto.Model, leases float64, slow func(c *cell) []int) *cell {
	const rest = 12 // leases: nobody is demoted soon after the start
	c := &cell{rng: rand.New(rand.NewPCG(seed, 0x736c6f77)), length: rest + leases + 24}
	c.o = Options{Seed: seed<<4 | 1, Nodes: 5, Shards: 1, Model: model, Power: true, Beside: true, Lease: cellLease, Slow: cellLease / 4,
		Drift: cellLease / 10, LogBytes: 2 << 20, Segment: 8 << 10, Ring: 32 << 10, Keys: 24, ValueMax: 200, Clients: 8, Spin: 1, TurnMax: 8, DelayMax: 10, CallMax: 60}
	who := c.rng.Perm(c.o.Nodes)
	c.victim, c.other, c.third, c.fourth = who[0], who[1], who[2], who[3]
	for _, n := range slow(c) {
		c.add(rest, Entry{Do: doSlowDisk, Node: n, A: c.us(leases), B: c.us(0.9)})
	}
	c.load()
	c.s.sort()
	c.o.Millis = int(c.us(cellStart+c.length-4) / 1000)
	return c
}

// TestSlowDisk: a member whose disk is slow, and does not stop, is demoted, and
// comes back when it is quick again. Where all are slow nobody is.
func TestSlowDisk(t *testing.T) {
	// Under the others the followers flush in the background, every 3 ms here:
	// against a lease of 20 ms nobody is quick.
	models := []proto.Model{proto.Synchronous, proto.Strict, proto.ReadEnforced}
	demoted, runs := 0, 0
	for i, model := range models {
		if testing.Short() && i > 0 {
			break
		}
		for _, x := range []struct {
			name string
			slow func(c *cell) []int
			goes bool
		}{
			{"one", func(c *cell) []int { return []int{c.victim} }, true},
			{"all", func(c *cell) []int { return []int{0, 1, 2, 3, 4} }, false},
		} {
			c := slowCell(uint64(i+1), model, 24, x.slow)
			r, f := searched(c.o, &c.s, handler())
			named, held := r.Marks.Count("members named as slow"), r.Marks.Count("slow members demoted, as seen by each")
			switch {
			case f != nil:
				t.Errorf("%v, %s slow: %v", model, x.name, f)
			case x.goes && (named == 0 || held == 0):
				t.Errorf("%v, %s slow: named %d times, demoted %d", model, x.name, named, held)
			case !x.goes && held != 0:
				t.Errorf("%v, %s slow: demoted %d", model, x.name, held)
			}
			t.Logf("%v, %s slow: named %d, demoted as seen by %d, back %d, %d faults, longest stall %v, over complaints %d", model, x.name, named, held, r.Marks.Count("promoted: heal"),
				r.Faults, r.Stall.Round(time.Millisecond), r.Marks.Count("members removed over complaints"))
			demoted += min(held, 1)
			runs++
		}
	}
	if demoted == 0 || runs == 0 {
		t.Error("nobody was demoted")
	}
	tally.Add("simulation", "slow disks", runs)
}
