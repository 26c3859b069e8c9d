package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"healkv/bench/interference"
	"healkv/bench/record"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// TestFiguresAreThoseOfTheShape: what went in comes out.
func TestFiguresAreThoseOfTheShape(t *testing.T) {
	in := syntheticInput(t)
	r, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	near := func(what string, got, want, within float64) {
		t.Helper()
		if math.Abs(got-want) > within {
			t.Errorf("%s is %v, want %v within %v", what, got, want, within)
		}
	}
	for i, s := range []shape{healShape(), fullShape()} {
		run := &r.Runs[i]
		near("away ms", run.AwayMs, float64(s.away)/1e6, 1e-6)
		near("recovery ms", run.RecoveryMs, float64(s.recovery)/1e6, 1e-6)
		steady := run.Phase(PhaseSteady)
		perNode := float64(s.opsPerWindow) * 100
		near("steady ops/s", steady.OpsPerS, 6*perNode, 0.02*6*perNode)
		near("steady live ops/s", steady.LiveOpsPerS, 5*perNode, 0.02*5*perNode)
		away := run.Phase(PhaseAway)
		near("away, all", away.ChangePct, -100.0/6, 1)
		near("away, live", away.LiveChangePct, 0, 1)
		near("recovering, live", run.Phase(PhaseRecovering).LiveChangePct, -100*s.dip, 2)
		near("after, all", run.Phase(PhaseAfter).ChangePct, 0, 1)
		near("stall ms", run.Stall.LongestMs, float64(s.stall)/1e6, 1.001*float64(record.WindowNanos)/1e6)
		sum := 0.0
		for _, p := range run.Stall.Parts {
			sum += p.Ms
		}
		near("parts of the stall, ms", sum, float64(s.stall)/1e6, 1e-3)
		if names := partNames(run.Stall.Parts); !slices.Equal(names, []string{"to process gone", "to first suspicion", "to first view installed", "to last view installed", "to next write"}) {
			t.Errorf("parts of the stall: %q", names)
		}
		sum = 0
		for _, p := range run.Parts {
			near("begin of "+p.Name, p.FromMs, sum, 1e-6)
			sum += p.Ms
		}
		near("parts of the recovery, ms", sum, run.RecoveryMs, 1e-6)
		if len(run.Parts) != len(recoverySteps) {
			t.Errorf("parts of the recovery: %q", partNames(run.Parts))
		}
		if len(run.Stall.PerNode) != 5 || run.Stall.PerNode[0].LongestMs < float64(s.stall)/1e6 {
			t.Errorf("stall of each node: %+v", run.Stall.PerNode)
		}
		windows := 0
		for _, p := range run.Phases {
			windows += p.Windows
		}
		if want := int(firstWindow(run.marks.End) - firstWindow(run.marks.Begin)); windows != want {
			t.Errorf("the phases have %d windows, the run %d", windows, want)
		}
	}
	h := r.Headline
	near("faster", h.Faster, 8, 1e-6)
	near("bytes", h.BytesPct, 100*4.31/109.8, 1e-6)
}

func partNames(parts []Part) (names []string) {
	for _, p := range parts {
		names = append(names, p.Name)
	}
	return names
}

// TestPhasesAgainstTheWindows adds the counts up again, the slow way.
func TestPhasesAgainstTheWindows(t *testing.T) {
	run := synthetic(t, healShape())
	r, err := Compute(Input{Runs: []Run{run}})
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]uint64{}
	reads := map[string]*hdrhistogram.Histogram{}
	for _, n := range run.Nodes {
		for _, w := range n.Windows {
			name := r.Runs[0].phaseAt(w.Start())
			sums[name] += w.Ops()
			if reads[name] == nil {
				reads[name] = hdrhistogram.New(record.LowestMicros, record.HighestMicros, record.Digits)
			}
			var m record.Merged
			if err := m.Add(w.ReadHist, w.Read.Max); err != nil {
				t.Fatal(err)
			}
			reads[name].Merge(m.HDR())
		}
	}
	for _, p := range r.Runs[0].Phases {
		if got := p.OpsPerS * float64(p.Windows) / 100; math.Abs(got-float64(sums[p.Name])) > 0.5 {
			t.Errorf("%s: %v operations, the windows have %d", p.Name, got, sums[p.Name])
		}
		if got, want := p.Read.P99Us, uint64(reads[p.Name].ValueAtQuantile(99)); got != want {
			t.Errorf("%s: p99 of reads %d µs, from the windows %d", p.Name, got, want)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from the golden file; if that is right, run with -update. Got:\n%.3000s", name, got)
	}
}

// smallInput is short enough for golden files.
func smallInput(t *testing.T) Input {
	in := syntheticInput(t)
	for i, s := range []shape{healShape(), fullShape()} {
		s.nodes, s.victim, s.opsPerWindow = 3, 1, 50
		s.steady, s.away, s.tail, s.recovery = 60*msec, 80*msec, 40*msec, s.recovery/6
		in.Runs[i] = synthetic(t, s)
	}
	return in
}

func TestGolden(t *testing.T) {
	r, err := Compute(smallInput(t))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, g := range []struct {
		file  string
		write func(io.Writer) error
	}{{"report.json", r.WriteJSON}, {"windows.csv", r.WriteCSV}, {"terminal.txt", r.WriteTerminal}} {
		b.Reset()
		if err := g.write(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, g.file, b.Bytes())
	}
}

func TestFilesReadBack(t *testing.T) {
	in := syntheticInput(t)
	r, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := r.WriteAll(dir); err != nil {
		t.Fatal(err)
	}
	var back Report
	text, err := os.ReadFile(filepath.Join(dir, FileJSON))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &back); err != nil || len(back.Runs) != 2 || back.Runs[1].Phases[0].Read != r.Runs[1].Phases[0].Read {
		t.Errorf("report.json: %v", err)
	}

	f, err := os.Open(filepath.Join(dir, FileCSV))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var csvReads, want uint64
	for _, row := range rows[1:] {
		n, err := strconv.ParseUint(row[4], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		csvReads += n
	}
	for i := range r.Runs {
		for k := range r.Runs[i].Phases {
			want += uint64(r.Runs[i].Phases[k].Read.Count)
		}
	}
	if csvReads != want || rows[0][4] != "reads" {
		t.Errorf("windows.csv has %d reads, the histograms %d", csvReads, want)
	}

	hgrm, err := filepath.Glob(filepath.Join(dir, DirHist, "*.hgrm"))
	if err != nil || len(hgrm) < 18 {
		t.Errorf("%d .hgrm files: %v", len(hgrm), err)
	}
	for _, path := range hgrm {
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), "1/(1-Percentile)") || !strings.Contains(string(text), "#[Max") {
			t.Errorf("%s: %v", path, err)
		}
	}
	intervals := 0
	total := map[string]int64{}
	log, err := os.Open(filepath.Join(dir, DirHist, "heal.hlog"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for lr := hdrhistogram.NewHistogramLogReader(log); ; intervals++ {
		h, err := lr.NextIntervalHistogram()
		if err != nil || h == nil {
			break
		}
		total[h.Tag()] += h.TotalCount()
	}
	var reads, writes int64
	for k := range r.Runs[0].Phases {
		reads += r.Runs[0].Phases[k].Read.Count
		writes += r.Runs[0].Phases[k].Write.Count
	}
	if total["read"] != reads || total["write"] != writes || intervals < 200 {
		t.Errorf("histogram log: %d intervals, %v; the phases have %d reads and %d writes", intervals, total, reads, writes)
	}
	t.Logf("%d CSV rows, %d .hgrm files, %d intervals, %d reads, %d writes", len(rows), len(hgrm), intervals, reads, writes)
	if keep := os.Getenv("HEALKV_REPORT_DIR"); keep != "" { // to look at the page
		if err := r.WriteAll(keep); err != nil {
			t.Fatal(err)
		}
	}
}

var external = regexp.MustCompile(`(?i)https?:|src\s*=|href\s*=|url\s*\(|@import|//[a-z0-9.-]+\.[a-z]{2,}|\bfetch\s*\(|XMLHttpRequest|WebSocket|sendBeacon|import\s*\(`)

// TestPageIsSelfContained: nothing in it can reach out, and hostile text stays text.
func TestPageIsSelfContained(t *testing.T) {
	in := syntheticInput(t)
	in.Env.Machine = `<script>alert(1)</script>`
	in.Env.Commit = `</script><img onerror=x>`
	in.Runs[0].Events = append(in.Runs[0].Events, Event{At: in.Runs[0].Marks.Killed + 1, Node: 2, Name: "</script><b>", Detail: "<i>&"})
	in.Verification.OK = false
	in.Verification.Problems = []string{"one lost write"}
	in.NoInterference = "nobody watched"
	in.Runs[0].Interference = func(from, to int64, _ bool) interference.Share {
		span := ms(to - from)
		return interference.Share{Threads: 5, SpanMs: span, ThreadMs: 5 * span, OnCoreMs: span, GaveMs: span / 2, PreemptedMs: span / 4,
			By: map[string]interference.By{interference.ByRecovery: {Ms: span / 8, Count: 1}}}
	}
	r, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	html := b.String()
	if hit := external.FindString(html); hit != "" {
		i := strings.Index(html, hit)
		t.Errorf("the page has %q in …%s…", hit, html[max(0, i-60):min(len(html), i+80)])
	}
	for _, bad := range []string{"<script>alert", "<img", "<i>&"} {
		if strings.Contains(html, bad) {
			t.Errorf("%q is in the page unescaped", bad)
		}
	}
	if n := strings.Count(html, "</script>"); n != 2 {
		t.Errorf("%d script ends, want 2", n)
	}
	for _, want := range []string{"nobody watched", "off its cores, HEAL", "2.50 %", "✗ failed", "one lost write", "Full copy", "failover", "p99.9", "Throughput and latency by phase", "prefers-color-scheme: dark"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(html, "ZgotmplZ") {
		t.Error("a value was refused by the template")
	}
	t.Logf("%d kB", len(html)/1000)
}

func TestOneRunWithoutExtras(t *testing.T) {
	s := healShape()
	s.name = "only"
	run := synthetic(t, s)
	run.Events = nil
	r, err := Compute(Input{Runs: []Run{run}})
	if err != nil {
		t.Fatal(err)
	}
	if parts := partNames(r.Runs[0].Parts); !slices.Equal(parts, []string{"until serving"}) {
		t.Errorf("parts without events: %q", parts)
	}
	var b bytes.Buffer
	if err := errors.Join(r.WriteHTML(&b), r.WriteTerminal(&b), r.WriteJSON(&b)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "nothing was verified") {
		t.Error("the report does not say that nothing was verified")
	}
}

func TestNoWrites(t *testing.T) {
	run := synthetic(t, healShape())
	for _, n := range run.Nodes {
		for i := range n.Windows {
			w := &n.Windows[i]
			w.Writes, w.FirstWrite, w.LastWrite, w.WriteHist, w.Write = 0, -1, -1, nil, record.Latency{}
		}
	}
	r, err := Compute(Input{Runs: []Run{run}})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := errors.Join(r.WriteHTML(&b), r.WriteTerminal(&b)); err != nil {
		t.Fatal(err)
	}
	if !r.Runs[0].Stall.NoWrites || !strings.Contains(b.String(), "not measured: no writes") {
		t.Errorf("%+v", r.Runs[0].Stall)
	}
}

func TestLongRunIsThinnedOut(t *testing.T) {
	s := healShape()
	s.nodes, s.victim, s.opsPerWindow, s.steady, s.tail = 2, 0, 3, 60*sec, 60*sec
	r, err := Compute(Input{Runs: []Run{synthetic(t, s)}})
	if err != nil {
		t.Fatal(err)
	}
	full := r.Runs[0].full
	if len(full.total) > seriesMax || full.stepMs <= 10 || r.Runs[0].zoom.stepMs != 10 {
		t.Errorf("%d samples of %v ms, zoom %v ms", len(full.total), full.stepMs, r.Runs[0].zoom.stepMs)
	}
	sum := 0.0
	for _, v := range full.total {
		sum += v * full.stepMs / 1000
	}
	want := 0.0
	for _, p := range r.Runs[0].Phases {
		want += p.OpsPerS * float64(p.Windows) / 100
	}
	if math.Abs(sum-want) > want/500 {
		t.Errorf("the samples have %v operations, the phases %v", sum, want)
	}
}

func TestBadInput(t *testing.T) {
	good := synthetic(t, healShape())
	for name, change := range map[string]func(*Run){
		"no name":      func(r *Run) { r.Name = "" },
		"slash":        func(r *Run) { r.Name = "../x" },
		"no nodes":     func(r *Run) { r.Nodes = nil },
		"no victim":    func(r *Run) { r.Victim = 9 },
		"node twice":   func(r *Run) { r.Nodes = append(slices.Clone(r.Nodes), r.Nodes[0]) },
		"no end":       func(r *Run) { r.Marks.End = 0 },
		"order":        func(r *Run) { r.Marks.Restarted = r.Marks.Killed - 1 },
		"short steady": func(r *Run) { r.Marks.Begin = r.Marks.Killed - 1 },
		"never served": func(r *Run) { r.Marks.Serving, r.Events = 0, nil },
		"windows mixed": func(r *Run) {
			r.Nodes = slices.Clone(r.Nodes)
			w := slices.Clone(r.Nodes[0].Windows)
			slices.Reverse(w)
			r.Nodes[0].Windows = w
		},
	} {
		r := good
		change(&r)
		if _, err := Compute(Input{Runs: []Run{r}}); !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Compute(Input{}); !errors.Is(err, ErrInput) {
		t.Errorf("no runs: %v", err)
	}
	if _, err := Compute(Input{Runs: []Run{good, good}}); !errors.Is(err, ErrInput) {
		t.Errorf("one run twice: %v", err)
	}
	// Marks that are left out come from the events.
	r := good
	r.Marks = Marks{Begin: good.Marks.Begin, End: good.Marks.End}
	got, err := Compute(Input{Runs: []Run{r}})
	if err != nil || got.Runs[0].marks != good.Marks {
		t.Errorf("marks from events: %v %+v, want %+v", err, got.Runs[0].marks, good.Marks)
	}
}

func TestJoinWindows(t *testing.T) {
	run := synthetic(t, healShape())
	a, b := run.Nodes[0].Windows[:50], run.Nodes[1].Windows[25:75]
	j := JoinWindows(a, b)
	var want, got uint64
	for _, w := range slices.Concat(a, b) {
		want += w.Ops()
	}
	for i, w := range j {
		got += w.Ops()
		var m record.Merged
		if err := m.Add(w.ReadHist, w.Read.Max); err != nil || uint64(m.Total()) != w.Reads {
			t.Fatalf("window %d: histogram has %d of %d reads, %v", i, m.Total(), w.Reads, err)
		}
	}
	if len(j) != 75 || got != want {
		t.Errorf("%d windows, %d operations, want 75 and %d", len(j), got, want)
	}
}

func TestUnits(t *testing.T) {
	thin := "\u202f"
	for got, want := range map[string]string{
		duration(0.0123): "12.3 µs", duration(0): "0 ms", duration(27.04): "27.0 ms", duration(1234): "1.23 s", duration(61_000): "61.0 s",
		byteSize(999): "999 B", byteSize(4_310_000): "4.31 MB", perSecond(123_456): "123 k/s", perSecond(2_500_000): "2.50 M/s", perSecond(17): "17.0 /s",
		percent(-3.04): "−3.0 %", percent(0.01): "±0 %", percent(2): "+2.0 %", count(1_234_567): "1" + thin + "234" + thin + "567", times(8): "8.00×",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if fmt.Sprint(group("-1234")) != "-1"+thin+"234" {
		t.Error("negative numbers")
	}
}

func BenchmarkCompute(b *testing.B) {
	in := Input{Runs: []Run{synthetic(b, healShape())}}
	for b.Loop() {
		r, err := Compute(in)
		if err != nil {
			b.Fatal(err)
		}
		if err := r.WriteHTML(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// A pause shorter than a window need not be the kill's: its end is no part of what
// followed the kill.
func TestShortStall(t *testing.T) {
	s := healShape()
	s.view, s.stall = 3*msec, 4*msec
	r := synthetic(t, s)
	got := r.stall()
	if !got.Short || got.NoWrites {
		t.Fatalf("%+v", got)
	}
	names := partNames(got.Parts)
	if len(names) == 0 || slices.Contains(names, "to next write") {
		t.Errorf("parts: %q", names)
	}
}
