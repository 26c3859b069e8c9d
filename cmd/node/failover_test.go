//go:build process

package main

import (
	"flag"
	"testing"
	"time"

	"healkv/bench/report"
	"healkv/bench/tally"
)

// failoverStrict holds the figures to what a quiet machine reaches. A busy one
// does not, and CI is one.
var failoverStrict = flag.Bool("failover.strict", false, "fail if a failover takes longer than on a quiet machine")

// TestProcessFailover measures what `node demo --failover` shows, once each, on
// small clusters: everything is measured, and verified.
func TestProcessFailover(t *testing.T) {
	var a demoArgs
	if err := parse(demoFlags(&a), []string{"--out", t.TempDir(), "--nodes", "3", "--keys", "2000", "--rate", "1500", "--pool-size", "64MiB", "--victim", "1", "--lease", "1s"}); err != nil {
		t.Fatal(err)
	}
	a.ports.Resp, a.ports.Admin = freePorts(t, a.nodes)
	a.failover = 1
	o := a.o
	o.Out, o.Nodes, o.Keys, o.Workload, o.Program, o.Victim = a.out, a.nodes, a.keys, a.workload, binary, 1
	o.Say = func(format string, args ...any) { t.Logf(format, args...) }
	m, err := a.measure(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]report.FailoverTime{}
	for _, f := range m.Failover {
		if len(f.Times) != 1 || f.Times[0].Stall <= 0 || f.Times[0].View <= 0 || f.Times[0].Reads == 0 {
			t.Errorf("%s over %s: %+v", f.Kind, f.Provider, f.Times)
			continue
		}
		kinds[f.Kind+" "+f.Provider] = f.Times[0]
	}
	for _, name := range []string{"SIGKILL shm", "SIGSTOP shm", "SIGTERM shm", "SIGKILL tcp", "SIGSTOP tcp", "SIGKILL, trust_refused tcp"} {
		if _, ok := kinds[name]; !ok {
			t.Errorf("%s was not measured", name)
		}
	}
	// A stop is not proven: much shorter than the lease it cannot be.
	lease := int64(time.Second)
	for _, silent := range []string{"SIGSTOP shm", "SIGSTOP tcp", "SIGKILL tcp"} {
		if kinds[silent].Stall < lease*3/4 {
			t.Errorf("%s stalls for %v with a lease of a second", silent, time.Duration(kinds[silent].Stall))
		}
	}
	if kinds["SIGKILL shm"].Stall > 10*lease || kinds["SIGKILL, trust_refused tcp"].Stall > 10*lease {
		t.Errorf("stalls with a lease of a second: %+v", kinds)
	}
	if m.Rolling == nil || len(m.Rolling.Nodes) != a.nodes || m.Rolling.Operations == 0 {
		t.Fatalf("rolling restart: %+v", m.Rolling)
	}
	for _, n := range m.Rolling.Nodes {
		if n.Kind != "heal" || n.Away < n.Left {
			t.Errorf("rolling restart: %+v", n)
		}
	}
	where := ""
	for _, c := range m.Cold {
		where += c.Provider + " " + c.Domain + ","
		if len(c.Times) != 1 || c.Times[0] <= 0 || c.Cold != a.nodes || c.Acked == 0 || c.Lost != 0 {
			t.Errorf("cold starts: %+v", c)
		}
	}
	if where != "shm memory,tcp memory,shm file," {
		t.Errorf("cold starts: %s", where)
	}
	t.Logf("%+v; rolling %+v; cold %+v", kinds, *m.Rolling, m.Cold)
	tally.Add("failover", "measured", len(kinds))
	if !*failoverStrict {
		return
	}
	for name, limit := range map[string]time.Duration{"SIGKILL shm": 20 * time.Millisecond, "SIGTERM shm": 20 * time.Millisecond,
		"SIGKILL tcp": time.Second + 10*time.Millisecond, "SIGSTOP tcp": time.Second + 10*time.Millisecond, "SIGSTOP shm": time.Second + 10*time.Millisecond,
		"SIGKILL, trust_refused tcp": 50 * time.Millisecond} {
		if got := time.Duration(kinds[name].Stall); got > limit {
			t.Errorf("%s: writes stood still for %v, at most %v on a quiet machine", name, got, limit)
		}
		if got := time.Duration(kinds[name].Read); got > 5*time.Millisecond {
			t.Errorf("%s: a read took %v, at most 5 ms on a quiet machine", name, got)
		}
	}
	if m.Rolling.Unknown != 0 {
		t.Errorf("rolling restart: %d operations of unknown outcome", m.Rolling.Unknown)
	}
}
