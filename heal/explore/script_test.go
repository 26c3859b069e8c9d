package explore

import (
	"os"
	"path/filepath"
	"testing"

	"healkv/bench/tally"
)

// TestScripts replays every script in testdata on live objects: in each of
// them a build without some cure breaks an invariant (the first line says
// which), this one must not.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseScript(filepath.Base(path), string(b))
		if err != nil {
			t.Fatal(err)
		}
		bad, skipped, err := s.Replay()
		if err != nil {
			t.Fatal(err)
		}
		if bad != "" {
			t.Errorf("%s: %s", path, bad)
		}
		if skipped == len(s.Config.Prefix) {
			t.Errorf("%s: nothing of it is possible", path)
		}
	}
	t.Logf("%d scripts", len(paths))
	tally.Add("explorer", "scripts", len(paths))
}

// TestActionsAreText: every action is a line that reads back as itself.
func TestActionsAreText(t *testing.T) {
	n := 0
	for k := range actionKinds {
		args := []int{0, 1, 2}
		switch grammar[k].arg {
		case "":
			args = args[:1]
		case "k":
			args = args[:keysMax]
		}
		for _, arg := range args {
			a := act(k, 1, arg)
			b, err := ParseAction(a.String())
			if err != nil || a != b {
				t.Errorf("%v reads back as %v (%v)", a, b, err)
			}
			n++
		}
	}
	for _, line := range []string{"", "put", "put 0", "put 0 z", "put 9 a", "flush 0 1", "crash 0", "crash 0 power", "crash 0 power -1", "listen 0 x", "dance 0"} {
		if a, err := ParseAction(line); err == nil {
			t.Errorf("%q reads as %v", line, a)
		}
	}
	t.Logf("%d actions", n)
}
