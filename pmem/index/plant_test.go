//go:build !plant

package index

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"healkv/dataplane/plant"
)

// TestPlantedRaceIsFound builds the package with a plain store in place of the
// atomic one: the growth test under the race detector must fail, or its
// passing says nothing.
func TestPlantedRaceIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: builds the package again under the race detector")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-race", "-tags", "plant", "-count=1", "-run", "^TestGrowthUnderReaders$", ".")
	cmd.Env = append(cmd.Environ(), "HEALKV_PLANT="+string(plant.RaceWord))
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("the planted race was not found:\n%s", out)
	}
	if !strings.Contains(string(out), "DATA RACE") || !strings.Contains(string(out), "storeWord") {
		t.Fatalf("failed, but not for the planted race: %v\n%s", err, out)
	}
	t.Logf("found: %d reports", strings.Count(string(out), "DATA RACE"))
}
