package simulation

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"healkv/bench/check"
	"healkv/bench/tally"
)

var (
	oneSeed  = flag.Uint64("sim.seed", 0, "run only this seed")
	seeds    = flag.Int("sim.seeds", 0, "run this many seeds; 0: 60, with -short 4")
	first    = flag.Uint64("sim.first", 0, "first seed; 0: 1")
	runFor   = flag.Duration("sim.time", 0, "run seeds for this long, fresh ones unless -sim.first is given")
	parallel = flag.Int("sim.parallel", 1, "seeds at a time")
	damaged  = flag.Int("sim.damage", 0, "damage so many parts of pools in every seed; 0: in a fraction of the seeds")
	leap     = flag.Uint64("sim.leap", 0, "processes begin to propose so many rounds above their own file: other schedules of the same seeds")
	stop     = flag.Bool("sim.stop", false, "stop at the first failing seed")
	shrink   = flag.Duration("sim.shrink", 0, "shorten the script of the first failing seed for so long and keep it in sim.out")
	out      = flag.String("sim.out", "", "where a shortened script goes; default: the directory for temporary files")
	script   = flag.String("sim.script", "", "run this script only")
	noFaults = flag.Bool("sim.nofaults", false, "leave the faults out")
	verbose  = flag.Bool("sim.log", false, "print what the nodes log")
)

func TestMain(m *testing.M) {
	flag.Parse()
	roundsAway = *leap
	debug.SetGCPercent(400) // much is allocated and soon forgotten
	os.Exit(m.Run())
}

func handler() slog.Handler {
	if !*verbose {
		return nil
	}
	return slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug})
}

// always happened at least once in 200 seeds, or the simulation tests less
// than it says.
var always = []string{
	"replays (equal TS)", "superseded INVs", "locked reads", "entries that waited for their view", "leftovers rolled forward", "rolled forward",
	"records adopted", "records adopted locked", "adoptions skipped", "ring full", "room refused", "bad entries refused",
	"transfers begun again", "deaths of a buddy", "cold starts", "cold starts after power losses of all",
	"promoted: heal", "promoted: digest", "records fetched after comparing", "digests judged", "shards compared", "ranges looked at key by key", "promoted: full", "promoted: cold", "views skipped", "leases lost and won again", "changes of the view that were too late",
	"asked for a full copy: the pool is older than what the members saw it flush", "pools blank", "opened an incomplete pool", "opened after a failed flush",
	"index kept", "index rebuilt", "segments cleaned", "tombstones dropped", "streams refused", "lives ended by a stream that does not verify", "lives fenced",
	"acceptor disks that failed", "lives ended by a failed device", "live again after failures of the device", "faults on pages", "deaths in a flush", "control messages damaged", "left in order", "older pools brought back",
	"operations unknown", "operations lost with a process", "operations rejected: try again", "operations rejected: no room", "operations rejected: deadline",
	"scopes persisted", "reads that stood still", "bursts of gets", "gets looked for later", "leases not renewed for want of progress", "watermark lines torn",
	"stream bytes corrupted", "stream bytes cut short",
	"power losses of all judged by what clients saw", "values promised at a power loss of all", "values read after a power loss of all",
	"newer ones that were not promised and are gone", "keys judged by an exhaustive search",
	"orders taken", "orders refused", "cold starts forced", "forced cold starts that may lose nothing", "lost members that come back",
	"older pools after all others restarted", "connections refused", "members dead by refused connections", "drained",
	"power losses with a flush beside a worker", "process crashes with a flush beside a worker",
	"damaged records found", "damaged records repaired", "damage found by a scrubber", "pools salvaged", "doubtful pools", "pools opened with ranges that do not verify",
	"losses of a doubtful pool", "damaged keys that a judge passed over",
	"pools compared: a process crash", "pools compared: a power loss, flushed", "pools compared: the end of a life",
}

// required is always, with every kind of fault, of death in a recovery and of
// torn media.
func required() []string {
	names := slices.Clone(always)
	for _, w := range weights {
		names = append(names, "fault: "+w.do)
	}
	names = append(names, "fault: "+doPowerAll, "fault: "+doCrashAll, "fault: "+doLostAll, "fault: "+doForce, "fault: "+doOldAll, "fault: "+doDrain, "fault: "+doForget, "fault: "+doDamage)
	for _, s := range slices.Concat(hurtPlaceNames[:], hurtHowNames[:], hurtWhenNames[:]) {
		names = append(names, "damage: "+s)
	}
	for _, s := range steps {
		names = append(names, "deaths at "+s+": itself", "deaths at "+s+": another")
	}
	for _, s := range tornNames {
		names = append(names, "power losses: "+s)
	}
	return names
}

func missingOf(m *Marks) (missing []string) {
	for _, name := range required() {
		if m.Count(name) == 0 {
			missing = append(missing, name)
		}
	}
	return missing
}

// register is what porcupine compares a key's history with.
var register = porcupine.Model{
	Init: func() any { return uint64(check.Initial) },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(check.Op); in.Kind == check.Write {
			return true, in.Value
		}
		return output.(uint64) == state.(uint64), state
	},
}

// searched runs and then lets porcupine judge the small histories too. It does
// not decide in time: a failure. Their size is such that it does in less than a
// second.
func searched(o Options, s *Script, log slog.Handler) (Result, *Failure) {
	r, f := Run(o, s, log)
	if f != nil {
		return r, f
	}
	for _, h := range r.Small {
		ops := make([]porcupine.Operation, 0, len(h))
		for i, x := range h {
			end := x.Return
			if x.Outcome != check.Done {
				end = math.MaxInt64
			}
			ops = append(ops, porcupine.Operation{ClientId: i, Input: x, Output: x.Value, Call: x.Invoke, Return: end})
		}
		if got := porcupine.CheckOperationsTimeout(register, ops, time.Minute); got != porcupine.Ok {
			return r, &Failure{Kind: "porcupine", Text: fmt.Sprintf("%s: key %d: %v", got, h[0].Key, h), entries: len(s.Entries)}
		}
		r.Marks.Add("keys judged by an exhaustive search", 1)
		r.Marks.Add("operations judged by an exhaustive search", len(h))
	}
	return r, nil
}

func drawn(seed uint64) (Options, *Script) {
	o, s := Draw(seed)
	if *noFaults {
		s.Entries = slices.DeleteFunc(s.Entries, func(e Entry) bool { return !e.op() })
	}
	return o, s
}

func repeat(seed uint64) string {
	return fmt.Sprintf("repeat: go test ./heal/simulation -run TestSeeds -sim.seed %d; with -sim.shrink 2m its script is shortened", seed)
}

// TestSeeds runs whole clusters with faults and then calm, one seed after the
// other.
func TestSeeds(t *testing.T) {
	forceDamage = *damaged
	if *oneSeed != 0 {
		o, s := drawn(*oneSeed)
		begun := time.Now()
		r, f := searched(o, s, handler())
		t.Logf("%v\n%v: %s", &o, time.Since(begun), report(&r, 1))
		failed(t, *oneSeed, o, s, f)
		return
	}
	n := *seeds
	switch {
	case n == 0 && testing.Short():
		n = 4
	case n == 0:
		n = 60
	}
	from := max(1, *first)
	if *runFor > 0 {
		n = 1 << 40
		if *first == 0 {
			from = uint64(time.Now().UnixNano()) >> 10 << 20
		}
		t.Logf("fresh seeds from %d on", from)
	}
	var (
		mu       sync.Mutex
		sum      Result
		ran, bad int
		weak     []string
		next     atomic.Int64
		wait     sync.WaitGroup
		begun    = time.Now()
	)
	for range *parallel {
		wait.Go(func() {
			for {
				i := next.Add(1) - 1
				mu.Lock()
				over := i >= int64(n) || *runFor > 0 && time.Since(begun) > *runFor || bad >= 3 || *stop && bad > 0
				mu.Unlock()
				if over {
					return
				}
				seed := from + uint64(i)
				o, s := drawn(seed)
				r, f := searched(o, s, nil)
				mu.Lock()
				ran++
				if f != nil {
					bad++
					failed(t, seed, o, s, f)
				} else if r.Ops < 2000 || r.Faults < 20 {
					weak = append(weak, fmt.Sprintf("seed %d: %d operations, %d faults", seed, r.Ops, r.Faults))
				}
				sum.Add(&r)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	t.Logf("%d seeds in %v: %s", ran, time.Since(begun).Round(time.Millisecond), report(&sum, ran))
	if len(weak) > 0 && !*noFaults {
		t.Errorf("seeds that did too little: %v", weak)
	}
	tally.Add("simulation", "seeds", ran-bad)
	tally.Add("simulation", "operations", sum.Ops)
	tally.Add("simulation", "operations compared", sum.Compared)
	tally.Add("simulation", "faults", sum.Faults)
	missing := missingOf(&sum.Marks)
	if ran >= 200 {
		if len(missing) > 0 && !*noFaults {
			t.Errorf("never happened: %s", strings.Join(missing, "; "))
		}
		for _, name := range required() {
			tally.Mark("simulation", name, sum.Marks.Count(name))
		}
	} else {
		t.Logf("not seen in %d seeds: %s", ran, strings.Join(missing, "; "))
	}
}

func report(r *Result, seeds int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations, %d compared, %d faults that took effect, %v of virtual time, a node serves in %d of %d looks, hash %#x, %d events\n", r.Ops, r.Compared, r.Faults, r.Virtual, r.Serving, r.Millis, r.Hash, r.Events)
	lines := make([]string, 0, len(r.Marks.Names))
	for i, name := range r.Marks.Names {
		lines = append(lines, fmt.Sprintf("%10d %s", r.Marks.N[i], name))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[11:], b[11:]) })
	return b.String() + strings.Join(lines, "\n")
}

var shrunk bool

// failed reports a failure, and shortens the first one's script if asked to.
func failed(t *testing.T, seed uint64, o Options, s *Script, f *Failure) {
	if f == nil {
		return
	}
	t.Errorf("seed %d (%v): %v\n%s", seed, &o, f, repeat(seed))
	if *shrink == 0 || shrunk {
		return
	}
	shrunk = true
	o, s, f, runs := Shrink(o, s, f, *shrink)
	dir := *out
	if dir == "" {
		dir = os.TempDir()
	}
	path := filepath.Join(dir, fmt.Sprintf("simulation-%d.txt", seed))
	var b bytes.Buffer
	s.Write(&b, &o)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Error(err)
	}
	t.Errorf("shortened in %d runs to %d entries (%s):\n%v", runs, len(s.Entries), path, f)
	if len(s.Entries) <= 60 {
		t.Logf("%s", b.String())
	}
}

// TestSameSeed: equal seeds give equal runs.
func TestSameSeed(t *testing.T) {
	n := uint64(8)
	if testing.Short() {
		n = 2
	}
	for seed := uint64(1001); seed <= 1000+n; seed++ {
		o, s := Draw(seed)
		s.Entries = s.Entries[:len(s.Entries)/2]
		o.Millis /= 2
		a, f := Run(o, s, nil)
		b, g := Run(o, s, nil)
		if f != nil || g != nil {
			t.Fatalf("seed %d, half of it: %v, %v", seed, f, g)
		}
		if a.Hash != b.Hash || a.Events != b.Events || a.Ops != b.Ops {
			t.Errorf("seed %d: %d events with hash %#x, then %d with %#x", seed, a.Events, a.Hash, b.Events, b.Hash)
		}
	}
}

// TestScripts runs what once failed, shortened.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if *script != "" {
		files = []string{*script}
	}
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	ran := 0
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		o, s, err := ReadScript(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var again bytes.Buffer
		if err := s.Write(&again, &o); err != nil {
			t.Fatal(err)
		}
		if p, q, err := ReadScript(&again); err != nil || p != o || !slices.Equal(q.Entries, s.Entries) {
			t.Fatalf("%s is not what is written of it: %v", path, err)
		}
		r, f := Run(o, s, handler())
		if f != nil {
			t.Errorf("%s: %v\nrepeat: go test ./heal/simulation -run TestScripts -sim.script %s", path, f, path)
		}
		if *script != "" {
			t.Log(report(&r, 1))
		}
		ran++
	}
	t.Logf("%d scripts", ran)
	tally.Add("simulation", "scripts of failures found", ran)
}
