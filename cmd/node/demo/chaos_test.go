package demo

import (
	"path/filepath"
	"strings"
	"testing"

	"healkv/bench/tally"
)

// TestKindsThatMustHappen: in a run long enough a kind that was possible and
// never came is a problem, and a zero in the tally; a kind that no round
// permitted is neither, and a short run is not blamed.
func TestKindsThatMustHappen(t *testing.T) {
	o := &ChaosOptions{Kinds: []string{FaultKill, FaultStorm, FaultPauseKill, FaultDiskFull}}
	for _, c := range []struct {
		name    string
		faults  int
		rounds  []*ChaosRound
		problem []string
	}{
		{"short", 7, []*ChaosRound{{Nodes: 4, Bounded: true}}, nil},
		{"small clusters", 8, []*ChaosRound{{Nodes: 3}}, []string{FaultStorm}},
		{"all possible", 8, []*ChaosRound{{Nodes: 3}, {Nodes: 4}, {Nodes: 3, Bounded: true}}, []string{FaultStorm, FaultPauseKill, FaultDiskFull}},
	} {
		path := filepath.Join(t.TempDir(), "tally")
		t.Setenv(tally.Variable, path)
		s := &ChaosSummary{Faults: c.faults, ByKind: map[string]int{FaultKill: c.faults}, Recoveries: map[string]int{"heal": 3}, Rounds: c.rounds,
			Operations: 1, HistoryOps: 1, OK: true}
		s.judge(o)
		s.count(o)
		if len(s.Problems) != len(c.problem) || s.OK != (len(c.problem) == 0) {
			t.Errorf("%s: %q", c.name, s.Problems)
		}
		lines, err := tally.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		var zero []string
		for _, l := range lines {
			if l.Mark && l.Count == 0 {
				zero = append(zero, l.Name)
			}
		}
		for _, k := range c.problem {
			if !strings.Contains(strings.Join(s.Problems, "\n"), "kind "+k+" ") || !strings.Contains(strings.Join(zero, " "), k) {
				t.Errorf("%s: %s is missing in %q or in the zeros %q", c.name, k, s.Problems, zero)
			}
		}
		if len(zero) != len(c.problem) {
			t.Errorf("%s: zeros %q", c.name, zero)
		}
	}
}

func TestOptionsOfChaos(t *testing.T) {
	o := ChaosOptions{Kinds: []string{"nonsense"}}
	if err := o.validate(); err == nil || !strings.HasPrefix(err.Error(), `chaos: no fault is called "nonsense"`) {
		t.Errorf("%v", err)
	}
}
