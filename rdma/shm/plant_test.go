package shm

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"healkv/dataplane/plant"
)

// The heap directory must show the race detector what it would not see in
// mapped memory: a build whose tail is stored without the atomic is reported.
func TestPlantedRace(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("builds itself with -race; once is enough")
	}
	run := func(tags string, b plant.Bug) (string, error) {
		cmd := exec.Command("go", "test", "-race", "-count=1", "-tags", tags, "-run", "TestHandoverGoroutines/heap", ".")
		cmd.Env = append(os.Environ(), "HEALKV_SHM_HANDOVERS=1000", "HEALKV_PLANT="+string(b)) // a report takes its time
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("plant", plant.RaceStreamTail)
	if err == nil || !strings.Contains(out, "DATA RACE") || !strings.Contains(out, "storeTail") {
		t.Fatalf("the planted race was not reported: %v\n%s", err, out)
	}
	if out, err := run("plant", ""); err != nil {
		t.Fatalf("without it: %v\n%s", err, out)
	}
}
