package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"healkv/bench/report"
)

func TestCostFigures(t *testing.T) {
	group := func(budget uint64, ms float64) report.CostGroup {
		return report.CostGroup{Budget: budget, RecoveryMs: report.Spread{Low: ms - 1, Median: ms, High: ms + 1}, MovedBytes: report.Spread{Median: ms * 1e6},
			Phases: []report.CostPhase{{Name: report.PhaseRecovering, LossEach: report.Spread{Low: -1, Median: ms / 100, High: 9}}}}
	}
	heal, full := group(1<<20, 100), group(1<<20, 900)
	m := Measurements{Figures: costFigures(&report.CostReport{Heal: &heal, Full: &full, Sweep: []report.CostGroup{group(64<<10, 500), group(0, 80)}, Spare: &report.CostSpare{Group: group(0, 90)}})}
	m.complete(nil)
	if f := m.find("half of saturation: heal, restart to serving"); f == nil || f.Low != 99 || f.High != 101 || f.Ratio != 100./900 {
		t.Errorf("%+v", f)
	}
	if f := m.find("saturation, budget 64 KiB/ms: live nodes lose"); f == nil || f.Median != 5 || f.Low != -1 {
		t.Errorf("%+v", f)
	}
	if f := m.find("a core to spare: hot-path threads kept off their cores by recovery work"); f == nil || f.Missing == "" {
		t.Errorf("%+v", f)
	}
	seen := map[string]bool{}
	for _, f := range m.Figures {
		if seen[f.Name] {
			t.Errorf("two figures are called %q", f.Name)
		}
		seen[f.Name] = true
	}
	t.Logf("%d figures", len(seen))
}

func TestBenchmarks(t *testing.T) {
	got := benchmarks([]byte("goos: linux\nBenchmarkGet-2  \t 1000\t 123.5 ns/op\t 0 B/op\nBenchmarkGet-2 1000 99 ns/op\nBenchmarkPut/few-keys-2 10 5.0 MB/s 7 ns/op\nPASS\n"))
	if g := got["BenchmarkGet"]; len(g) != 2 || g[0] != 123.5 || g[1] != 99 {
		t.Error(got)
	}
	if g := got["BenchmarkPut/few-keys"]; len(g) != 1 || g[0] != 7 {
		t.Error(got)
	}
}

func TestCompleteAndPage(t *testing.T) {
	old := &Measurements{Figures: []Figure{
		figure("floor", "ns", false, "", []float64{9, 10, 11}),
		figure("rate", "ops/s", true, "", []float64{90, 100, 110}),
		figure("steady", "ops/s", true, "", []float64{90, 100, 110}),
	}}
	m := &Measurements{Conditions: conditions(&options{runs: 3}), Figures: []Figure{
		figure("floor", "ns", false, "", []float64{12, 13, 14}),
		figure("thing", "ns", false, "floor", []float64{26}),
		figure("rate", "ops/s", true, "", []float64{50, 60, 70}),
		figure("steady", "ops/s", true, "", []float64{85, 86, 87}),
		figure("nothing", "ns", false, "floor", nil),
		figure("bounded", "ns", false, "floor", []float64{52}),
		figure("beyond", "ns", false, "floor", []float64{53}),
	}}
	m.Figures[5].Most, m.Figures[6].Most = 4, 4
	for i := range m.Figures {
		m.Figures[i].Part = "floors"
	}
	m.complete(old)
	if f := m.find("thing"); f.Ratio != 2 {
		t.Errorf("%+v", f)
	}
	for name, worse := range map[string]bool{"floor": true, "rate": true, "steady": false, "thing": false, "nothing": false} {
		if f := m.find(name); (f.Worse != "") != worse {
			t.Errorf("%s: worse %q, want %v", name, f.Worse, worse)
		}
	}
	out := filepath.Join(t.TempDir(), "measurements")
	if err := m.write(out); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(out + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## Floors", "2.00 × floor", "4.00 × floor; at most 4.00: PASS", "4.08 × floor; at most 4.00: **MISSED**", "**worse**: -40 % (was 100)", "no run gave a value", "make bench"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	again, err := read(out + ".json")
	if err != nil || len(again.Figures) != len(m.Figures) {
		t.Fatal(again, err)
	}
}

func TestChoose(t *testing.T) {
	if _, err := choose("floors,nonsense"); err == nil || !strings.Contains(err.Error(), "recovery") {
		t.Error(err)
	}
	if chosen, err := choose("load, floors"); err != nil || len(chosen) != 2 || chosen[0].name != "load" {
		t.Error(chosen, err)
	}
}

func TestPeersFigures(t *testing.T) {
	var r peersReport
	path := filepath.Join(t.TempDir(), "report.json")
	text := `{"parts":[{"system":"healkv","op":"write","clients":64,"rate":100,"p99_us":2000},{"system":"etcd","op":"write","clients":64,"rate":10,"p99_us":4000},
		{"system":"healkv unix","op":"write","clients":64,"rate":150,"p99_us":1000},{"system":"etcd unix","op":"write","clients":64,"rate":30,"p99_us":4000}],
		"absences":[{"system":"etcd","rejoin_s":2}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := readJSON(path, &r); err != nil {
		t.Fatal(err)
	}
	m := &Measurements{Figures: r.figures("file")}
	m.complete(nil)
	if f := m.find("healkv, writes, 64 clients (file)"); f == nil || f.Ratio != 10 {
		t.Errorf("%+v", m.Figures)
	}
	if f := m.find("healkv, writes, 64 clients (file), p99"); f == nil || f.Ratio != 0.5 {
		t.Errorf("%+v", m.Figures)
	}
	if f := m.find("healkv unix, writes, 64 clients (file)"); f == nil || f.Ratio != 5 {
		t.Errorf("%+v", m.Figures)
	}
	if f := m.find("etcd, back after a kill (file)"); f == nil || f.Median != 2 {
		t.Errorf("%+v", m.Figures)
	}
}

func TestCommandOf(t *testing.T) {
	for want, args := range map[string][]string{
		"make bench":                            {"-go", "go"},
		`make bench MEASURE="-runs 3 -time 2s"`: {"-go", "go", "-runs", "3", "-time", "2s"},
	} {
		if got := commandOf(args); got != want {
			t.Errorf("%v: %s, want %s", args, got, want)
		}
	}
}

func TestRedisFigures(t *testing.T) {
	var r redisReport
	text := `{"parts": [{"server": "healkv", "op": "SET", "pipeline": 16, "rate": 60}, {"server": "redis-alone", "op": "SET", "pipeline": 16, "rate": 100},
		{"server": "healkv", "op": "SET", "pipeline": 16, "rate": 80}], "verdicts": [{"passed": false, "text": "SET -P 16: slow"}]}`
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	m := Measurements{Figures: r.figures()}
	m.complete(nil)
	if f := m.find("healkv, SET -P 16"); f == nil || f.High != 80 || f.Ratio != f.Median/100 {
		t.Errorf("%+v", m.Figures)
	}
	if f := m.find("SET -P 16: slow"); f == nil || f.Verdict != "**MISSED**" {
		t.Errorf("%+v", m.Figures)
	}
}
