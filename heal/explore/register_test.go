package explore

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"healkv/bench/tally"
	"healkv/dataplane/proto"
)

var onlyRegister = flag.String("explore.register", "", "explore only configurations of the membership with this in their name")

// registerConfigs are those that a run sees, whole but for those with a bound.
func registerConfigs() []RegisterConfig {
	part := 250_000
	if testing.Short() {
		part = 15_000
	}

	drop := func(n proto.NodeID, attempts int) RegisterProposer {
		return RegisterProposer{Node: 0, Life: 1, Drops: proto.NodeSet(0).With(n), Attempts: attempts}
	}
	same := RegisterProposer{Node: 1, Life: 1, Attempts: 1}
	again := same
	again.Attempts, again.Views = 2, 2
	later := RegisterProposer{Node: 0, Life: 2, Attempts: 1}
	other := RegisterProposer{Node: 1, Life: 1, Drops: 1 << 0, Attempts: 1}
	one, two := []proto.NodeID{2}, []proto.NodeID{2, 0}
	return []RegisterConfig{
		{Name: "compete", Proposers: []RegisterProposer{drop(2, 1), same}},
		{Name: "compete-tells", Proposers: []RegisterProposer{drop(2, 1), same}, Tells: true},
		{Name: "compete-lives", Proposers: []RegisterProposer{drop(2, 1), later}},
		{Name: "compete-again", Proposers: []RegisterProposer{drop(2, 1), again}},
		{Name: "compete-leads", Proposers: []RegisterProposer{drop(2, 1), same}, Leads: true},
		{Name: "lead-again", Proposers: []RegisterProposer{again}, Leads: true},
		{Name: "lease", Proposers: []RegisterProposer{drop(2, 1)}, Holders: one, Asks: 1, Lease: 2, Drift: 1, Window: 1, End: 4},
		{Name: "lease-asks", Proposers: []RegisterProposer{drop(2, 1)}, Holders: one, Asks: 2, Lease: 2, Drift: 1, Window: 1, End: 4},
		{Name: "lease-restart", Proposers: []RegisterProposer{drop(2, 1)}, Holders: one, Asks: 1, Lease: 2, Drift: 1, Window: 1, End: 3, Restarts: 1, RestartOnly: 1 << 1},
		{Name: "lease-compete", Proposers: []RegisterProposer{drop(2, 1), same}, Holders: one, Asks: 1, Lease: 2, Drift: 1, Window: 1, End: 3, States: part},
		{Name: "leases-compete", Proposers: []RegisterProposer{drop(2, 1), other}, Holders: two, Asks: 1, Lease: 2, Drift: 1, Window: 1, End: 3, States: part},
	}
}

// long are the large ones of those seen whole.
var long = []string{"compete-again", "lease-asks", "lease-restart"}

// TestRegister explores the shipped acceptors, proposers and leases.
func TestRegister(t *testing.T) {
	var states, calms, steps uint64
	complete, all := 0, 0
	marks := map[string]uint64{}
	for _, c := range registerConfigs() {
		if !strings.Contains(c.Name, *onlyRegister) {
			continue
		}
		if testing.Short() && slices.Contains(long, c.Name) {
			c.States = 15_000
		}
		e := NewRegister(&c)
		r := e.Run()
		t.Log(r)
		if r.Violation != "" {
			t.FailNow()
		}
		if c.States == 0 && !r.Complete {
			t.Errorf("%s: not complete", c.Name)
		}
		for name, n := range e.Marks() {
			marks[name] += n
		}
		if all++; r.Complete {
			complete++
		}
		states, calms, steps = states+r.States, calms+r.Calms, steps+r.Steps
	}
	t.Logf("%d of %d configurations complete: %d states, from all of them a decision in calm (%d that differ), %d steps of the code", complete, all, states, calms, steps)
	if *onlyRegister != "" {
		return
	}
	for _, name := range []string{"chosen", "unchanged", "lost", "held", "vote refused, outbid", "vote refused, guarded", "vote refused, may not vote yet",
		"began with a lead", "learnt", "acceptor restarted", "lease refused", "a holder is out", "caught up with a vote"} {
		name = "register: " + name
		t.Logf("%9d %s", marks[name], name)
		if marks[name] == 0 && !testing.Short() {
			t.Errorf("never happened: %s", name)
		}
		tally.Mark("explorer", name, marks[name])
	}
	tally.Add("explorer", "register states", states)
	tally.Add("explorer", "register configurations", all)
	tally.Add("explorer", "register configurations complete", complete)
	tally.Add("explorer", "register continuations decided", calms)
}

// TestRegisterSeesDrift: with clocks that drift apart by a tick more than the
// holder allows for, a view without it is chosen while it counts on its lease.
func TestRegisterSeesDrift(t *testing.T) {
	for _, c := range registerConfigs() {
		if c.Name != "lease" {
			continue
		}
		c.Window++
		r := NewRegister(&c).Run()
		t.Log(r)
		if !strings.HasPrefix(r.Violation, "L1: ") {
			t.Errorf("clocks beyond the bound: %q", r.Violation)
		}
		tally.Add("explorer", "register drifts beyond the bound seen", len(r.Script))
		return
	}
	t.Fatal("no such configuration")
}
