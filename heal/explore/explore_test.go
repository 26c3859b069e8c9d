package explore

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"healkv/bench/tally"
	"healkv/dataplane/proto"
)

var (
	onlyConfig = flag.String("explore.config", "", "explore only configurations with this in their name")
	onlyModel  = flag.String("explore.model", "", "explore only this model")
	moreTime   = flag.Duration("explore.time", 0, "explore each configuration for so long at most, whatever its size, and walk for so long")
	maxStates  = flag.Uint64("explore.states", 25_000, "states of one configuration at most; those of the list in whole have no limit")
	walkSeed   = flag.Uint64("explore.seed", 1, "seed of the random walks")
	saveIn     = flag.String("explore.save", "", "folder for the script of a violation")
)

// whole are configurations that every run must see to the end, in all models.
var whole = []string{"writes-2", "writes-3", "keys-2", "reads-2", "fine-2", "torn-2", "copy-2", "dark-2", "gone-3", "halfway-3", "shown-3", "scope-2-dark"}

// some are the configurations of some models that are worth a longer run.
var some = []string{"synchronous lost-2", "strict lost-2", "read-enforced lost-2", "synchronous behind-2", "eventual behind-2", "synchronous behind-3",
	"synchronous behind-2-power", "eventual behind-2-power", "synchronous crash-2", "strict crash-2", "read-enforced crash-2",
	"synchronous lease-2", "strict lease-2", "read-enforced lease-2", "synchronous dark-2-again", "synchronous halfway-2", "strict halfway-2", "read-enforced halfway-2",
	"synchronous restart-3", "strict restart-3", "read-enforced restart-3",
	"synchronous dies-3", "strict dies-3", "read-enforced dies-3", "eventual dies-3", "scope scope-3"}

// rare branches that a run must have taken. To start over takes a range that
// was given up or an older copy of a pool, which are not in these worlds.
var rare = []string{"superseded", "confirmed", "waited for a view", "locked reads", "adopted", "adopted locked", "adoptions skipped", "rolled forward",
	"views skipped", "transfers failed", "promotions refused", "way back: connect", "way back: admit", "way back: admit, full copy",
	"way back: await-installed", "way back: transfer", "way back: roll-leftovers", "way back: flush", "way back: promote", "way back: cold-start",
	"way back: report-cold", "way back: promote-cold", "way back: again"}

func limitOf(c *Config) (l Limit, must bool) {
	for _, name := range whole {
		must = must || c.Name == name
	}
	for _, name := range some {
		must = must || !testing.Short() && name == c.Model.String()+" "+c.Name
	}
	switch {
	case *moreTime > 0:
		return Limit{Time: *moreTime}, false
	case must:
		return Limit{}, true
	case testing.Short():
		return Limit{States: 2000}, false
	}
	return Limit{States: *maxStates}, false
}

// TestConfigurations explores the configurations of all models: those that are
// small enough to the end, the others in part.
func TestConfigurations(t *testing.T) {
	var states, transitions, steps uint64
	complete, all := 0, 0
	marks := map[string]uint64{}
	var seen, cut []string
	for _, m := range models(t) {
		for _, c := range configs(m) {
			if !strings.Contains(c.Name, *onlyConfig) || testing.Short() && c.Nodes == 3 && m != proto.Synchronous {
				continue
			}
			e, err := New(&c)
			if err != nil {
				t.Fatal(err)
			}
			limit, must := limitOf(&c)
			r := e.Run(limit)
			t.Log(r)
			report(t, r)
			for name, n := range e.Marks() {
				marks[name] += n
			}
			if must && !r.Complete {
				t.Errorf("%s, %v: not complete", c.Name, m)
			}
			states, transitions, steps, all = states+r.States, transitions+r.Transitions, steps+r.Steps, all+1
			name := fmt.Sprintf("%v %s", m, c.Name)
			if r.Complete {
				complete++
				seen = append(seen, name)
			} else {
				cut = append(cut, name)
			}
		}
	}
	t.Logf("%d of %d configurations complete: %d states, %d transitions, %d steps of the code", complete, all, states, transitions, steps)
	t.Logf("complete: %s", strings.Join(seen, "; "))
	t.Logf("bounded, each to %d states: %s", *maxStates, strings.Join(cut, "; "))
	if complete == 0 || states == 0 {
		t.Error("nothing was explored to the end")
	}
	for _, name := range rare {
		t.Logf("%9d %s", marks[name], name)
		if marks[name] == 0 && *onlyConfig == "" && *onlyModel == "" && !testing.Short() {
			t.Errorf("never happened: %s", name)
		}
		tally.Mark("explorer", name, marks[name])
	}
	tally.Add("explorer", "states", states)
	tally.Add("explorer", "transitions", transitions)
	tally.Add("explorer", "configurations", all)
	tally.Add("explorer", "configurations complete", complete)
}

// TestWalks goes at random through configurations with everything in them.
func TestWalks(t *testing.T) {
	var walks, transitions uint64
	for _, m := range models(t) {
		limit := Limit{States: 6000}
		if *moreTime > 0 {
			limit = Limit{Time: *moreTime}
		} else if testing.Short() {
			limit.States = 500
		}
		for _, c := range []Config{
			{Name: "walks-3", Nodes: 3, Keys: 1, Puts: 3, Gets: 1, Crashes: 2, Powers: 1, Fences: 1, LazySuper: true},
			{Name: "walks-2", Nodes: 2, Keys: 2, Puts: 3, Deletes: 1, Crashes: 3, Powers: 2, FullCopy: m == proto.Strict},
		} {
			c.Model = m
			if !strings.Contains(c.Name, *onlyConfig) {
				continue
			}
			if m.Gates().Scopes {
				c.Persists = 2
			}
			e, err := New(&c)
			if err != nil {
				t.Fatal(err)
			}
			r := e.Walks(*walkSeed, limit)
			t.Log(r)
			report(t, r)
			walks, transitions = walks+r.States, transitions+r.Transitions
		}
	}
	if walks == 0 {
		t.Error("no walk")
	}
	tally.Add("explorer", "walks", walks)
	tally.Add("explorer", "transitions of walks", transitions)
}

func models(t *testing.T) []proto.Model {
	if *onlyModel == "" {
		if testing.Short() {
			return []proto.Model{proto.Synchronous}
		}
		return proto.Models()
	}
	m, err := proto.ParseModel(*onlyModel)
	if err != nil {
		t.Fatal(err)
	}
	return []proto.Model{m}
}

// report ends the test at a violation and keeps its script.
func report(t *testing.T, r *Result) {
	v := r.Violation
	if v == nil {
		return
	}
	if *saveIn != "" {
		name := os.Getenv("HEALKV_PLANT")
		if name == "" {
			name = fmt.Sprintf("%v-%s-%d", r.Config.Model, r.Config.Name, time.Now().Unix())
		}
		path := filepath.Join(*saveIn, name+".txt")
		if err := os.WriteFile(path, []byte(v.ScriptText(r.Config)), 0o600); err != nil {
			t.Error(err)
		}
		t.Logf("script in %s", path)
	}
	t.FailNow()
}
