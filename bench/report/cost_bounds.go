package report

import (
	"fmt"
	"slices"
	"strings"
)

// judge holds every figure to its bound.
func (r *CostReport) judge() {
	h := r.Heal.Phase(PhaseRecovering)
	half := fmt.Sprintf("Heal under %s, %s", perSecond(r.Environment.RatePerS), timesText(r.Heal.Times))
	heal := slices.Equal(r.Heal.Kinds, []string{"heal"})
	r.Bounds = append(r.Bounds, verdict(Bound{What: half, Must: "every node comes back by the incremental heal", Found: strings.Join(r.Heal.Kinds, ", ")}, heal))
	b := Bound{What: half, Must: "at least half of (bytes in the store / bytes missed) times faster than a full copy"}
	switch {
	case r.Full == nil:
		b.Verdict, b.Why, b.Found = NotJudged, "no full copy was made", "–"
	case r.StoreShare == 0:
		b.Verdict, b.Why, b.Found = NotJudged, "missed bytes were not counted", "–"
	default:
		b.Must += fmt.Sprintf(": %s", times(costFaster*r.StoreShare))
		b.Found = fmt.Sprintf("%s: %s against %s, %s; current records %s, missed %s", times(r.Faster),
			r.Heal.RecoveryMs.around(duration), r.Full.RecoveryMs.around(duration), timesText(r.Full.Times),
			byteSize(uint64(r.Full.MovedBytes.Median)), byteSize(uint64(min(r.Heal.MissedBytes.Median, r.Heal.MovedBytes.Median))))
		b = verdict(b, r.Faster >= costFaster*r.StoreShare)
	}
	r.Bounds = append(r.Bounds, b)
	b = Bound{What: half, Must: fmt.Sprintf("meanwhile the live nodes lose at most %d %% of their throughput before the kill", costLossPct), Verdict: NotJudged, Found: "–"}
	base := r.Heal.Phase(PhaseAll)
	unfit := r.unfit(base)
	if unfit != "" {
		b.Why = unfit
	} else if h.Windows > 0 {
		b.Found = fmt.Sprintf("%s; one by one %s", lossText(h.LossPct), lossSpread(h.LossEach))
		b = verdict(b, h.LossPct <= costLossPct)
	} else {
		b.Why = "the recovery is shorter than a window"
	}
	r.Bounds = append(r.Bounds, b)
	left := r.Heal.Phase(PhaseLeft)
	for _, k := range []struct {
		what        string
		all         float64
		each, left  Spread
		now, before Quantiles
	}{{"reads", h.ReadTimes, h.ReadEach, left.ReadEach, h.Read, base.Read}, {"writes", h.WriteTimes, h.WriteEach, left.WriteEach, h.Write, base.Write}} {
		b := Bound{What: half, Must: fmt.Sprintf("p99 of %s meanwhile at most %.1f times that of before the kill", k.what, costP99), Verdict: NotJudged, Found: "–"}
		if k.now.Count > 0 && k.before.Count > 0 {
			// The median: where one way back in five met something else on the machine,
			// it would be the 99th percentile of all samples together.
			b.Found = fmt.Sprintf("%s in the median, one by one %s; in the second before the return, with one node less and no recovery, %s; of all samples together %s: %s of %s against %s of %s",
				times(k.each.Median), timesSpread(k.each), timesSpread(k.left), times(k.all), micros(k.now.P99Us), count(uint64(k.now.Count)), micros(k.before.P99Us), count(uint64(k.before.Count)))
			if b = verdict(b, k.each.Median <= costP99); unfit != "" {
				b.Verdict, b.Why = NotJudged, unfit
			}
		} else {
			b.Why = "no samples"
		}
		r.Bounds = append(r.Bounds, b)
	}
	r.judgeSweep()
	r.judgeSpare()
	if v := r.Verification; v != nil {
		r.Bounds = append(r.Bounds, verdict(Bound{What: "Nothing is lost by all this", Must: "every acknowledged write at every node, all nodes equal, watched keys linearizable",
			Found: fmt.Sprintf("%s writes of %s keys, %s missing, %s older; %d nodes equal; %s operations of watched keys", count(v.AckedWrites), count(v.AckedKeys),
				count(v.Missing), count(v.Older), v.DigestNodes, count(uint64(max(v.HistoryOps, 0))))}, v.OK))
	}
}

// unfit says why a steady phase is nothing to hold another against, "" if it is:
// where the nodes do not carry the offered load even before the kill, whatever
// follows is a queue that grew before.
func (r *CostReport) unfit(base *CostPhase) string {
	offered := r.Environment.RatePerS * float64(max(1, r.Environment.Nodes-1)) / float64(max(1, r.Environment.Nodes))
	if base.OpsPerS < costCarried*offered || base.Write.P50Us > costQueueUs {
		return fmt.Sprintf("the nodes did not carry the load before the kill: %s of %s, p50 of writes %s; does the machine do something else?", perSecond(base.OpsPerS), perSecond(offered), micros(base.Write.P50Us))
	}
	return ""
}

func (r *CostReport) judgeSweep() {
	if len(r.Sweep) == 0 {
		return
	}
	b := Bound{What: fmt.Sprintf("At saturation, %d budgets", len(r.Sweep)), Must: fmt.Sprintf("with one of them the live nodes lose at most %.1f %% while a node recovers", costCurvePct)}
	var best *CostGroup // the fastest of those that keep it, or the one that loses least
	for i := range r.Sweep {
		g := &r.Sweep[i]
		loss := func(g *CostGroup) float64 { return g.Phase(PhaseRecovering).LossPct }
		switch kept := loss(g) <= costCurvePct; {
		case best == nil,
			kept && (loss(best) > costCurvePct || g.RecoveryMs.Median < best.RecoveryMs.Median),
			!kept && loss(g) < loss(best):
			best = g
		}
	}
	p := best.Phase(PhaseRecovering)
	b.Found = fmt.Sprintf("%s in %s with %s (one by one %s)", lossText(p.LossPct), duration(best.RecoveryMs.Median), best.BudgetText(), lossSpread(p.LossEach))
	r.Bounds = append(r.Bounds, verdict(b, p.LossPct <= costCurvePct))
}

func (r *CostReport) judgeSpare() {
	s := r.Spare
	if s == nil {
		return
	}
	b := Bound{What: fmt.Sprintf("With a core to spare: %d nodes, %s, %.2f of %d cores in use before the return, %s", s.Nodes, perSecond(s.RatePerS), s.CoresUsed, s.Cores, timesText(s.Group.Times)),
		Must: fmt.Sprintf("recovery work keeps hot-path threads off their cores for less than %d %% of the recovery", costKeptOffPct), Verdict: NotJudged, Found: "–"}
	p := s.Group.Phase(PhaseRecovering)
	switch {
	case p.KeptOffPct == nil:
		b.Why = "the scheduler was not watched"
	case s.CoresUsed > float64(s.Cores-1):
		b.Found, b.Why = keptText(p), "no core was idle"
	default:
		b.Found = keptText(p)
		b = verdict(b, *p.KeptOffPct < costKeptOffPct)
	}
	r.Bounds = append(r.Bounds, b)
}

func keptText(p *CostPhase) string {
	return fmt.Sprintf("%.2f %% (one by one %.2f to %.2f %%)", *p.KeptOffPct, p.KeptOffEach.Low, p.KeptOffEach.High)
}

func verdict(b Bound, kept bool) Bound {
	if b.Verdict = Over; kept {
		b.Verdict = Pass
	}
	return b
}

// lossText says how much less, or that it was more.
func lossText(pct float64) string {
	if pct < 0 {
		return fmt.Sprintf("%.1f %% more", -pct)
	}
	return fmt.Sprintf("%.1f %% less", pct)
}

func lossSpread(s Spread) string { return fromTo(percent(-s.High), percent(-s.Low)) }

func timesSpread(s Spread) string { return fromTo(times(s.Low), times(s.High)) }

// fromTo is a range, or what both ends are where they read the same: of one
// value, say.
func fromTo(low, high string) string {
	if low == high {
		return low
	}
	return low + " to " + high
}

// around is the median with its range, if it has one.
func (s Spread) around(text func(float64) string) string {
	if low, high := text(s.Low), text(s.High); low != high {
		return fmt.Sprintf("%s (%s to %s)", text(s.Median), low, high)
	}
	return text(s.Median)
}

// BudgetText is the budget for people.
func (g *CostGroup) BudgetText() string { return budgetText(g.Budget) }

func budgetText(bytes uint64) string {
	switch {
	case bytes == 0:
		return "no limit"
	case bytes%(1<<20) == 0:
		return fmt.Sprintf("%d MiB/ms", bytes>>20)
	case bytes%(1<<10) == 0:
		return fmt.Sprintf("%d KiB/ms", bytes>>10)
	}
	return byteSize(bytes) + "/ms"
}
