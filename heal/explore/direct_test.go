package explore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"healkv/dataplane/proto"
)

// TestGoingBackChangesNothing walks at random, once step by step on live
// objects that never go back, once through saved states and remembered
// outcomes: both must be in the same canonical state after every action. It
// fails if an image leaves something out, or if what the canonical form leaves
// out matters.
func TestGoingBackChangesNothing(t *testing.T) {
	walks, actions := 40, 0
	if testing.Short() {
		walks = 10
	}
	done := map[actionKind]int{}
	for _, m := range proto.Models() {
		c := Config{Name: "walk", Model: m, Nodes: 3, Keys: 2, Puts: 3, Deletes: 1, Gets: 2, Crashes: 2, Powers: 1, Fences: 1, LazySuper: true}
		if m == proto.Scope {
			c.Persists = 2
		}
		e, err := New(&c)
		if err != nil {
			t.Fatal(err)
		}
		e.keepForms = true
		first, bad := e.start()
		if bad != nil {
			t.Fatal(bad.Text)
		}
		for seed := range uint64(walks) {
			live, err := New(&c)
			if err != nil {
				t.Fatal(err)
			}
			live.tables = e.tables
			live.Direct, live.keepForms = true, true
			rng := rand.New(rand.NewPCG(seed, uint64(m)))
			a, bad := live.start()
			b := first
			if bad != nil {
				t.Fatal(bad.Text)
			}
			script := ""
			for range 250 {
				list := b.actions(nil)
				x := list[rng.IntN(len(list))]
				if x.kind().free() && rng.IntN(8) != 0 {
					continue
				}
				was := b
				if !b.Do(x) {
					b = was
					keep := a
					if a.Do(x) {
						t.Fatalf("%v, seed %d: %v is possible only where nothing goes back, after\n%s", m, seed, x, script)
					}
					a = keep
					continue
				}
				if !a.Do(x) || a.bad != b.bad {
					t.Fatalf("%v, seed %d: after %v: %q and %q, after\n%s", m, seed, x, a.bad, b.bad, script)
				}
				script += fmt.Sprintln(x)
				actions++
				done[x.kind()]++
				if b.bad != "" {
					t.Fatalf("%v, seed %d: %s\n%s%s", m, seed, b.bad, script, e.Trace)
				}
				for n := range c.Nodes {
					if x, y := live.forms[a.loc[n]], e.forms[b.loc[n]]; x != y {
						t.Fatalf("%v, seed %d: node %d is in another state where nothing goes back:\n%x\n%x\nafter\n%s", m, seed, n, x, y, script)
					}
				}
			}
		}
	}
	t.Logf("%d actions in %d walks", actions, 5*walks)
	for k := range actionKinds {
		if done[k] == 0 && grammar[k].word != "marks" && grammar[k].word != "stream" && grammar[k].word != "publish" {
			t.Errorf("no %s in any walk", grammar[k].word)
		}
	}
}
