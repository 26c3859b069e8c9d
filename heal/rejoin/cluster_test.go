package rejoin_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"healkv/bench/tally"
)

var (
	oneSeed   = flag.Uint64("seed", 0, "run only this seed of the simulation")
	moreSeeds = flag.Int("seeds", 0, "run this many seeds of the simulation; 0: as many as fit into 25 s, at least 200")
	nodesOnly = flag.Int("nodes", 0, "clusters of this many nodes only; 0: by seed")
	stopFirst = flag.Bool("stop", false, "stop the simulation at the first failing seed")
	firstSeed = flag.Uint64("first", 1, "first seed of the simulation")
)

// always happened at least once in a run of the default length, or the
// simulation tests less than it says.
var always = []string{
	"process crashes", "power losses: nothing", "power losses: prefix", "power losses: lines", "power losses: words",
	"everybody died", "leases lost", "leases regained", "pauses", "links cut", "deliveries damaged", "deliveries cut short",
	"streams refused", "lives fenced", "running shadows dropped", "buddy crashed in a transfer", "shadow crashed in its transfer",
	"transfers failed", "transfers: by range", "transfers: full copy", "admissions: by range", "admissions: full copy",
	"cold starts", "cold starts after power losses of all", "live members lost", "live members' pools lost", "orders taken", "cold starts forced", "lost members that come back", "promotions", "views skipped", "compare-and-swaps lost", "leftovers rolled forward",
	"incomplete pools", "segments cleaned", "records relocated", "reads stopped by the lease check", "reads taken back",
	"operations unknown", "operations rejected", "direct reads", "scopes persisted", "acknowledged keys compared",
}

// faultNames are the counts that are faults; those that several others follow
// from ("everybody died") are not.
var faultNames = []string{"process crashes", "power losses: nothing", "power losses: prefix", "power losses: lines", "power losses: words",
	"leases lost", "pauses", "links cut", "deliveries damaged", "deliveries cut short", "running shadows dropped"}

// TestCluster runs whole clusters of the shipped state machine over a
// simulated network, with faults and then calm, one seed after the other.
func TestCluster(t *testing.T) {
	var change func(*options)
	if *nodesOnly != 0 {
		change = func(o *options) { o.nodes = *nodesOnly }
	}
	if *oneSeed != 0 {
		w, err := run(*oneSeed, change)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("seed %d: hash %#x, %+v", *oneSeed, w.hash, w.counters.Counters)
		return
	}
	var c counters
	var all counts
	if testing.Short() && *moreSeeds == 0 {
		*moreSeeds = 40
	}
	begun, ran, failed := time.Now(), 0, 0
	for ; *moreSeeds > 0 && ran < *moreSeeds || *moreSeeds == 0 && (ran < 200 || time.Since(begun) < 25*time.Second); ran++ {
		w, err := run(*firstSeed+uint64(ran), change)
		if err != nil {
			t.Errorf("%v\nrepeat: go test ./heal/rejoin -run TestCluster -seed %d", err, *firstSeed+uint64(ran))
			if failed++; failed >= 3 || *stopFirst {
				return
			}
			continue
		}
		c.add(&w.counters.Counters)
		for i, name := range w.counts.names {
			all.add(name, w.counts.n[i])
		}
	}
	var lines []string
	for i, name := range all.names {
		lines = append(lines, fmt.Sprintf("%9d %s", all.n[i], name))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[10:], b[10:]) })
	t.Logf("%d seeds in %v\n%s", ran, time.Since(begun).Round(time.Millisecond), strings.Join(lines, "\n"))
	t.Logf("rare branches: %+v", c.Counters)
	tally.Add("protocol simulation", "seeds", ran-failed)
	for _, name := range []string{"operations", "operations compared"} {
		tally.Add("protocol simulation", name, all.of(name))
	}
	faults := 0
	for _, name := range faultNames {
		faults += all.of(name)
	}
	tally.Add("protocol simulation", "faults", faults)
	if ran < 200 {
		return // too few for the rare ones
	}
	for _, name := range always {
		n := all.of(name)
		if n == 0 {
			t.Errorf("never happened: %s", name)
		}
		tally.Mark("protocol simulation", name, n)
	}
	for _, x := range []struct {
		name string
		n    uint64
	}{{"writes", c.Writes}, {"superseded", c.Superseded}, {"confirmed", c.Confirmed}, {"waited for view", c.WaitedForView},
		{"locked reads", c.LockedReads}, {"adopted", c.Adopted}, {"adopted locked", c.AdoptedLocked}, {"adoptions skipped", c.AdoptSkipped},
		{"rolled forward", c.RolledForward}, {"ring full", c.RingFull}, {"no room", c.NoRoom}, {"bad entries", c.BadEntries}} {
		if x.n == 0 {
			t.Errorf("never happened: %s", x.name)
		}
		tally.Mark("protocol simulation", x.name, x.n)
	}
}

// TestMissedRangeOutlivesTheLog fills the logs several times over while a node
// is away: the cleaner works inside its range, and it heals by it.
func TestMissedRangeOutlivesTheLog(t *testing.T) {
	var all counts
	for seed := uint64(1); seed <= 5; seed++ {
		w, err := run(seed, longAway)
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range w.counts.names {
			all.add(name, w.counts.n[i])
		}
	}
	for _, name := range []string{"segments cleaned", "records relocated", "records relocated beside a missed range", "transfers: by range"} {
		i := slices.Index(all.names, name)
		if i < 0 {
			t.Errorf("never happened: %s", name)
			continue
		}
		t.Logf("%9d %s", all.n[i], name)
	}
	if n := all.of("no range at the buddy"); n != 0 {
		t.Errorf("%d times no range at the buddy", n)
	}
}

// TestSameSeed: equal seeds give equal runs.
func TestSameSeed(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		a, err := run(seed, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := run(seed, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.hash != b.hash || a.traceAt != b.traceAt {
			t.Errorf("seed %d: %d events with hash %#x, then %d with %#x", seed, a.traceAt, a.hash, b.traceAt, b.hash)
		}
	}
}
