package main

import (
	"bytes"
	"os"
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
