package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"sync"
)

//go:embed page/cost.html
var costHTML string

var costPage = sync.OnceValue(func() *template.Template {
	return parsePage("cost", costHTML)
})

type costGroupPage struct {
	Title, Text string
	Rows        [][]string // heads first
	Plots       []template.HTML
}

type costPageData struct {
	Title              string
	Env                Environment
	EnvRows            []keyValue
	Tiles              []tile
	Bounds             []boundRow
	BoundsText         string
	Groups             []costGroupPage
	Sweep              [][]string
	Curve              []template.HTML
	Spare              *costGroupPage
	Verification       *Verification
	Notes, NotMeasured []string
	CSS                template.CSS
}

// WriteHTML writes the page. It loads nothing from anywhere and runs no script.
func (r *CostReport) WriteHTML(w io.Writer) error {
	p := costPageData{Title: "What a recovery costs the live nodes", Env: r.Environment, EnvRows: r.Environment.rows(), Tiles: r.tiles(),
		Bounds: r.Bounds.rows(), BoundsText: r.Bounds.text(), Sweep: r.sweepRows(), Curve: r.curve(), Verification: r.Verification,
		Notes: r.Notes, NotMeasured: r.NotMeasured, CSS: template.CSS(pageCSS)}
	for _, g := range []*CostGroup{r.Heal, r.Full} {
		if g == nil {
			continue
		}
		title := map[string]string{"heal": "HEAL", "full": "Full copy"}[g.Name]
		p.Groups = append(p.Groups, costGroupPage{Title: title + " — " + duration(g.RecoveryMs.Median), Text: g.text(), Rows: g.rows(), Plots: g.plots()})
	}
	if s := r.Spare; s != nil {
		p.Spare = &costGroupPage{Rows: s.Group.rows(), Text: fmt.Sprintf("%d nodes, %s keys, %s offered; %.2f of %d cores were in use in the second before a return, in the median. %s",
			s.Nodes, count(s.Keys), perSecond(s.RatePerS), s.CoresUsed, s.Cores, s.Group.text())}
	}
	if err := costPage().Execute(w, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func (g *CostGroup) text() string {
	return fmt.Sprintf("%s: %s in the median, of these all but transfer and apply %s; moved %s, missed %s, log in use %s, budget %s", timesText(g.Times), g.RecoveryMs.around(duration),
		duration(g.FixedMs.Median), byteSize(uint64(g.MovedBytes.Median)),
		byteSize(uint64(g.MissedBytes.Median)), byteSize(uint64(g.StoreBytes.Median)), g.BudgetText())
}

func (r *CostReport) tiles() (t []tile) {
	if b, any := r.Bounds.tile("Bounds"); any {
		t = append(t, b)
	}
	h := r.Heal.Phase(PhaseRecovering)
	rec := tile{Key: "Recovery, HEAL", Value: duration(r.Heal.RecoveryMs.Median), Note: "restart to first read served, median of " + timesText(r.Heal.Times)}
	if r.Full != nil {
		rec.Note = fmt.Sprintf("%s faster than the full copy (%s)", times(r.Faster), duration(r.Full.RecoveryMs.Median))
	}
	t = append(t, rec,
		tile{Key: "Live nodes meanwhile", Value: percent(-h.LossPct), Note: fmt.Sprintf("throughput, open loop of %s", perSecond(r.Environment.RatePerS))},
		tile{Key: "p99 meanwhile", Value: times(h.times()), Note: fmt.Sprintf("of before; reads %s, writes %s", micros(h.Read.P99Us), micros(h.Write.P99Us))},
		tile{Key: "Saturation", Value: perSecond(r.Saturation.Median), Note: fromTo(perSecond(r.Saturation.Low), perSecond(r.Saturation.High))})
	if s := r.Spare; s != nil {
		if p := s.Group.Phase(PhaseRecovering); p.KeptOffPct != nil {
			t = append(t, tile{Key: "Hot path kept off its cores", Value: fmt.Sprintf("%.2f %%", *p.KeptOffPct), Note: "by recovery work, with a core to spare"})
		}
	}
	return t
}

// curve is the sweep: what the live nodes lose, and their p99, by how long the
// recovery takes.
func (r *CostReport) curve() []template.HTML {
	if len(r.Sweep) == 0 {
		return nil
	}
	loss := plotLine{Color: "--accent", Name: "throughput that the live nodes lose, %", Dots: true}
	p99 := plotLine{Color: "--p99", Name: "p99 to that of before (reads or writes, the worse)", Dots: true}
	for i := range r.Sweep {
		g := &r.Sweep[i]
		p := g.Phase(PhaseRecovering)
		loss.add(g.RecoveryMs.Median, p.LossPct, g.BudgetText())
		p99.add(g.RecoveryMs.Median, p.times(), "")
	}
	loss.sort()
	p99.sort()
	return []template.HTML{plot{XLog: true, XName: "recovery, ms", Lines: []plotLine{loss}, Mark: costCurvePct, MarkName: fmt.Sprintf("the paper's %.1f %%", costCurvePct)}.svg(),
		plot{XLog: true, XName: "recovery, ms", Lines: []plotLine{p99}, Mark: 1, MarkName: "as before"}.svg()}
}

// plots are the windows around the restart, of all ways back together.
func (g *CostGroup) plots() []template.HTML {
	ops := plotLine{Color: "--live", Name: "live nodes, thousand accesses/s"}
	read, write := plotLine{Color: "--p50", Name: "read p99, ms"}, plotLine{Color: "--p999", Name: "write p99, ms"}
	for _, w := range g.ByTime {
		ops.add(w.Ms, w.OpsPerS/1000, "")
		read.add(w.Ms, float64(w.Read99)/1000, "")
		write.add(w.Ms, float64(w.Write99)/1000, "")
	}
	spans := []plotSpan{{0, g.RecoveryMs.Median}}
	since := "ms since the restart"
	if n := len(g.ByTime); n == alignedMost {
		since = fmt.Sprintf("ms since the restart, the first %s", duration(g.ByTime[n-1].Ms+windowMs))
	}
	return []template.HTML{
		plot{XName: since + ", windows of 10 ms, mean of all", Lines: []plotLine{ops}, Spans: spans, FromZero: true}.svg(),
		plot{XName: since + ", all together", Lines: []plotLine{read, write}, Spans: spans, FromZero: true}.svg(),
	}
}
