package crashtest

import (
	"flag"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"healkv/bench/tally"
)

var (
	statesFlag = flag.Int("crash.states", 100_000, "crash states to open")
	seedFlag   = flag.Uint64("crash.seed", 1, "seed of the sampled sequences; same seed, same states")
)

// whole are the short sequences of which a run of a million states opens every
// one: every subset of the words in flight, in every version, between any two
// drains. They flush after each record, else two would be more than can be
// gone through. Runs of fewer states go through all subsets of lines.
var whole = []string{"put", "delete", "transfer", "view change", "superblock update"}

const (
	wholeFrom   = 1_000_000 // states of a run
	wholeStates = 1 << 16   // of one window at most
)

// short are sequences of which every state is opened where that is possible.
var short = []struct {
	name string
	seq  []op
}{
	{"put", []op{begin, put(0, 10), flush}},
	{"two puts", []op{begin, put(0, 10), put(1, 3), flush, put(1, 5), flush}},
	{"overwrite", []op{begin, put(0, 20), flush, put(0, 4), flush, stable, put(2, 0), flush}},
	{"delete", []op{begin, put(0, 10), flush, del(0), flush, put(0, 1), flush}},
	{"transfer", []op{begin, put(5, 10), flush, adopt(0, 10, false), flush, adopt(5, 20, false), flush}},
	{"two transfers in a flush", []op{begin, put(5, 10), flush, adopt(0, 10, false), adopt(5, 20, false), flush}},
	{"bad transfer", []op{begin, put(5, 10), flush, adopt(5, 30, true), flush, put(1, 0), adopt(2, 4, true), flush}},
	{"view change", []op{begin, put(1, 10), flush, view, put(2, 10), flush, view}},
	{"put in a view change", []op{begin, put(1, 10), view, put(2, 10), flush, view}},
	{"superblock update", []op{begin, lost, put(1, 1), flush, lost}},
	{"stable goes out", []op{begin, put(1, 10), flush, stable, put(2, 10), flush, put(3, 1), flush}},
	{"full copy", []op{begin, put(1, 10), put(2, 10), flush, discard, adopt(3, 10, false), flush, complete, put(4, 1), flush}},
	{"second segment", []op{begin, put(1, 700), flush, put(2, 300), flush, put(1, 10), flush}},
	{"segments in one flush", []op{begin, put(1, 10), flush, put(2, 800), put(3, 700), put(4, 800), flush, put(1, 1), flush}},
	{"restart", []op{begin, put(1, 10), flush, put(2, 10), restart, put(3, 10), flush}},
	{"killed in a flush", []op{begin, put(1, 10), killedIn(flush, 0), put(2, 10), flush, put(3, 3), killedIn(view, 1), put(3, 4), flush}},
	{"killed in recovery", []op{begin, put(1, 10), killedIn(restart, 0), put(2, 10), flush, put(5, 5), killedIn(restart, 1), put(2, 8), flush}},
	{"killed in a full copy", []op{begin, put(1, 10), flush, killedIn(discard, 0), put(3, 9), flush, killedIn(discard, 1), discard, put(2, 10), flush, killedIn(discard, 2), complete, put(3, 1), flush}},
	{"failed flush", []op{begin, put(1, 10), flush, failing, put(2, 10), flush}},
	{"closed in order", []op{begin, put(1, 10), closing, put(2, 10), flush, closing}},
	{"killed in a release", []op{begin, turn(7, 90), turn(7, 90), turn(7, 90), turn(7, 90), turn(7, 90), turn(7, 90), turn(3, 9), restart, turn(7, 90), restart, turn(7, 90), killedIn(flush, 0), turn(3, 90), restart, flush}},
	{"cleaner", []op{begin, turn(7, 90), turn(7, 90), turn(7, 90), turn(7, 90), turn(7, 90), turn(7, 90), turn(2, 9), turn(1, 9), turn(1, 9), turn(7, 90), turn(7, 90), turn(7, 90)}},
	{"put during a flush", []op{begin, put(1, 10), start, put(2, 10), land, start, put(1, 5), land, flush}},
	{"superblock update during a flush", []op{begin, put(1, 10), start, lost, put(2, 3), land, flush}},
	{"full copy during a flush", []op{begin, put(1, 10), flush, put(2, 10), start, put(3, 4), discard, adopt(3, 10, false), start, complete, land, flush}},
	{"killed during a flush", []op{begin, put(1, 10), start, put(2, 10), restart, put(3, 10), start, put(1, 4), killedIn(land, 0), put(2, 1), start, land}},
	{"segments during a flush", []op{begin, put(1, 10), start, put(2, 800), put(3, 700), land, start, put(4, 800), put(1, 1), land, flush}},
}

var geometries = []geometry{{1024, 8}, {4096, 8}}

func TestCrashStates(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // every state makes a log and a store anew
	var sum counts
	begun, sequences := time.Now(), 0
	want := *statesFlag
	if testing.Short() {
		want = min(want, 4_000)
	}
	add := func(r *run) {
		c := &r.counts
		sum.States += c.States
		sum.Distinct += len(r.seen)
		sum.Windows += c.Windows
		sum.Words += c.Words
		sum.Lines += c.Lines
		sum.Sampled += c.Sampled
		sum.Process += c.Process
		sum.Damaged += c.Damaged
		sum.Lives += c.Lives
		sum.Freed += c.Freed
		sum.Moved += c.Moved
		sum.Empty += c.Empty
		for i := range c.Deep {
			sum.Deep[i] += c.Deep[i]
		}
		for i := range c.First {
			sum.First[i] += c.First[i]
		}
		r.counts = counts{}
		clear(r.seen)
		sequences++
	}
	limits := Limits{Exhaustive: min(want/50, 1000), Samples: 64}
	r := newRun(geometries[0])
	r.limits = limits
	exhaustive := 0
	for _, s := range short {
		all := slices.Contains(whole, s.name)
		r.whole, r.deeper = 0, 64
		if all && want >= wholeFrom {
			r.whole, r.deeper = wholeStates, 1024 // later lives are a sample in any case
		}
		if err := r.play(*seedFlag, s.seq); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		c := r.counts
		if all {
			exhaustive += c.First[Words]
			if c.First[Sampled] > 0 || want >= wholeFrom && c.First[Lines] > 0 {
				t.Errorf("%s: of its windows %d were gone through by words, %d by lines, %d were sampled", s.name, c.First[Words], c.First[Lines], c.First[Sampled])
			}
		}
		t.Logf("%-24s %7d states, %3d windows: %d by words, %d by lines, %d sampled; %d later lives", s.name, c.States, c.Windows, c.Words, c.Lines, c.Sampled, c.Lives)
		add(r)
	}
	r.whole = 0
	for seed := *seedFlag; sum.States < want; seed++ {
		geo := geometries[seed%uint64(len(geometries))]
		if err := long(&r, geo, seed, want-sum.States); err != nil {
			t.Fatalf("seed %d: %v\nrepeat: go test ./pmem/crashtest -run TestCrashStates -crash.seed=%d", seed, err, seed)
		}
		add(r)
	}
	t.Logf("%d states (%d distinct in their sequences) of %d sequences in %v", sum.States, sum.Distinct, sequences, time.Since(begun).Round(time.Millisecond))
	t.Logf("%+v", sum)
	t.Logf("%d windows of %s gone through by words", exhaustive, strings.Join(whole, ", "))
	if sum.States == 0 || sum.Words == 0 || sum.Lines == 0 || sum.Sampled == 0 || sum.Process == 0 || sum.Damaged == 0 || sum.Lives == 0 || sum.Freed == 0 || sum.Moved == 0 {
		t.Error("something never happened")
	}
	tally.Add("crash states", "states", sum.States)
	tally.Add("crash states", "states that differ within their sequence", sum.Distinct)
	tally.Add("crash states", "sequences", sequences)
	if want >= wholeFrom {
		tally.Add("crash states", "sequences of which every state was opened", len(whole))
	}
}

// long is a sequence by seed, of which states are sampled.
func long(r **run, geo geometry, seed uint64, budget int) error {
	if (*r).geo != geo {
		*r = newRun(geo)
	}
	x := *r
	x.limits, x.deeper, x.budget = Limits{Exhaustive: 64, Samples: 24}, 48, budget
	rng := newRand(seed)
	return x.play(seed, append([]op{begin}, randomOps(rng, 60+rng.IntN(60))...))
}
