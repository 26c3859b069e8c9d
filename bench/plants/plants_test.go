package plants

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"healkv/bench/tally"
	"healkv/dataplane/plant"
)

var (
	runAll   = flag.Bool("plants", false, "plant every bug and require that its checks find it (minutes)")
	onlyBugs = flag.String("bug", "", "only bugs whose name begins with one of these, separated by commas")
	wide     = flag.Bool("all", false, "run all checks that concern a bug's package, not only the one named for it")
	update   = flag.Bool("update", false, "write docs/planted.md (with -plants, perhaps -all)")
	parallel = flag.Int("at-once", 2, "checks that run at once")
	limit    = flag.Duration("limit", 3*time.Minute, "time of one check")
	trust    = flag.Bool("trust", false, "do not run the checks without a bug first")
	ledger   = flag.String("ledger", "", "append each outcome to this file, a line of JSON each")
	chatty   = flag.Bool("output", false, "print what a check that found nothing, or failed without a bug, has printed")
)

// result of one row.
type result struct {
	row
	found   []finding
	also    []finding // by second finders
	missed  []string  // checks that noticed nothing
	lacks   []string  // second finders that noticed nothing
	problem error
}

type finding struct {
	check *check
	outcome
}

// TestPlantedBugs plants each bug of the table and requires that the check
// named for it fails, and each of its second finders. With -all the others that concern its package run too, so
// that the table can be mended.
func TestPlantedBugs(t *testing.T) {
	if !*runAll {
		t.Logf("%d bugs in the table; planting them takes minutes: -plants", len(table))
		return
	}
	places := places(t)
	b := &binaries{dir: t.TempDir(), of: map[string]*binary{}, passed: map[check]bool{}}
	var rows []row
	for _, r := range table {
		if r.by == (check{}) {
			continue
		}
		if *onlyBugs == "" || slices.ContainsFunc(strings.Split(*onlyBugs, ","), func(p string) bool { return strings.HasPrefix(r.name(), p) }) {
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("no bug is called %q", *onlyBugs)
	}
	begun := time.Now()
	sound := healthy(t, b, rows, places)
	results := make([]result, len(rows))
	each(len(rows), func(i int) {
		results[i] = hunt(b, rows[i], sound, places)
		if r := &results[i]; len(r.found) > 0 {
			f := r.found[0]
			t.Logf("%-50s %6.1f s  %s: %s", r.name(), f.took.Seconds(), f.check.name(), f.says)
			for j := range r.also {
				f := &r.also[j]
				t.Logf("%-50s %6.1f s  %s", r.name(), f.took.Seconds(), found(f))
			}
		}
	})
	n, second := 0, map[string]int{}
	for i := range results {
		for j := range results[i].also {
			second[results[i].also[j].check.pkg]++
		}
		if r := &results[i]; len(r.lacks) > 0 {
			t.Errorf("%s: not noticed by %s", r.name(), strings.Join(r.lacks, "; "))
		}
		switch r := &results[i]; {
		case r.problem != nil:
			t.Errorf("%s: %v", r.name(), r.problem)
		case len(r.found) == 0:
			t.Errorf("%s: nothing noticed it: %s\n\t%s", r.name(), strings.Join(r.missed, "; "), r.checks(places, *wide)[0].command(r.name()))
		case r.found[0].check.name() != r.by.name():
			t.Errorf("%s: %s did not notice it, but %s did", r.name(), r.by.name(), r.found[0].check.name())
		default:
			n++
		}
	}
	t.Logf("%d of %d planted bugs found in %v, %d also by the simulation, %d also by the explorer", n, len(rows), time.Since(begun).Round(time.Second),
		second[simulated.pkg], second[explored.pkg])
	tally.Add("planted bugs", "planted", len(rows))
	tally.Add("planted bugs", "found", n)
	tally.Add("planted bugs", "found by the simulation too", second[simulated.pkg])
	tally.Add("planted bugs", "found by the explorer too", second[explored.pkg])
	if *update {
		if *onlyBugs != "" || t.Failed() {
			t.Fatal("docs/planted.md is written from a run of all bugs that found them all")
		}
		for _, r := range table {
			if r.by == (check{}) {
				results = append(results, result{row: r})
			}
		}
		if err := os.WriteFile(root+"/docs/planted.md", page(results, places), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// each calls fn for 0..n-1, a few at once.
func each(n int, fn func(i int)) {
	var wait sync.WaitGroup
	next := make(chan int)
	for range max(1, *parallel) {
		wait.Go(func() {
			for i := range next {
				fn(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
}

// healthy runs every check that will be used without a bug in the same build:
// one that fails then proves nothing.
func healthy(t *testing.T, b *binaries, rows []row, places map[plant.Bug]place) map[check]bool {
	var all []check
	for _, r := range rows {
		for _, c := range append(r.checks(places, *wide), r.also()...) {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	sound := map[check]bool{}
	if *trust {
		for _, c := range all {
			sound[c] = true
		}
		return sound
	}
	all = slices.DeleteFunc(all, func(c check) bool {
		sound[c] = c.seed != "" // innocent looks at the seed
		return sound[c]
	})
	var mu sync.Mutex
	begun := time.Now()
	each(len(all), func(i int) {
		o, err := b.run(&all[i], "", *limit)
		if err != nil {
			t.Error(err)
		} else if o.failed || o.hung {
			t.Errorf("%s fails without any bug: %s\n\t%s", all[i].name(), o.says, all[i].command(""))
			if *chatty {
				t.Log(o.output)
			}
		}
		mu.Lock()
		sound[all[i]] = err == nil && !o.failed && !o.hung
		mu.Unlock()
	})
	t.Logf("%d checks run without a bug in %v", len(all), time.Since(begun).Round(time.Second))
	return sound
}

// A check that did not notice a bug and was done soon is tried again.
const (
	triesMax   = 10
	retryBelow = 3 * time.Second
)

// hunt plants one row's bugs and runs its checks until one notices it; all of
// them with -all.
func hunt(b *binaries, r row, sound map[check]bool, places map[plant.Bug]place) result {
	x := result{row: r}
	for _, c := range r.checks(places, *wide) {
		if !sound[c] {
			continue // reported already
		}
		o, err := b.run(&c, r.name(), *limit)
		// Where two threads must meet, one short try may miss it.
		for again := 1; err == nil && !o.clear && !o.hung && o.took < retryBelow && again < triesMax; again++ {
			o, err = b.run(&c, r.name(), *limit)
		}
		if err != nil {
			x.problem = err
			return x
		}
		note(&r, &c, &o)
		if !o.clear {
			x.missed = append(x.missed, fmt.Sprintf("%s (%.0f s)", c.name(), o.took.Seconds()))
			if *chatty {
				fmt.Println(o.output)
			}
			continue
		}
		x.found = append(x.found, finding{&c, o})
		if !*wide {
			break
		}
	}
	for _, c := range r.also() {
		if !sound[c] {
			continue
		}
		o, err := b.run(&c, r.name(), *limit)
		if err != nil {
			x.problem = err
			return x
		}
		note(&r, &c, &o)
		if !o.clear {
			x.lacks = append(x.lacks, fmt.Sprintf("%s (%.0f s): %s", c.name(), o.took.Seconds(), c.command(r.name())))
			continue
		}
		if c.seed != "" {
			if x.problem = b.innocent(&c, &o, *limit); x.problem != nil {
				return x
			}
		}
		x.also = append(x.also, finding{&c, o})
	}
	return x
}

var ledgerMu sync.Mutex

// note appends to the ledger.
func note(r *row, c *check, o *outcome) {
	if *ledger == "" {
		return
	}
	line, err := json.Marshal(struct {
		Bug, Check, Test, Says string
		Found, Hung            bool
		Seconds                float64
	}{r.name(), c.name(), failing(o.output), o.says, o.failed, o.hung, o.took.Seconds()})
	if err != nil {
		panic(err) // only strings, flags and a number
	}
	ledgerMu.Lock()
	defer ledgerMu.Unlock()
	f, err := os.OpenFile(*ledger, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintf(f, "%s\n", line)
}
