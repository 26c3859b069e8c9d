package crashtest

import (
	"flag"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"healkv/bench/tally"
	"healkv/pmem"
)

var plantedFlag = flag.Bool("crash.planted", false, "leave out every single flush and drain of every short sequence, not only of some")

// site names the statement in the code that asked for a flush or a drain, and
// what kind of bytes it was for.
func site(geo geometry, off, n int) string {
	var pcs [12]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for region := false; ; {
		f, more := frames.Next()
		fn := f.Function[strings.LastIndex(f.Function, "/")+1:]
		if region && fn != "pmem.(*Region).Flush" {
			return kind(geo, strings.TrimPrefix(fn, "pmem."), off, n)
		}
		region = region || fn == "pmem.(*Region).Flush" || fn == "pmem.(*Region).Drain"
		if !more {
			return "?"
		}
	}
}

func kind(geo geometry, where string, off, n int) string {
	switch at := off - pmem.DataOffset; {
	case n == 0:
		return where + ": drain"
	case at < 0:
		return where + ": flush of the superblock"
	case at%geo.segment == 0 && n == lineBytes:
		return where + ": flush of a segment's header"
	default:
		return where + ": flush of records"
	}
}

// call is one flush or drain of a sequence.
type call struct {
	drain  bool
	number int
	site   string
}

// callsOf plays a sequence and returns its flushes and drains. idle counts
// those that covered nothing new, so that leaving them out changes nothing.
func callsOf(t *testing.T, seq []op) (calls []call, idle int) {
	r := newRun(geometries[0])
	r.quiet = true
	flushes := map[int]string{}
	var drain string
	r.loseFlush = func(number, off, n int) bool {
		flushes[number] = site(r.geo, off, n)
		return false
	}
	r.loseDrain = func(int) bool {
		drain = site(r.geo, 0, 0)
		return false
	}
	total := 0
	r.effective = func(number, writes int, alone []int) {
		total++
		if writes > 0 {
			calls = append(calls, call{true, number, drain})
		}
		for _, n := range alone {
			calls = append(calls, call{false, n, flushes[n]})
		}
	}
	if _, err := plantRun(r, 1, seq); err != nil {
		t.Fatalf("nothing was lost: %v", err)
	}
	return calls, total + len(flushes) - len(calls)
}

// plantRun plays a sequence with something lost; noticed is the broken promise.
func plantRun(r *run, seed uint64, seq []op) (lost int, noticed error) {
	r.limits, r.deeper, r.damage = Limits{Exhaustive: 64, Samples: 16}, 16, 2
	r.counts = counts{}
	clear(r.seen)
	defer func() {
		// Code that lost a flush may trip over its own asserts: noticed, too.
		if p := recover(); p != nil {
			noticed = fmt.Errorf("panic: %v", p)
		}
		for _, l := range r.levels {
			lost += l.rec.Lost
			l.rec.Lost = 0
		}
	}()
	return 0, r.play(seed, seq)
}

// needless are statements of which a single call may be left out without harm,
// as another one follows before anything is promised; left out everywhere they
// are noticed like all others. A key may name a sequence first.
var needless = map[string]string{
	"(*Region).Persist: drain":                                            "the superblock is drained before recovery relies on it: that matters when it is a Discard's",
	"(*Pool).flushAgain: drain":                                           "what recovery repaired, the next recovery repairs again: it matters when the last life left records in flight",
	"closed in order/(*Pool).flushAgain: flush of a segment's header":     sealedAgain,
	"killed in a flush/(*Pool).flushAgain: flush of a segment's header":   sealedAgain,
	"killed in recovery/(*Pool).flushAgain: flush of a segment's header":  sealedAgain,
	"killed in a release/(*Pool).flushAgain: flush of a segment's header": sealedAgain,
	"full copy during a flush/(*Pool).launch: flush of records":           "a discard drops them before anybody was promised anything",
	"killed in a release/(*Pool).launch: flush of a segment's header":     "the process dies before it relies on the zero magic, and recovery flushes all headers",
}

const sealedAgain = "the seal that recovery wrote where a life ended: the next recovery finds the same end; it matters when records were in flight there"

// spare is why a call may be left out alone, "" if it may not.
func spare(sequence, site string) string { return needless[site] + needless[sequence+"/"+site] }

// TestLostFlushesAreNoticed leaves out each flush and each drain of a sequence
// that makes anything durable, one at a time.
func TestLostFlushesAreNoticed(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	planted, noticed, idle := 0, 0, 0
	spared := map[string]int{}
	for i, s := range short {
		if !*plantedFlag && (i%4 != 0 || testing.Short() && i > 0) {
			continue
		}
		calls, n := callsOf(t, s.seq)
		idle += n
		for _, c := range calls {
			r := newRun(geometries[0])
			r.loseFlush = func(number, off, n int) bool { return !c.drain && number == c.number }
			r.loseDrain = func(number int) bool { return c.drain && number == c.number }
			found, seeds := false, uint64(20)
			if spare(s.name, c.site) != "" {
				seeds = 4
			}
			for seed := uint64(1); seed <= seeds && !found; seed++ {
				lost, err := plantRun(r, seed, s.seq)
				if lost == 0 {
					t.Fatalf("%s, seed %d: %s, call %d was not lost: %v", s.name, seed, c.site, c.number, err)
				}
				found = err != nil
			}
			switch {
			case found:
				planted++
				noticed++
			case spare(s.name, c.site) != "":
				spared[c.site+": "+spare(s.name, c.site)]++
			default:
				planted++
				t.Errorf("%s: %s, call %d: losing it breaks no promise", s.name, c.site, c.number)
			}
		}
	}
	t.Logf("%d of %d lost flushes and drains noticed; %d more had nothing to make durable", noticed, planted, idle)
	for _, at := range slices.Sorted(maps.Keys(spared)) {
		t.Logf("%d calls could be left out alone: %s", spared[at], at)
	}
	if planted == 0 {
		t.Error("nothing was lost")
	}
	tally.Add("crash states", "planted flushes and drains noticed", noticed)
}

// TestLostCallSitesAreNoticed deletes the flush or drain of one statement, for
// one kind of bytes, from the sequences and from all lives that follow.
func TestLostCallSitesAreNoticed(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	in := map[string][]int{} // site to sequences
	for i, s := range short {
		if testing.Short() && i%4 != 1 {
			continue
		}
		r := newRun(geometries[0])
		r.sites = map[string]bool{}
		if _, err := plantRun(r, 1, s.seq); err != nil {
			t.Fatalf("%s: nothing was lost: %v", s.name, err)
		}
		for at := range r.sites {
			in[at] = append(in[at], i)
		}
	}
	for _, at := range slices.Sorted(maps.Keys(in)) {
		how, lost := lostSite(at, in[at])
		if how == "" {
			t.Errorf("%s: losing it %d times breaks no promise", at, lost)
			continue
		}
		how, _, _ = strings.Cut(how, "\n")
		t.Logf("%-50s %s", at, how)
	}
	if len(in) < 9 && !testing.Short() || len(in) == 0 {
		t.Errorf("only %d statements flush or drain", len(in))
	}
	t.Logf("%d of %d deleted statements noticed", len(in), len(in))
	tally.Add("crash states", "planted flushes and drains noticed", len(in))
}

func lostSite(at string, sequences []int) (how string, lost int) {
	for seed := range uint64(20) {
		for _, i := range sequences {
			r := newRun(geometries[0])
			r.everywhere = true
			r.loseFlush = func(_, off, n int) bool { return site(r.geo, off, n) == at }
			r.loseDrain = func(int) bool { return site(r.geo, 0, 0) == at }
			n, err := plantRun(r, seed, short[i].seq)
			lost += n
			if err != nil {
				return fmt.Sprintf("%s, seed %d: %v", short[i].name, seed, err), lost
			}
		}
	}
	return "", lost
}

// TestLostFlushesOfFormat: a formatted pool is there when Format has returned.
func TestLostFlushesOfFormat(t *testing.T) {
	const segment, segments = 1024, 8
	states, noticed := 0, 0
	format := func(loseFlush, loseDrain int) (rec *Recorder, bad error) {
		rec = &Recorder{
			LoseFlush: func(number, off, n int) bool { return number == loseFlush },
			LoseDrain: func(number int) bool { return number == loseDrain },
		}
		o := pmem.FormatOptions{Identity: identity, SizeBytes: pmem.DataOffset + segment*segments, SegmentBytes: segment, MaxKeys: keys}
		m := &pmem.HeapMedium{Watch: func(r *pmem.Region) { rec.Start(r.Bytes()); rec.Watch(r) }}
		if err := pmem.FormatHeap(o, m); err != nil {
			t.Fatal(err)
		}
		m.Watch = nil
		rec.Visit = func(w *Window) {
			w.Each(newRand(1), Limits{Exhaustive: 1000, Samples: 100}, make([]byte, Compact(len(m.Pool))), func(image []byte) bool {
				states++
				Expand(m.Pool, image)
				m.BootID[0]++
				p, err := m.Open(identity)
				if err == nil && (p.Super().Generation != 2 || p.Recovered().SuperDamaged != 0 || p.Recovered().Salvaged != "") {
					err = fmt.Errorf("generation %d, %d copies damaged, %s", p.Super().Generation, p.Recovered().SuperDamaged, p.Recovered().Salvaged)
				}
				bad = err
				return bad == nil
			})
		}
		rec.Look()
		return rec, bad
	}
	rec, err := format(-1, -1)
	if err != nil || rec.Flushes == 0 || rec.Drains == 0 {
		t.Fatal(err, rec.Flushes, rec.Drains)
	}
	for i := range rec.Flushes {
		if _, err := format(i, -1); err != nil {
			noticed++
		}
	}
	// Its first drain may be left out: nobody looks at a pool before the
	// second one, as its file has no name until then.
	for i := 1; i < rec.Drains; i++ {
		if _, err := format(-1, i); err != nil {
			noticed++
		}
	}
	if want := rec.Flushes + rec.Drains - 1; noticed != want {
		t.Errorf("%d of %d lost flushes and drains noticed", noticed, want)
	}
	t.Logf("%d states, %d lost flushes and drains noticed", states, noticed)
}
