package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/parts.html
	partsHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string
)

// page is parsed when it is written: a node that starts has no use for it.
var page = sync.OnceValue(func() *template.Template {
	return parsePage("page", pageHTML)
})

// parsePage parses a page and what all of them have in common.
func parsePage(name, html string) *template.Template {
	return template.Must(template.Must(template.New(name).Funcs(template.FuncMap{
		"count": count, "ms": duration, "us": micros, "rate": perSecond, "pct": percent,
		"int":    func(n int) string { return count(uint64(max(n, 0))) },
		"errors": errorsText,
	}).Parse(partsHTML)).Parse(html))
}

type tile struct{ Key, Value, Note, Class string }
type keyValue struct{ Key, Value string }

// bar is one stretch of a stacked bar.
type bar struct {
	Name  string
	Ms    float64
	Width float64      // percent of the whole width
	Color template.CSS // name of a CSS variable
}

type byteBar struct {
	Name, Value  string
	Color        template.CSS
	Width        float64
	First, Known bool
}

// failoverBar is a kind of fault: its median in the bar, and the rest of the way
// to the longest behind it. Faults that wait for a lease take seconds and others
// milliseconds, so that each bar has its own bound as its scale, at BoundAt.
type failoverBar struct {
	FailoverRow
	Before, Least, Stall, Most, Bound, View, Read string
	Median, Rest                                  float64
}

// BoundAt is where the bound stands in a bar, percent of its width.
func (failoverBar) BoundAt() float64 { return boundAt }

const boundAt = 75

type partRow struct {
	Name   string
	Color  template.CSS
	Values []string
}

type pageRun struct {
	*RunReport
	Label     string
	PartBars  []bar
	Enlarged  []bar // the same at full width, if they are small there
	Factor    string
	StallBars []bar
	ByteBars  []byteBar
	Stall     string
	PerNode   string
	Interfere [][]string // heads first
}

// boundRow is a verdict on the page; First of those on the same fault.
type boundRow struct {
	Bound
	Class, Verdict string
	First          bool
}

type pageData struct {
	Title                string
	Env                  Environment
	Tiles                []tile
	Two                  bool
	Runs                 []pageRun
	PartRows, StatusRows []partRow
	Fixed                [][]string // heads first
	FixedText            string
	Failover             []failoverBar
	Rolling              [][]string // heads first
	RollingText          string
	Cold                 [][]string
	Bounds               []boundRow
	BoundsText           string
	Verification         *Verification
	EnvRows              []keyValue
	Notes, NotMeasured   []string
	CSS                  template.CSS
	JS                   template.JS
	Data                 template.JS
}

// WriteHTML writes the page. It loads nothing from anywhere.
func (r *Report) WriteHTML(w io.Writer) error {
	data, err := json.Marshal(r.plotData()) // escapes <, > and &
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	p := pageData{
		Title: r.Title, Env: r.Environment, Tiles: r.tiles(), Two: len(r.Runs) > 1, Verification: r.Verification,
		EnvRows: r.Environment.rows(), Notes: r.Notes, NotMeasured: r.NotMeasured,
		CSS: template.CSS(pageCSS), JS: template.JS(pageJS), Data: template.JS(data),
	}
	longest, largest := 0.0, uint64(0)
	for i := range r.Runs {
		longest = max(longest, r.Runs[i].RecoveryMs)
		rec := r.Runs[i].Recovery
		largest = max(largest, rec.Bytes, rec.MissedBytes, rec.StoreBytes)
	}
	for i := range r.Runs {
		run := &r.Runs[i]
		pr := pageRun{RunReport: run, Label: run.label(), Stall: run.Stall.text(), PerNode: perNodeText(run.Stall.PerNode), Interfere: run.interferenceRows()}
		for _, part := range run.Parts {
			pr.PartBars = append(pr.PartBars, bar{part.Name, part.Ms, share(part.Ms, longest), partColor(part.Name)})
			if run.RecoveryMs > 0 && longest > 2*run.RecoveryMs {
				pr.Enlarged = append(pr.Enlarged, bar{part.Name, part.Ms, share(part.Ms, run.RecoveryMs), partColor(part.Name)})
				pr.Factor = times(longest / run.RecoveryMs)
			}
		}
		whole := 0.0
		for _, part := range run.Stall.Parts {
			whole += part.Ms
		}
		for k, part := range run.Stall.Parts {
			pr.StallBars = append(pr.StallBars, bar{part.Name, part.Ms, share(part.Ms, whole), colorOf(k)})
		}
		rec := run.Recovery
		for k, b := range []struct {
			name  string
			color template.CSS
			n     uint64
		}{{"moved", "--accent", rec.Bytes}, {"missed", "--p50", rec.MissedBytes}, {"whole store", "--max", rec.StoreBytes}} {
			bb := byteBar{Name: b.name, Color: b.color, First: k == 0, Known: b.n > 0, Value: byteSize(b.n), Width: share(float64(b.n), float64(largest))}
			if b.n == 0 && b.name != "moved" {
				bb.Value = "not counted"
			}
			pr.ByteBars = append(pr.ByteBars, bb)
		}
		p.Runs = append(p.Runs, pr)
	}
	p.PartRows, p.StatusRows = r.partRows()
	if f := r.FixedPart; f != nil && f.Times > 1 {
		p.Fixed, p.FixedText = f.rows(), f.text()
	}
	if r.Rolling != nil {
		p.Rolling, p.RollingText = append([][]string{rollingHeads}, r.Rolling.rows()...), r.Rolling.text()
	}
	for i := range r.Cold {
		if i == 0 {
			p.Cold = append(p.Cold, coldHeads)
		}
		p.Cold = append(p.Cold, r.Cold[i].row())
	}
	for _, f := range r.Failover {
		t := f.texts()
		scale := f.BoundMs
		if scale == 0 {
			scale = f.StallMaxMs
		}
		scale *= 100. / boundAt
		median, most := min(share(f.StallMedianMs, scale), 100), min(share(f.StallMaxMs, scale), 100)
		p.Failover = append(p.Failover, failoverBar{f, t[2], t[3], t[4], t[5], t[6], t[7], t[8] + ", at most " + t[9], median, most - median})
	}
	p.BoundsText, p.Bounds = r.Bounds.text(), r.Bounds.rows()
	if err := page().Execute(w, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func share(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return math.Round(1e4*part/whole) / 100
}

func (r *RunReport) label() string {
	switch r.Name {
	case "heal":
		return "HEAL"
	case "full":
		return "Full copy"
	}
	return r.Name
}

// partColor of a part of the recovery, the same in all runs.
func partColor(name string) template.CSS {
	i := slices.IndexFunc(recoverySteps, func(s struct{ event, part string }) bool { return s.part == name })
	return colorOf(i + len(recoverySteps))
}

// colorOf number k of the page's: one for every step of a recovery.
func colorOf(k int) template.CSS { return template.CSS(fmt.Sprintf("--c%d", k%13)) }

func (r *Report) partRows() (parts, status []partRow) {
	for _, name := range partNamesInOrder() {
		row, found := partRow{Name: name, Color: partColor(name)}, false
		for i := range r.Runs {
			k := slices.IndexFunc(r.Runs[i].Parts, func(p Part) bool { return p.Name == name })
			if k < 0 {
				row.Values = append(row.Values, "–")
				continue
			}
			found = true
			row.Values = append(row.Values, duration(r.Runs[i].Parts[k].Ms))
		}
		if found {
			parts = append(parts, row)
		}
	}
	total := partRow{Name: "Whole recovery, as the experiment saw it"}
	for i := range r.Runs {
		total.Values = append(total.Values, duration(r.Runs[i].RecoveryMs))
	}
	fixed := partRow{Name: "Fixed part: all but transfer and apply"}
	for i := range r.Runs {
		fixed.Values = append(fixed.Values, duration(r.Runs[i].FixedMs))
	}
	status = append(status, total, fixed)
	for _, f := range []struct {
		name string
		get  func(Recovery) string
	}{
		{"The node's own account: start to admitted", func(v Recovery) string { return duration(ms(v.ToAdmitted)) }},
		{"… to view at all members", func(v Recovery) string { return duration(ms(v.ToInstalled)) }},
		{"… transfer and apply", func(v Recovery) string { return duration(ms(v.Transfer)) }},
		{"… finish", func(v Recovery) string { return duration(ms(v.Finish)) }},
		{"… total", func(v Recovery) string { return duration(ms(v.Total)) }},
		{"Records moved", func(v Recovery) string { return count(v.Records) }},
		{"… of these newer than what was there", func(v Recovery) string { return count(v.Applied) }},
		{"Own leftovers rolled forward", func(v Recovery) string { return count(v.Leftovers) }},
		{"Kind, buddy", func(v Recovery) string { return fmt.Sprintf("%s, node %d", v.Kind, v.Buddy) }},
	} {
		row := partRow{Name: f.name}
		for i := range r.Runs {
			row.Values = append(row.Values, f.get(r.Runs[i].Recovery))
		}
		status = append(status, row)
	}
	return parts, status
}

func (r *Report) tiles() (t []tile) {
	h, first := r.Headline, &r.Runs[0]
	rec := tile{Key: "Recovery, " + first.label(), Value: duration(h.RecoveryMs), Note: "from the restart to the first read served"}
	stall := tile{Key: "Failover stall", Value: first.Stall.text(), Note: "longest time without a completed write"}
	if first.Stall.NoWrites {
		stall.Value, stall.Note = "–", "no writes in this workload"
	}
	live := tile{Key: "Live nodes while it recovers", Value: percent(h.LiveChangePct), Note: "throughput against the steady state"}
	if first.Phase(PhaseRecovering).Windows == 0 {
		live.Value, live.Note = "–", "the recovery is shorter than a window"
	}
	moved := tile{Key: "Bytes moved", Value: byteSize(h.BytesMoved), Note: "of a store of " + byteSize(first.Recovery.StoreBytes)}
	if h.Against != "" {
		rec.Note = fmt.Sprintf("%s faster than the full copy (%s)", times(h.Faster), duration(h.OtherMs))
		if h.Faster < 1 {
			rec.Note = fmt.Sprintf("the full copy took %s", duration(h.OtherMs))
		}
		moved.Note = fmt.Sprintf("%.2g %% of the full copy (%s)", h.BytesPct, byteSize(h.OtherBytes))
		live.Note = fmt.Sprintf("throughput; %s with the full copy", percent(h.OtherLivePct))
	}
	t = append(t, rec)
	if f := r.FixedPart; f != nil {
		t = append(t, tile{Key: "Fixed part of a recovery", Value: duration(f.FixedMs), Note: fmt.Sprintf("all but transfer and apply; median of %s, %s to %s", timesText(f.Times), duration(f.MinMs), duration(f.MaxMs))})
	}
	t = append(t, moved, live, stall)
	v := tile{Key: "Verified", Value: "not verified", Note: "nothing was compared", Class: "no"}
	if s := r.Verification; s != nil {
		v.Value, v.Class = "✓ passed", "ok"
		if !s.OK {
			v.Value, v.Class = "✗ failed", "no"
		}
		v.Note = fmt.Sprintf("%s acknowledged writes, %d nodes, %s history operations", count(s.AckedWrites), s.DigestNodes, count(uint64(max(s.HistoryOps, 0))))
	}
	t = append(t, v)
	if b, any := r.Bounds.tile("Promises under faults"); any {
		t = slices.Insert(t, 0, b) // it is what such a report is made for
	}
	return t
}

func (e Environment) rows() (kv []keyValue) {
	add := func(k, v string) {
		if v != "" {
			kv = append(kv, keyValue{k, v})
		}
	}
	add("Commit", e.Commit)
	if e.StartUnix != 0 {
		add("Started", time.Unix(0, e.StartUnix).UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	add("Machine", strings.TrimSpace(e.Machine+"  "+e.Kernel))
	add("Cores", fmt.Sprintf("%d, shared by all nodes and their load generators", e.Cores))
	add("Nodes", fmt.Sprintf("%d, each with %d %s", e.Nodes, e.Shards, plural(e.Shards, "shard")))
	add("Provider", e.Transport())
	add("Durability domain", e.Domain)
	add("Page size", e.PageSize)
	add("Persistency model", e.Model)
	add("Workload", e.Workload)
	add("Mix", e.Mix)
	add("Keys and values", fmt.Sprintf("%s keys of %s B, values of %d B", count(e.Keys), choose(e.KeyBytes != "", e.KeyBytes, "?"), e.ValueBytes))
	add("Clients", e.Clients)
	add("Load", e.offered())
	if e.DurationS > 0 {
		add("Duration", duration(e.DurationS*1000))
	}
	return kv
}

func perNodeText(nodes []NodeStall) string {
	var s []string
	for _, n := range nodes {
		s = append(s, fmt.Sprintf("%d: %s", n.Node, duration(n.LongestMs)))
	}
	return strings.Join(s, ", ")
}

func errorsText(m map[string]uint64) string {
	if len(m) == 0 {
		return "–"
	}
	var s []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		s = append(s, strings.ReplaceAll(k, "_", " ")+" "+count(m[k]))
	}
	return strings.Join(s, ", ")
}
