package main

import (
	"bytes"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"healkv/bench/tally"
)

func script(name, text string, atLeast ...minimum) step {
	return step{name, "a test", []string{"sh", "-c", text}, 20 * time.Second, atLeast}
}

const counts = `printf '%s\n' '{"group":"g","name":"seeds","count":3}' '{"group":"g","name":"seeds","count":4}' '{"group":"g","name":"rare","count":1,"mark":true}' >> "$HEALKV_TALLY"; `

func TestJudgement(t *testing.T) {
	interrupted := make(chan os.Signal)
	for _, c := range []struct {
		s    step
		want string // of Failed; empty: it passes
	}{
		{script("good", counts, minimum{"g", "seeds", 7}), ""},
		{script("too few", counts, minimum{"g", "seeds", 8}), "g, seeds: 7, want at least 8"},
		{script("absent", counts, minimum{"g", "faults", 1}), "g, faults: 0, want at least 1"},
		{script("nothing", "true"), "counted nothing"},
		{script("fails", counts+"exit 3"), "exit status 3"},
		{script("zero", counts+`echo '{"group":"g","name":"replay","count":0,"mark":true}' >> "$HEALKV_TALLY"`), "g, replay: 0"},
		{script("only skipped", `echo '{"group":"g","name":"x","count":0,"skip":"no card"}' >> "$HEALKV_TALLY"`), "counted nothing"},
		{step{"slow", "", []string{"sh", "-c", counts + "exec sleep 60"}, 100 * time.Millisecond, nil}, "not done after 100ms"},
	} {
		o, err := c.s.run(t.TempDir(), interrupted)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(o.Failed, "; ")
		if got != c.want && !(c.want != "" && strings.Contains(got, c.want)) {
			t.Errorf("%s: failed with %q, want %q", c.s.name, got, c.want)
		}
	}
}

func TestSummaryShowsEverything(t *testing.T) {
	out := t.TempDir()
	if err := run([]step{script("a", counts), script("b c", counts)}, out); err != nil {
		t.Fatal(err)
	}
	if err := run([]step{script("a", counts), script("bad", "true")}, out); err == nil || err.Error() != "failed: bad" {
		t.Fatalf("a failed step gives %v", err)
	}
	var b bytes.Buffer
	print(&b, []outcome{{Name: "a", Seconds: 2, Counts: []tally.Line{{Group: "g", Name: "seeds", Count: 7}, {Group: "g", Name: "rare", Count: 2, Mark: true},
		{Group: "g", Name: "y", Skip: "no card"}}}, {Name: "z", Failed: []string{"broke"}}}, time.Minute)
	for _, want := range []string{"7  seeds", "skipped  y: no card", "2  g: rare", "FAILED: broke", "nothing counted", "2 checks in 1m0s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the summary lacks %q:\n%s", want, b.String())
		}
	}
}

// TestListedCommands: what -list prints is what a shell runs.
func TestListedCommands(t *testing.T) {
	for _, s := range plan("go", 1, 1) {
		out, err := exec.Command("sh", "-c", "set -- "+shell(s.command)+`; for w; do printf '%s\n' "$w"; done`).Output()
		if err != nil || string(out) != strings.Join(s.command, "\n")+"\n" {
			t.Errorf("%s: a shell reads %q of %q, %v", s.name, out, s.command, err)
		}
	}
	if got := shell([]string{"a b", "it's", "", "-run=^X$"}); got != `'a b' 'it'\''s' '' '-run=^X$'` {
		t.Errorf("quoted as %s", got)
	}
}

// TestLimitsGrow: ten times the work has ten times the time, in the test as in
// the step; less work has no less.
func TestLimitsGrow(t *testing.T) {
	one, ten, little := plan("go", 1, 1), plan("go", 10, 1), plan("go", 0.02, 1)
	for i, s := range one {
		if ten[i].limit != 10*s.limit || little[i].limit != s.limit {
			t.Errorf("%s: %v, ten times as much %v, little %v", s.name, s.limit, ten[i].limit, little[i].limit)
		}
		for _, at := range []step{s, ten[i]} {
			if j := slices.IndexFunc(at.command, func(w string) bool { return strings.HasPrefix(w, "-timeout=") }); j >= 0 {
				if d, err := time.ParseDuration(at.command[j][len("-timeout="):]); err != nil || d >= at.limit || d < at.limit*4/5 {
					t.Errorf("%s: its tests have %v, %v of %v", at.name, d, err, at.limit)
				}
			} else if at.command[0] == "go" {
				t.Errorf("%s: its tests have no time limit", at.name)
			}
		}
	}
}

// TestEveryStepCounts: among the tests that a step runs, one adds to the tally.
// Else the step fails with "counted nothing", however long it has run.
func TestEveryStepCounts(t *testing.T) {
	const root = "../.."
	for _, s := range plan("go", 1, 1) {
		run, tests := regexp.MustCompile("^Test"), 0
		for _, w := range s.command {
			if re, ok := strings.CutPrefix(w, "-run="); ok {
				run = regexp.MustCompile(re)
			}
		}
		for _, w := range s.command {
			if !strings.HasPrefix(w, "./") {
				continue
			}
			counts, n := counting(t, filepath.Join(root, w), run)
			if tests += n; !counts {
				t.Errorf("%s: none of the %d tests of %s that it runs calls tally.Add", s.name, n, w)
			}
		}
		if s.command[0] == "go" && tests == 0 {
			t.Errorf("%s runs no test", s.name)
			continue
		}
		if s.command[0] != "go" {
			text, err := os.ReadFile(filepath.Join(root, s.command[1]))
			if err != nil || !strings.Contains(string(text), tally.Variable) {
				t.Errorf("%s: %v, or it does not know %s", s.name, err, tally.Variable)
			}
		}
	}
}

// counting says whether a test of the package that run matches calls tally.Add,
// itself or in a function of the package's tests, and how many tests match.
func counting(t *testing.T, dir string, run *regexp.Regexp) (counts bool, tests int) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string][]string{} // by function or method: what it names
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				ast.Inspect(fn.Body, func(n ast.Node) bool {
					switch x := n.(type) {
					case *ast.SelectorExpr:
						if in, ok := x.X.(*ast.Ident); ok && in.Name == "tally" {
							calls[fn.Name.Name] = append(calls[fn.Name.Name], "tally."+x.Sel.Name)
						}
						calls[fn.Name.Name] = append(calls[fn.Name.Name], x.Sel.Name)
					case *ast.Ident:
						calls[fn.Name.Name] = append(calls[fn.Name.Name], x.Name)
					}
					return true
				})
			}
		}
	}
	seen := map[string]bool{}
	var adds func(fn string) bool
	adds = func(fn string) bool {
		if fn == "tally.Add" {
			return true
		}
		if seen[fn] {
			return false
		}
		seen[fn] = true
		return slices.ContainsFunc(calls[fn], adds)
	}
	for fn := range calls {
		if strings.HasPrefix(fn, "Test") && fn != "TestMain" && run.MatchString(fn) {
			tests++
			counts = adds(fn) || counts
		}
	}
	return counts, tests
}

func TestUsageNamesTheSteps(t *testing.T) {
	var b bytes.Buffer
	set := flag.NewFlagSet("verify", flag.ContinueOnError)
	set.SetOutput(&b)
	all := plan("go", 1, 1)
	usage(set, all)
	for _, s := range all {
		if !strings.Contains(b.String(), "\n  "+s.name+" ") {
			t.Errorf("the usage does not name %q:\n%s", s.name, b.String())
		}
	}
}

func TestChoice(t *testing.T) {
	all := plan("go", 1, 1)
	for _, c := range []struct {
		only, skip string
		n          int // -1: an error
	}{{"", "", len(all)}, {"explorer, simulation", "", 2}, {"", "specification", len(all) - 1}, {"explore", "", -1}, {"explorer", "explorer", -1}} {
		got, err := choose(all, c.only, c.skip)
		if (err != nil) != (c.n < 0) || err == nil && len(got) != c.n {
			t.Errorf("only %q, skip %q: %d steps, %v", c.only, c.skip, len(got), err)
		}
	}
}
