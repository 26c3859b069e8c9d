package result

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"healkv/bench/peers/measure"
	"healkv/bench/peers/servers"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3, 1}},
		{[]float64{9, 1, 5}, Spread{5, 1, 9, 3}},
		{[]float64{4, 1, 2, 9}, Spread{3, 1, 9, 4}},
	} {
		if got := spread(c.values); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.values, got, c.want)
		}
	}
}

func part(system string, clients, run int, rate float64, p99 int64) Part {
	return Part{System: system, Op: "write", Clients: clients, Run: run,
		Figures: measure.Figures{Rate: rate, P50: p99 / 2, P99: p99, Operations: int64(rate), Checked: 10}}
}

func report(parts ...Part) *Report {
	r := &Report{Parts: parts}
	for _, p := range parts {
		r.Conditions.Clients = append(r.Conditions.Clients, p.Clients)
	}
	return r
}

func TestRowsAreOrderedAndCounted(t *testing.T) {
	r := report(part("etcd", 64, 1, 100, 10), part("etcd", 1, 1, 10, 1), part("healkv", 64, 1, 900, 5), part(InNode, 64, 1, 9000, 5),
		part("healkv", 64, 2, 1100, 7), part("healkv", 64, 3, 1000, 6))
	var got []string
	for _, w := range r.Rows() {
		got = append(got, w.System)
	}
	if want := "etcd healkv " + InNode + " etcd"; strings.Join(got, " ") != want {
		t.Errorf("rows of %v, want %s", got, want)
	}
	w := r.Find("healkv", "write", 64)
	if w == nil || w.Rate != (Spread{1000, 900, 1100, 3}) || w.P99.Median != 6 || w.Checked != 30 || w.Operations != 3000 {
		t.Errorf("%+v", w)
	}
	if r.Find("healkv", "read", 64) != nil {
		t.Error("a row that is not there")
	}
}

func TestTimesRunByRun(t *testing.T) {
	r := report(part("etcd", 64, 1, 100, 10), part("healkv", 64, 1, 1000, 5), part("etcd", 64, 2, 10, 100), part("healkv", 64, 2, 120, 10), part("healkv", 64, 3, 7, 7))
	w := r.Find("healkv", "write", 64)
	if w.Times != (Spread{11, 10, 12, 2}) || w.TimesP99.Least != 0.1 || w.TimesP99.Most != 0.5 {
		t.Errorf("%+v %+v", w.Times, w.TimesP99)
	}
	if e := r.Find("etcd", "write", 64); e.Times.Runs != 0 {
		t.Errorf("etcd beside itself: %+v", e.Times)
	}
	if text := r.Markdown(); !strings.Contains(text, "| 11.00 (10.00 to 12.00) | 0.30 (0.10 to 0.50) |") {
		t.Error(text)
	}
}

// Flushed, all rows of HealKV are judged, each beside etcd over the same kind of
// socket, and each verdict says which.
func TestJudgeFlushedRows(t *testing.T) {
	r := report(part("healkv", 64, 1, 2400, 90), part(InNode, 64, 1, 6000, 50), part("etcd", 64, 1, 500, 100),
		part(OverFiles("healkv"), 64, 1, 5900, 80), part(OverFiles("etcd"), 64, 1, 600, 90))
	r.Judge(FileBounds, nil)
	failed := r.Failed()
	if len(r.Verdicts) != 6 || len(failed) != 2 || !strings.Contains(r.Verdicts[0].Text, "row in-node") ||
		!strings.Contains(failed[0].Text, "over TCP) 2400, etcd 500: 4.8 times, 5 wanted") ||
		!strings.Contains(failed[1].Text, "over socket files) 5900, etcd unix 600: 9.8 times, 10 wanted") {
		t.Errorf("%+v", r.Verdicts)
	}
	if w := r.Find(OverFiles("healkv"), "write", 64); w == nil || w.Times.Median != 5900.0/600 {
		t.Errorf("%+v", w)
	}
	if w := r.Find(OverFiles("etcd"), "write", 64); w == nil || w.Times.Runs != 0 {
		t.Errorf("etcd beside itself: %+v", w)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		ours   Part
		theirs Part
		failed []string // words of the verdicts that fail
	}{
		{"kept", part("healkv", 64, 1, 2500, 90), part("etcd", 64, 1, 500, 100), nil},
		{"just kept", part("healkv", 64, 1, 2500, 100), part("etcd", 64, 1, 500, 100), nil},
		{"too slow", part("healkv", 64, 1, 2499, 90), part("etcd", 64, 1, 500, 100), []string{"5.0 times, 5 wanted"}},
		{"p99 above", part("healkv", 64, 1, 2500, 101), part("etcd", 64, 1, 500, 100), []string{"p99"}},
		{"both", part("healkv", 64, 1, 600, 200), part("etcd", 64, 1, 500, 100), []string{"1.2 times", "0.20 ms, etcd 0.10 ms"}},
	} {
		r := report(part("healkv", 1, 1, 1, 1e6), part("etcd", 1, 1, 1, 1), c.ours, c.theirs) // one client does not count
		r.Judge(FileBounds, RejoinBounds)
		failed := r.Failed()
		if len(r.Verdicts) != 2 || len(failed) != len(c.failed) {
			t.Errorf("%s: %+v", c.name, r.Verdicts)
			continue
		}
		for i, words := range c.failed {
			if !strings.Contains(failed[i].Text, words) {
				t.Errorf("%s: %q says nothing of %q", c.name, failed[i].Text, words)
			}
		}
	}
}

func TestJudgeCountsWrongAnswers(t *testing.T) {
	p := part("etcd", 64, 2, 500, 100)
	p.Wrong = 1
	r := report(part("healkv", 64, 1, 9000, 1), p)
	r.Absences = []Absence{{System: "healkv", Run: 1, Rejoin: measure.Rejoin{Seconds: 1, Checked: 5, Wrong: 2}}}
	r.Judge(FileBounds, nil)
	if f := r.Failed(); len(f) != 2 || !strings.Contains(f[0].Text, "1 of 10") || !strings.Contains(f[1].Text, "2 of 5") {
		t.Errorf("%+v", r.Verdicts)
	}
}

func TestJudgeNothing(t *testing.T) {
	r := report(part("healkv", 64, 1, 9000, 1), part("redis", 64, 1, 9000, 1))
	r.Judge(FileBounds, RejoinBounds)
	if len(r.Verdicts) != 0 {
		t.Errorf("%+v", r.Verdicts)
	}
	if !strings.Contains(r.Markdown(), "NOT JUDGED") {
		t.Error("the table does not say that nothing was judged")
	}
}

func TestJudgeRejoin(t *testing.T) {
	r := report(part("healkv", 64, 1, 9000, 1))
	for system, s := range map[string]float64{"healkv": 0.2, "dragonboat": 1.0, "zookeeper": 9.9, "redis": 0.1} {
		r.Absences = append(r.Absences, Absence{System: system, Run: 1, Rejoin: measure.Rejoin{Seconds: s, Missed: 50_000}})
	}
	r.Judge(nil, RejoinBounds)
	if len(r.Verdicts) != 2 || !r.Verdicts[0].Passed || r.Verdicts[1].Passed {
		t.Errorf("%+v", r.Verdicts)
	}
	var got []string
	for _, a := range r.Aways() {
		got = append(got, a.System)
	}
	if strings.Join(got, " ") != "healkv zookeeper redis dragonboat" {
		t.Errorf("order %v", got)
	}
}

func probed(p Part, rate float64) Part {
	p.Probe = &measure.Probe{Rate: rate}
	return p
}

func TestProbesApart(t *testing.T) {
	r := report(probed(part("healkv", 64, 1, 1, 1), 1000), probed(part("etcd", 64, 1, 1, 1), 2000))
	if r.NoteProbes(); len(r.Notes) != 0 {
		t.Errorf("exactly twice: %q", r.Notes)
	}
	r = report(probed(part("healkv", 64, 1, 1, 1), 1000), probed(part("etcd", 64, 1, 1, 1), 2001), part("redis", 64, 1, 1, 1))
	if r.NoteProbes(); len(r.Notes) != 2 || !strings.Contains(r.Notes[1], "2001 fdatasync/s before etcd, 1000 before healkv") {
		t.Errorf("more than twice: %q", r.Notes)
	}
	r = report(probed(part("healkv", 64, 1, 1, 1), 1000), probed(part("healkv", 64, 2, 1, 1), 100))
	if r.NoteProbes(); len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "100 to 1000") {
		t.Errorf("between runs only: %q", r.Notes)
	}
}

func TestSave(t *testing.T) {
	r := report(probed(part("healkv", 64, 1, 5000, 90), 800), probed(part("etcd", 64, 1, 500, 100), 700), part("<b>&", 64, 1, 1, 1))
	r.Systems = []servers.About{{Name: "healkv", Version: "1", Flush: "every burst"}}
	r.Absences = []Absence{{System: "healkv", Run: 1, Rejoin: measure.Rejoin{Seconds: 0.25, Missed: 50_000, Pause: 12}}}
	r.Unfinished = "somebody pressed Ctrl-C"
	r.Judge(FileBounds, RejoinBounds)
	dir := t.TempDir()
	if err := r.Save(dir); err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for _, name := range []string{"peers.json", "peers.md", "peers.html"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text[name] = string(b)
	}
	var back Report
	if err := json.Unmarshal([]byte(text["peers.json"]), &back); err != nil || len(back.Parts) != 3 || back.Parts[0].Rate != 5000 || back.Parts[0].Probe.Rate != 800 {
		t.Errorf("%+v, %v", back, err)
	}
	for _, words := range []string{"PASS: writes/s with 64 clients: healkv (row healkv: the Redis front end over TCP) 5000, etcd 500: 10.0 times", "| write | 64 | healkv | 5000 | 0.04 | 0.09 | 10.00 | 0.90 | 0 | 10 right | 800 |",
		"Not run to its end: somebody pressed", "| healkv | 50000 | 0.250 | 12.0 |", "every burst"} {
		if !strings.Contains(text["peers.md"], words) {
			t.Errorf("the table does not say %q:\n%s", words, text["peers.md"])
		}
	}
	page := text["peers.html"]
	if strings.Count(page, "<svg") != 4 || strings.Count(page, "<rect") != 8 {
		t.Errorf("%d plots, %d bars", strings.Count(page, "<svg"), strings.Count(page, "<rect"))
	}
	for _, word := range []string{"http", "<script", "<link", "<b>&", "NaN", "Inf"} {
		if strings.Contains(page, word) {
			t.Errorf("the page has %q", word)
		}
	}
}

func TestPlotBounds(t *testing.T) {
	for _, v := range []float64{0.001, 1, 10, 999, 1e6} {
		var b strings.Builder
		r := report(part("healkv", 1, 1, v, int64(math.Ceil(v))))
		b.Write(r.Page())
		if !strings.Contains(b.String(), "<rect") || strings.Contains(b.String(), "width=\"-") {
			t.Errorf("value %v: %s", v, b.String())
		}
	}
}
