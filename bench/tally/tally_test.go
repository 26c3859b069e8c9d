package tally

import (
	"path/filepath"
	"sync"
	"testing"
)

func TestLinesComeBack(t *testing.T) {
	t.Setenv(Variable, "")
	Add("g", "nowhere", 1)
	path := filepath.Join(t.TempDir(), "tally")
	t.Setenv(Variable, path)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { Add("g", "seeds", uint64(2)) })
	}
	wg.Wait()
	Mark("g", "rare", 3)
	Skipped("g", "verbs", "no card")
	lines, err := Read(path)
	if err != nil || len(lines) != 52 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	if lines[0] != (Line{Group: "g", Name: "seeds", Count: 2}) || lines[50] != (Line{Group: "g", Name: "rare", Count: 3, Mark: true}) ||
		lines[51] != (Line{Group: "g", Name: "verbs", Skip: "no card"}) {
		t.Fatalf("%+v", lines[50:])
	}
}
