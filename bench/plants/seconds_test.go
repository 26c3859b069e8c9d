package plants

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"healkv/dataplane/plant"
)

// The large checks, as second finders. The simulator's seeds are far from
// those of other runs, and several times as many as any of the bugs needs, so
// that a change of what it draws changes little here.
var (
	simulated = check{pkg: "heal/simulation", run: "^TestSeeds$", args: "-sim.stop -sim.first 500001 -sim.seeds 60", long: true,
		seed: "-sim.seed", says: "repeat: go test ./heal/simulation"}
	explored = check{pkg: "heal/explore", run: "^(TestConfigurations|TestWalks)$", says: "VIOLATION: "}
	// exploredScope is for what only scopes have.
	exploredScope = check{pkg: "heal/explore", run: "^(TestConfigurations|TestWalks)$", args: "-explore.model scope", says: "VIOLATION: "}
	// replayed is for what a short search does not reach: it replays the scripts
	// that longer ones have found.
	replayed = check{pkg: "heal/explore", run: "^TestScripts$", says: ".txt: "}
)

// seconds are the second finders of bugs; all of them must notice.
var seconds = map[plant.Bug][]check{
	plant.H1Flush:         {explored},
	plant.H2LiveUntil:     {explored},
	plant.BurstLease:      {simulated},
	plant.H2Range:         {explored, simulated},
	plant.H3Marks:         {explored, simulated},
	plant.H5Epoch:         {replayed, simulated},
	plant.H6Installed:     {replayed},
	plant.H6Feed:          {explored, simulated},
	plant.H7Forget:        {explored},
	plant.H8Lock:          {explored},
	plant.H9Outside:       {replayed},
	plant.H10Marker:       {explored, simulated},
	plant.H11Loser:        {explored},
	plant.H13Leftover:     {explored, simulated},
	plant.H15Shadow:       {explored},
	plant.H15All:          {explored, simulated},
	plant.H16Gone:         {replayed},
	plant.H16Promoted:     {replayed},
	plant.H18Reclaim:      {explored},
	plant.H20Flushed:      {explored, simulated},
	plant.H21Again:        {simulated},
	plant.H27Body:         {simulated},
	plant.TSVersion:       {explored, simulated},
	plant.TSNode:          {explored, simulated},
	plant.AckEarly:        {replayed, simulated},
	plant.AckUnflushed:    {explored},
	plant.OwnUnflushed:    {explored},
	plant.ShadowUncounted: {explored},
	plant.FirstSettles:    {explored, simulated},
	plant.AnswerEarly:     {explored},
	plant.ReadEarly:       {explored},
	plant.PersistEarly:    {exploredScope},
	plant.OldWins:         {explored, simulated},
	plant.ReplayUnlocks:   {explored},
	plant.AppliedUnlocked: {explored, simulated},
	plant.OwnUnlocked:     {explored, simulated},
	plant.AdoptOlder:      {explored, simulated},
	plant.SpanAfter:       {explored, simulated},
	plant.MarkersDropped:  {explored},
	plant.ReadUnleased:    {explored},
	plant.ReadLocked:      {explored, simulated},
	plant.WakeOlder:       {explored},
	plant.ForwardTS:       {explored},
	plant.BuddyDied:       {replayed},
	plant.NoLeftovers:     {explored},
	plant.ColdAlone:       {replayed},
	plant.ColdDied:        {explored},
	plant.UnlockUnequal:   {replayed, simulated},
	plant.FlushSkipped:    {simulated},
	plant.CrashUnlocked:   {simulated},
	plant.FenceSkipped:    {simulated},
	plant.WorkerFlush:     {simulated},
}

const (
	inDemo  = "TestProcessDemoNoticesPlantedBugs"
	inChaos = "TestProcessChaosNoticesPlantedBugs"
)

// inCluster says who finds a bug that has no check here.
const inCluster = "a running cluster"

// clusters are the tests of cmd/node that plant a bug into processes. They run
// with those of processes (make process; make verify: "real cluster"), not
// with the others here.
var clusters = map[plant.Bug][]string{
	plant.H12Session:   {inChaos},
	plant.LostWrite:    {inDemo, inChaos},
	plant.StaleReplica: {inDemo},
	plant.StaleRead:    {inDemo, inChaos},
}

// TestSecondFinders: each bug with a second finder has a row, each script of
// the explorer is among its bugs, and the tests of cmd/node plant what is said
// of them.
func TestSecondFinders(t *testing.T) {
	alone := map[plant.Bug]*row{}
	for i := range table {
		if r := &table[i]; len(r.bugs) == 1 {
			alone[r.bugs[0]] = r
		}
	}
	simulations, explorations := 0, 0
	for b, list := range seconds {
		if alone[b] == nil || alone[b].by == (check{}) {
			t.Errorf("%s: no row with a check of its own", b)
		}
		for _, c := range list {
			switch c.pkg {
			case simulated.pkg:
				simulations++
			case explored.pkg:
				explorations++
			}
		}
	}
	if simulations < 20 || explorations < 40 {
		t.Errorf("%d bugs for the simulation, %d for the explorer", simulations, explorations)
	}
	scripts, err := filepath.Glob(root + "/heal/explore/testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		b := plant.Bug(strings.TrimSuffix(filepath.Base(path), ".txt"))
		if slices.Contains(plant.All, b) && !slices.ContainsFunc(seconds[b], func(c check) bool { return c.pkg == explored.pkg }) {
			t.Errorf("%s: the explorer has a script, the table does not ask it", b)
		}
	}
	for _, r := range table {
		if (r.by == check{}) && (r.why != inCluster || len(clusters[r.bugs[0]]) == 0) {
			t.Errorf("%s: nothing finds it", r.name())
		}
	}
	tests := map[string]string{}
	for _, name := range []string{"plant_test.go", "chaos_test.go"} {
		path := root + "/cmd/node/" + name
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if in, ok := d.(*ast.FuncDecl); ok {
				tests[in.Name.Name] = string(text[set.Position(in.Pos()).Offset:set.Position(in.End()).Offset])
			}
		}
	}
	for b, names := range clusters {
		for _, name := range names {
			if !strings.Contains(tests[name], `"`+string(b)+`@`) && !strings.Contains(tests[name], `"`+string(b)+`"`) {
				t.Errorf("%s does not plant %s", name, b)
			}
		}
	}
	t.Logf("second finders: the simulation for %d bugs, the explorer for %d, running clusters for %d", simulations, explorations, len(clusters))
}

// TestPageAndTable: docs/planted.md has the rows of the table, and only these,
// with the second finders that they have.
func TestPageAndTable(t *testing.T) {
	text, err := os.ReadFile(root + "/docs/planted.md")
	if err != nil {
		t.Fatal(err)
	}
	page := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) == 6 && !strings.HasPrefix(line, "| bug ") {
			page[strings.ReplaceAll(strings.TrimSpace(cells[0]), ", ", ",")] = cells
		}
	}
	distinct := map[plant.Bug]bool{}
	for i := range table {
		r := &table[i]
		for _, b := range r.bugs {
			distinct[b] = true
		}
		cells := page[r.name()]
		if cells == nil {
			t.Errorf("%s is not on the page", r.name())
			continue
		}
		if cells[1] != r.left {
			t.Errorf("%s: the page says %q, the table %q", r.name(), cells[1], r.left)
		}
		var simulation, explorer bool
		for _, c := range r.also() {
			simulation = simulation || c.pkg == simulated.pkg
			explorer = explorer || c.pkg == explored.pkg
		}
		if strings.Contains(cells[5], "simulation, seed ") != simulation || strings.Contains(cells[5], "explorer") != explorer {
			t.Errorf("%s: second finders on the page: %q", r.name(), cells[5])
		}
	}
	if len(page) != len(table) {
		t.Errorf("%d rows on the page, %d in the table", len(page), len(table))
	}
	if counts := fmt.Sprintf("%d bugs in %d rows.", len(distinct), len(table)); !strings.Contains(string(text), counts) {
		t.Errorf("the page does not say: %s", counts)
	}
}
