package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// WriteTerminal writes the short form: what one looks at after a run.
func (r *Report) WriteTerminal(w io.Writer) error {
	var b strings.Builder
	e := r.Environment
	fmt.Fprintf(&b, "\n%s\n", r.Title)
	fmt.Fprintf(&b, "%d nodes on %d cores (%s), %s, domain %s, pages %s, model %s\n", e.Nodes, e.Cores, e.Machine, e.Transport(), e.Domain, e.PageSize, e.Model)
	fmt.Fprintf(&b, "%s, %s keys, values %d B, %s; commit %s\n", e.Workload, count(e.Keys), e.ValueBytes, e.offered(), e.Commit)
	for i := range r.Runs {
		run := &r.Runs[i]
		fmt.Fprintf(&b, "\n%s: node %d killed, away %s, recovered in %s\n", strings.ToUpper(run.Name), run.Victim, duration(run.AwayMs), duration(run.RecoveryMs))
		rows := [][]string{{"phase", "for", "ops/s", "all", "live nodes", "read p50", "p99", "p99.9", "write p50", "p99", "p99.9", "max"}}
		for _, p := range run.Phases {
			all, live := percent(p.ChangePct), percent(p.LiveChangePct)
			if p.Name == PhaseSteady || p.Windows == 0 {
				all, live = "", ""
			}
			row := []string{p.Name, duration(p.DurationMs), num(p.OpsPerS), all, live}
			row = append(row, p.Read.texts()[:3]...)
			rows = append(rows, append(row, p.Write.texts()...))
		}
		table(&b, rows)
		fmt.Fprintf(&b, "  failover stall %s%s\n", run.Stall.text(), partsText(run.Stall.Parts))
		fmt.Fprintf(&b, "  recovery %s%s\n", duration(run.RecoveryMs), partsText(run.Parts))
		writeInterference(&b, run)
		fmt.Fprintf(&b, "  moved %s in %s records", byteSize(run.Recovery.Bytes), count(run.Recovery.Records))
		if run.Recovery.MissedBytes > 0 {
			fmt.Fprintf(&b, "; missed %s", byteSize(run.Recovery.MissedBytes))
		}
		fmt.Fprintf(&b, "; store %s\n", byteSize(run.Recovery.StoreBytes))
	}
	if h := r.Headline; h.Against != "" {
		fmt.Fprintf(&b, "\n%s against %s: recovery %s faster, %.2g %% of the bytes\n", r.Runs[0].Name, h.Against, times(h.Faster), h.BytesPct)
	}
	if r.FixedPart != nil {
		r.FixedPart.write(&b)
	}
	if len(r.Failover) > 0 {
		fmt.Fprintf(&b, "\nFailover, each kind several times\n")
		writeFailover(&b, r.Failover)
	}
	writePlanned(&b, r.Rolling, r.Cold)
	r.Bounds.write(&b)
	if v := r.Verification; v != nil {
		fmt.Fprintf(&b, "\nVerified: %s acknowledged writes of %s keys, %s comparisons: %s missing, %s older\n",
			count(v.AckedWrites), count(v.AckedKeys), count(v.KeysCompared), count(v.Missing), count(v.Older))
		fmt.Fprintf(&b, "          %d nodes, %s keys each: %s\n", v.DigestNodes, count(v.DigestKeys), choose(v.DigestsAgree, "same data", "DATA DIFFERS"))
		fmt.Fprintf(&b, "          history of %s operations on %d keys: %s\n", count(uint64(v.HistoryOps)), v.HistoryKeys, choose(v.Linearizable, "linearizable", "NOT LINEARIZABLE"))
		for _, p := range v.Problems {
			fmt.Fprintf(&b, "          %s\n", p)
		}
		fmt.Fprintf(&b, "          %s\n", choose(v.OK, "OK", "FAILED"))
	}
	for _, m := range r.NotMeasured {
		fmt.Fprintf(&b, "Not measured: %s\n", m)
	}
	_, err := io.WriteString(w, strings.ReplaceAll(b.String(), "\u202f", " "))
	return err
}

// texts are p50, p99, p99.9 and max.
func (q Quantiles) texts() []string {
	if q.Count == 0 {
		return []string{"–", "–", "–", "–"}
	}
	return []string{micros(q.P50Us), micros(q.P99Us), micros(q.P999Us), micros(q.MaxUs)}
}

func (e Environment) offered() string {
	if e.RatePerS == 0 {
		return "closed loop"
	}
	return "open loop, " + perSecond(e.RatePerS) + " offered"
}

func (s Stall) text() string {
	switch {
	case s.NoWrites:
		return "not measured: no writes"
	case s.Short:
		return "under 10 ms"
	}
	return duration(s.LongestMs)
}

func partsText(parts []Part) string {
	if len(parts) == 0 {
		return ""
	}
	var s []string
	for _, p := range parts {
		s = append(s, p.Name+" "+duration(p.Ms))
	}
	return " (" + strings.Join(s, ", ") + ")"
}

func choose(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}

func times(f float64) string { return num(f) + "×" }

// table aligns the first column left and the others right.
func table(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, row := range rows {
		b.WriteString(" ")
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if i == 0 {
				b.WriteString(" " + c + pad)
			} else {
				b.WriteString("  " + pad + c)
			}
		}
		b.WriteString("\n")
	}
}
