package dataplane

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"healkv/dataplane/plant"
)

// The body of the subprocess of TestPlantedRaceIsFound.
func TestPlantedRace(t *testing.T) {
	if !planted {
		t.Log("runs in the plant build only")
		return
	}
	r := newRig(t, rigOptions{nodes: 1, spin: 20})
	s := r.nodes[0].host.NewSession()
	defer s.Close()
	for i := range 200 {
		if _, err := s.Put(fmt.Append(nil, "key-", i), []byte("v"), 0); err != nil {
			t.Fatal(err)
		}
	}
	// The ring to the worker of a recovery's batches.
	w := r.nodes[0].workers[0]
	batches := make([]Batch, 8)
	for range 50 {
		for i := range batches {
			for !w.AdoptOffer(&batches[i]) {
			}
		}
		for n := 0; n < len(batches); {
			if w.AdoptTaken() != nil {
				n++
			} else {
				w.Do(func() {})
			}
		}
	}
}

// The race detector sees the hand-over of lanes and batches when it is a plain
// store; so it would see one lost by accident.
func TestPlantedRaceIsFound(t *testing.T) {
	if planted {
		return
	}
	if testing.Short() {
		t.Log("left out: builds a race binary, seconds of work; runs without -short")
		return
	}
	// What overlaps is up to the machine: a busy one needs several runs until
	// each of the places was seen.
	places := []string{"(*lane).submit", "(*Worker).answer", "(*batchRing).put"}
	var all strings.Builder
	for range 24 {
		cmd := exec.Command("go", "test", "-race", "-tags", "plant", "-run", "^TestPlantedRace$", "-count=1", ".")
		cmd.Env = append(cmd.Environ(), "HEALKV_PLANT="+string(plant.RaceLane))
		out, err := cmd.CombinedOutput()
		if err != nil { // it has failed, as it should: because of races?
			all.Write(out)
		}
		text := all.String()
		if strings.Contains(text, "WARNING: DATA RACE") && !slices.ContainsFunc(places, func(p string) bool { return !strings.Contains(text, p) }) {
			break
		}
	}
	text := all.String()
	if !strings.Contains(text, "WARNING: DATA RACE") {
		t.Fatalf("planted plain stores were not reported:\n%s", text[max(0, len(text)-4000):])
	}
	for _, p := range places {
		if !strings.Contains(text, p) {
			t.Errorf("no report names %s\n%s", p, text[max(0, len(text)-4000):])
		}
	}
	t.Logf("%d reports", strings.Count(text, "WARNING: DATA RACE"))
}
