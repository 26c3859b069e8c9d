package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Names of the files of a CostReport in its directory.
const (
	FileCostHTML = "cost.html"
	FileCostJSON = "cost.json"
)

// WriteAll writes every file into dir, which it makes.
func (r *CostReport) WriteAll(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	err := errors.Join(
		toFile(filepath.Join(dir, FileCostJSON), func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(r)
		}),
		toFile(filepath.Join(dir, FileCostHTML), r.WriteHTML),
	)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// costHeads are the columns of a table of phases.
var costHeads = []string{"phase", "for", "live nodes", "loss", "one by one", "reads", "p50", "p99", "to before", "one by one", "writes", "p50", "p99", "to before", "one by one", "kept off"}

// rows are the phases of a group, heads first.
func (g *CostGroup) rows() [][]string {
	rows := [][]string{costHeads}
	for i := range g.Phases {
		p := &g.Phases[i]
		row := []string{p.Name, duration(p.SpanMs), perSecond(p.OpsPerS), percentPlain(p.LossPct), fromTo(percentPlain(p.LossEach.Low), percentPlain(p.LossEach.High))}
		if p.Windows == 0 {
			row[2], row[3], row[4] = "–", "–", "–"
		}
		for _, k := range []struct {
			q    Quantiles
			t    float64
			each Spread
		}{{p.Read, p.ReadTimes, p.ReadEach}, {p.Write, p.WriteTimes, p.WriteEach}} {
			if k.q.Count == 0 {
				row = append(row, "0", "–", "–", "–", "–")
				continue
			}
			row = append(row, count(uint64(k.q.Count)), micros(k.q.P50Us), micros(k.q.P99Us), times(k.t), timesSpread(k.each))
		}
		if i == 0 { // what the others are held against
			row[3], row[4], row[8], row[9], row[13], row[14] = "", "", "", "", "", ""
		}
		kept := "–"
		if p.KeptOffPct != nil {
			kept = fmt.Sprintf("%.2f %%", *p.KeptOffPct)
		}
		rows = append(rows, append(row, kept))
	}
	return rows
}

// percentPlain has no sign before what is above 0.
func percentPlain(p float64) string { return strings.TrimPrefix(percent(p), "+") }

var sweepHeads = []string{"budget", "times", "recovery", "from, to", "moved", "live nodes lose", "one by one", "of what five had", "read p99", "write p99", "kept off"}

// sweepRows are the curve, heads first.
func (r *CostReport) sweepRows() [][]string {
	if len(r.Sweep) == 0 {
		return nil
	}
	rows := [][]string{sweepHeads}
	for i := range r.Sweep {
		g := &r.Sweep[i]
		p, left := g.Phase(PhaseRecovering), g.Phase(PhaseLeft)
		kept := "–"
		if p.KeptOffPct != nil {
			kept = fmt.Sprintf("%.2f %%", *p.KeptOffPct)
		}
		rows = append(rows, []string{g.BudgetText(), fmt.Sprint(g.Times), duration(g.RecoveryMs.Median), fromTo(duration(g.RecoveryMs.Low), duration(g.RecoveryMs.High)),
			byteSize(uint64(g.MovedBytes.Median)), percentPlain(p.LossPct), fromTo(percentPlain(p.LossEach.Low), percentPlain(p.LossEach.High)),
			percentPlain(-change(p.OpsPerS, left.OpsPerS)), times(p.ReadTimes), times(p.WriteTimes), kept})
	}
	return rows
}

// WriteTerminal writes the short form.
func (r *CostReport) WriteTerminal(w io.Writer) error {
	var b strings.Builder
	e := r.Environment
	fmt.Fprintf(&b, "\nWhat a recovery costs the live nodes\n%d nodes on %d cores (%s), %s, domain %s, pages %s, model %s\n", e.Nodes, e.Cores, e.Machine, e.Transport(), e.Domain, e.PageSize, e.Model)
	fmt.Fprintf(&b, "%s, %s keys, values %d B; commit %s\n", e.Workload, count(e.Keys), e.ValueBytes, e.Commit)
	fmt.Fprintf(&b, "saturation: %s, closed loop, %d in flight per node\n", r.Saturation.around(perSecond), r.Window)
	group := func(title string, g *CostGroup) {
		fmt.Fprintf(&b, "\n%s: %s, recovered in %s, all but transfer and apply %s, moved %s, missed %s, log %s\n", title, timesText(g.Times), g.RecoveryMs.around(duration),
			duration(g.FixedMs.Median), byteSize(uint64(g.MovedBytes.Median)), byteSize(uint64(g.MissedBytes.Median)), byteSize(uint64(g.StoreBytes.Median)))
		table(&b, g.rows())
	}
	open := fmt.Sprintf("open loop, %s offered, budget %s", perSecond(e.RatePerS), budgetText(r.Heal.Budget))
	group("HEAL, "+open, r.Heal)
	if r.Full != nil {
		group("FULL COPY, "+open, r.Full)
	}
	if rows := r.sweepRows(); rows != nil {
		fmt.Fprintf(&b, "\nAT SATURATION, closed loop: recovery latency against what the live nodes lose, by budget\n")
		table(&b, rows)
	}
	if s := r.Spare; s != nil {
		group(fmt.Sprintf("A CORE TO SPARE: %d nodes, %s keys, %s offered, %.2f of %d cores in use before the return", s.Nodes, count(s.Keys), perSecond(s.RatePerS), s.CoresUsed, s.Cores), &s.Group)
	}
	r.Bounds.write(&b)
	for _, m := range r.NotMeasured {
		fmt.Fprintf(&b, "Not measured: %s\n", m)
	}
	_, err := io.WriteString(w, strings.ReplaceAll(b.String(), "\u202f", " "))
	return err
}
