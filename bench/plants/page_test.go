package plants

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"healkv/dataplane/plant"
)

const head = `# Planted bugs

Written by a test (below); do not edit. Each row is one cure that the code has and that a test build can be told to leave
out, by its name: the hazards of the protocol page first, then flushes, fences, orders and checks of every layer. The
check named in the row must then fail. Nothing of this is in the program that ships, which a test makes sure of.

    go test ./bench/plants -plants                  # every bug, by the checks named for it
    go test ./bench/plants -plants -bug H3          # those whose name begins so
    go test ./bench/plants -plants -update          # this page; with -all every check that concerns a bug's package
    HEALKV_PLANT=%s %s

The names are in dataplane/plant/bugs.go, the rows in bench/plants/rows_test.go; %s in the code finds the place. "Found by"
is the quick check of the layer that has the cure. "Also by" are large ones, which the same run requires to fail as well: the
simulation of whole clusters for %d bugs, the explorer for %d. TestProcess… are tests of
running clusters: make process and make verify run them, up to half a minute a bug. Where the column is empty the large checks
are not asked.

%d bugs in %d rows. The quick checks took %v, the large ones %v, on two cores that did other things too.

`

// page is docs/planted.md.
func page(results []result, places map[plant.Bug]place) []byte {
	var b bytes.Buffer
	example := plant.H3Marks
	var quick, large time.Duration
	bugs, second := map[plant.Bug]bool{}, map[string]int{}
	for i := range results {
		for _, b := range results[i].bugs {
			bugs[b] = true
		}
		if len(results[i].found) > 0 {
			quick += results[i].found[0].took
		}
		for j := range results[i].also {
			f := &results[i].also[j]
			large += f.took
			second[f.check.pkg]++
		}
	}
	fmt.Fprintf(&b, head, example, "go test -count=1 -tags plant ./dataplane/replica", "`plant.Is(plant.H3Marks)`", second[simulated.pkg], second[explored.pkg],
		len(bugs), len(results), quick.Round(time.Second), large.Round(time.Second))
	groups := []string{"Hazards", "dataplane", "heal", "pmem", "rdma"}
	titles := map[string]string{
		"Hazards": "Hazards of the protocol page", "dataplane": "Protocol and worker",
		"heal": "Leases, register, way back", "pmem": "Log, index, pool", "rdma": "Rings and shared memory",
	}
	of := func(r *result) string {
		if hazard(r.name()) != 0 {
			return "Hazards"
		}
		if top := strings.SplitN(places[r.bugs[0]].folder(), "/", 2)[0]; top != "." {
			return top
		}
		return "heal" // the node's wiring of it
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "## %s\n\n| bug | cure that is left out | where | found by | seconds | also by, seconds |\n|---|---|---|---|---|---|\n", titles[g])
		for i := range results {
			r := &results[i]
			if of(r) != g {
				continue
			}
			by, lasts := r.why, ""
			var more []string
			for j := range r.found {
				f := &r.found[j]
				how := found(f)
				if j == 0 {
					by, lasts = how, lasted(f.took)
				} else if !slices.Contains(more, how) && how != by {
					more = append(more, how)
				}
			}
			if len(more) > 0 {
				by += "; also " + strings.Join(more, ", ")
			}
			var large []string
			for _, name := range clusters[r.bugs[0]] {
				if len(r.bugs) == 1 {
					large = append(large, name)
				}
			}
			for j := range r.also {
				large = append(large, found(&r.also[j])+" "+lasted(r.also[j].took))
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", strings.ReplaceAll(r.name(), ",", ", "), r.left, places[r.bugs[0]].where(), by, lasts,
				strings.Join(large, "; "))
		}
		b.WriteString("\n")
	}
	b.WriteString("## Without a place in the code\n\n")
	for n := 1; n <= 30; n++ {
		if why := noCure[n]; why != "" {
			fmt.Fprintf(&b, "- H%d: %s.\n", n, why)
		}
	}
	return b.Bytes()
}

// violated is the report of the configuration in which the explorer stopped.
var violated = regexp.MustCompile(`explore_test\.go:\d+: ([\w-]+): [^\n]*\n[^\n]*\n\s*VIOLATION`)

// found names the test, and the seed if there was one.
func found(f *finding) string {
	s := failing(f.output)
	switch f.check.pkg {
	case simulated.pkg:
		return "simulation, " + seedOf(f.output)
	case explored.pkg:
		if m := violated.FindAllStringSubmatch(f.output, -1); m != nil {
			return "explorer, " + m[len(m)-1][1]
		}
		return "explorer's script"
	}
	switch {
	case strings.Contains(f.output, "DATA RACE"):
		s = "race detector, " + f.check.pkg
	case s == "":
		s = f.check.pkg
	}
	if seed := seedOf(f.output); seed != "" {
		s += " (" + seed + ")"
	}
	return s
}

// hazard is the number a bug's name begins with, 0: none.
func hazard(name string) (n int) {
	if _, err := fmt.Sscanf(name, "H%d-", &n); err != nil {
		return 0
	}
	return n
}

func lasted(d time.Duration) string {
	if d < 100*time.Millisecond {
		return "<0.1"
	}
	return fmt.Sprintf("%.1f", d.Seconds())
}
