package report

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"healkv/bench/interference"
)

// costRuns are n ways back of a shape.
func costRuns(t testing.TB, s shape, n int, keptOff float64) (runs []CostRun) {
	for i := range n {
		s.victim, s.start = (s.victim+i)%s.nodes, s.start+100*sec
		x := CostRun{Run: synthetic(t, s)}
		x.SteadyEnd = x.Marks.Killed - sec/2
		x.Interference = func(from, to int64, recovering bool) interference.Share {
			span := ms(to - from)
			share := interference.Share{Threads: 5, SpanMs: span, By: map[string]interference.By{}}
			if recovering {
				share.By[interference.ByRecovering] = interference.By{Ms: span * 5 * keptOff, Count: 1}
			}
			return share
		}
		runs = append(runs, x)
	}
	return runs
}

// costShape is a short one.
func costShape() shape {
	s := healShape()
	s.opsPerWindow, s.steady, s.away, s.tail = 80, sec, 1200*msec, 300*msec
	return s
}

var costInputs = struct {
	sync.Once
	in CostInput
}{}

// costInput keeps every bound. Its runs are made once; tests may replace them.
func costInput(t testing.TB) CostInput {
	costInputs.Do(func() { costInputs.in = makeCostInput(t) })
	in := costInputs.in
	in.Heal, in.Sweep = slices.Clone(in.Heal), slices.Clone(in.Sweep)
	spare, verified := *in.Spare, *in.Verification
	spare.Runs = slices.Clone(spare.Runs)
	in.Spare, in.Verification = &spare, &verified
	return in
}

func makeCostInput(t testing.TB) CostInput {
	full, heal := costShape(), costShape()
	full.name, full.dip = "full", 0.24
	full.recovery, full.bytes, full.start = 1800*msec, 110_000_000, 6000*sec
	heal.dip = 0.002
	slow, quick := costShape(), costShape()
	slow.recovery, slow.dip, slow.start = 900*msec, 0.05, 8000*sec
	quick.dip, quick.start = 0.4, 9000*sec
	return CostInput{
		Env:    Environment{Machine: "synthetic", Cores: 2, Nodes: 6, Workload: "taobench-a", RatePerS: 48_000, Commit: "<b>"},
		Window: 256, Saturation: []float64{181_000, 170_000, 180_000}, Budget: 1 << 20,
		Heal: costRuns(t, heal, 3, 0.1), Full: costRuns(t, full, 2, 0.1),
		Sweep:        []CostPoint{{64 << 10, costRuns(t, slow, 2, 0.1)}, {0, costRuns(t, quick, 2, 0.1)}},
		Spare:        &CostSpare{Nodes: 3, RatePerS: 20_000, CoresUsed: 0.7, Cores: 2, Runs: costRuns(t, heal, 2, 0.004)},
		Verification: &Verification{OK: true, AckedWrites: 5},
	}
}

func TestCost(t *testing.T) {
	r, err := ComputeCost(costInput(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Spread{170_000, 180_000, 181_000}); r.Saturation != want {
		t.Errorf("saturation %v", r.Saturation)
	}
	h := r.Heal.Phase(PhaseRecovering)
	if r.Heal.Times != 3 || math.Abs(r.Heal.RecoveryMs.Median-90) > 1 || math.Abs(h.SpanMs-270) > 3 || h.Windows != 27 {
		t.Errorf("%d times %v, %v ms in %d windows", r.Heal.Times, r.Heal.RecoveryMs, h.SpanMs, h.Windows)
	}
	if math.Abs(h.LossPct) > 3 || h.Read.Count < 8_000 || h.Read.Count > 12_000 {
		t.Errorf("loss %v %%, %d reads", h.LossPct, h.Read.Count)
	}
	all := r.Heal.Phase(PhaseAll)
	if math.Abs(all.SpanMs-3*500) > 1 || math.Abs(all.OpsPerS-5*80*100) > 1000 { // five live nodes of six
		t.Errorf("baseline: %v ms, %v accesses/s", all.SpanMs, all.OpsPerS)
	}
	if r.Faster < 19 || r.Faster > 21 || math.Abs(r.StoreShare-110_000_000./3_980_000) > 0.1 {
		t.Errorf("%v times faster, store to missed %v", r.Faster, r.StoreShare)
	}
	if slow, quick := r.Sweep[0].Phase(PhaseRecovering), r.Sweep[1].Phase(PhaseRecovering); math.Abs(slow.LossPct-5) > 2 || math.Abs(quick.LossPct-40) > 4 || quick.ReadTimes < 2 {
		t.Errorf("sweep: %v and %v %% lost, p99 %v times", slow.LossPct, quick.LossPct, quick.ReadTimes)
	}
	if k := *h.KeptOffPct; math.Abs(k-10) > 0.01 {
		t.Errorf("kept off %v %%", k)
	}
	var b bytes.Buffer
	if err := r.WriteTerminal(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"64 KiB/ms", "no limit", "0.40 %", "less in 900 ms", "180 k/s (170 k/s to 181 k/s)", "live nodes"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if got := r.Bounds.Broken(); len(got) > 0 {
		t.Errorf("broken: %q", got)
	}
	t.Logf("%d bounds, %s", len(r.Bounds), r.Bounds.text())
}

// TestCostBounds hurts one figure after the other.
func TestCostBounds(t *testing.T) {
	cases := []struct {
		name  string
		hurt  func(in *CostInput)
		broke string
		n     int // not judged
	}{
		{"kind", func(in *CostInput) { in.Heal[1].Recovery.Kind = "full" }, "incremental heal", 0},
		{"full copy as fast", func(in *CostInput) { in.Full = costRuns(t, costShape(), 1, 0); in.Full[0].Recovery.Bytes = 110_000_000 }, "faster than a full copy", 0},
		{"throughput", func(in *CostInput) { s := costShape(); s.dip = 0.05; in.Heal = costRuns(t, s, 2, 0) }, "of their throughput before", 0},
		{"p99", func(in *CostInput) { s := costShape(); s.dip = 0.5; in.Heal = costRuns(t, s, 2, 0) }, "p99 of writes", 0},
		{"sweep", func(in *CostInput) { in.Sweep = in.Sweep[1:] }, "8.7 %", 0},
		{"kept off", func(in *CostInput) { in.Spare.Runs = costRuns(t, costShape(), 1, 0.02) }, "keeps hot-path threads", 0},
		{"load not carried", func(in *CostInput) { in.Env.RatePerS = 60_000 }, "", 3},
		{"no core idle", func(in *CostInput) { in.Spare.CoresUsed = 1.2 }, "", 1},
		{"nobody watched", func(in *CostInput) {
			for i := range in.Spare.Runs {
				in.Spare.Runs[i].Interference = nil
			}
		}, "", 1},
		{"no full copy", func(in *CostInput) { in.Full = nil }, "", 1},
		{"lost", func(in *CostInput) { in.Verification.OK = false }, "every acknowledged write", 0},
	}
	for _, c := range cases {
		in := costInput(t)
		c.hurt(&in)
		r, err := ComputeCost(in)
		if err != nil {
			t.Fatal(c.name, err)
		}
		broken, unjudged := r.Bounds.Broken(), 0
		for _, b := range r.Bounds {
			if b.Verdict == NotJudged {
				unjudged++
			}
		}
		if (c.broke != "") != slices.ContainsFunc(broken, func(s string) bool { return strings.Contains(s, c.broke) }) && c.broke != "" || c.broke == "" && len(broken) > 0 || unjudged != c.n {
			t.Errorf("%s: broken %q, %d not judged; want %q, %d", c.name, broken, unjudged, c.broke, c.n)
		}
	}
	t.Logf("%d figures hurt", len(cases))
}

func TestCostFiles(t *testing.T) {
	r, err := ComputeCost(costInput(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if d := os.Getenv("COST_PAGE"); d != "" { // to look at it
		dir = d
	}
	if err := r.WriteAll(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, FileCostJSON))
	if err != nil {
		t.Fatal(err)
	}
	var back CostReport
	if err := json.Unmarshal(text, &back); err != nil || back.Heal.Times != 3 || len(back.Sweep) != 2 || len(back.Bounds) != len(r.Bounds) {
		t.Errorf("%v: %d sweeps, %d bounds", err, len(back.Sweep), len(back.Bounds))
	}
	page, err := os.ReadFile(filepath.Join(dir, FileCostHTML))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "the paper&#39;s 8.7 %", "commit &lt;b&gt;"} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("no %q on the page", want)
		}
	}
	for _, never := range []string{"NaN", "Inf", "<b>·", "http://", "<script"} {
		if bytes.Contains(page, []byte(never)) {
			t.Errorf("%q on the page", never)
		}
	}
}
