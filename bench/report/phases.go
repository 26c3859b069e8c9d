package report

import (
	"fmt"

	"healkv/bench/interference"
	"healkv/bench/record"
)

// Phases in order.
const (
	PhaseSteady     = "steady"
	PhaseFailover   = "failover"
	PhaseAway       = "away"
	PhaseRecovering = "recovering"
	PhaseAfter      = "after"
)

// Phase is the figures of one phase.
type Phase struct {
	Name       string  `json:"name"`
	FromMs     float64 `json:"from_ms"` // since the begin of the run
	ToMs       float64 `json:"to_ms"`
	DurationMs float64 `json:"duration_ms"`
	Windows    int     `json:"windows"` // 10 ms windows counted: those that begin in the phase

	OpsPerS       float64 `json:"ops_per_s"`
	ReadsPerS     float64 `json:"reads_per_s"`
	WritesPerS    float64 `json:"writes_per_s"`
	RequestsPerS  float64 `json:"requests_per_s"`
	LiveOpsPerS   float64 `json:"live_ops_per_s"`  // of all nodes but the victim
	ChangePct     float64 `json:"change_pct"`      // of ops_per_s against steady
	LiveChangePct float64 `json:"live_change_pct"` // of live_ops_per_s against the same nodes, steady

	Read   Quantiles         `json:"read"`
	Write  Quantiles         `json:"write"`
	Errors map[string]uint64 `json:"errors"`

	Interference *interference.Share `json:"interference,omitempty"` // of the live nodes' hot-path threads

	read, write record.Merged
}

// Quantiles of a latency distribution in µs, over all nodes.
type Quantiles struct {
	Count  int64   `json:"count"`
	MeanUs float64 `json:"mean_us"`
	P50Us  uint64  `json:"p50_us"`
	P99Us  uint64  `json:"p99_us"`
	P999Us uint64  `json:"p999_us"`
	MaxUs  uint64  `json:"max_us"`
}

func quantiles(m *record.Merged) Quantiles {
	return Quantiles{Count: m.Total(), MeanUs: m.Mean(), P50Us: m.Quantile(0.5), P99Us: m.Quantile(0.99), P999Us: m.Quantile(0.999), MaxUs: m.Max()}
}

// phases computes the figures of a run's phases. A window belongs to the phase in which it begins.
func (r *Run) phases() ([]Phase, error) {
	m := r.Marks
	bounds := []int64{m.Begin, m.Killed, m.ViewInstalled, m.Restarted, m.Serving, m.End}
	names := []string{PhaseSteady, PhaseFailover, PhaseAway, PhaseRecovering, PhaseAfter}
	out := make([]Phase, len(names))
	for i := range out {
		p := &out[i]
		p.Name = names[i]
		p.FromMs, p.ToMs = ms(bounds[i]-m.Begin), ms(bounds[i+1]-m.Begin)
		p.DurationMs = p.ToMs - p.FromMs
		p.Errors = map[string]uint64{}
		from, to := firstWindow(bounds[i]), firstWindow(bounds[i+1])
		p.Windows = int(to - from)
		var reads, writes, requests, live uint64
		for _, n := range r.Nodes {
			for _, w := range between(n.Windows, from, to) {
				reads, writes, requests = reads+w.Reads, writes+w.Writes, requests+w.Requests
				if n.Node != r.Victim {
					live += w.Ops()
				}
				for k, c := range w.Errors {
					if c > 0 {
						p.Errors[record.ErrorNames[k]] += uint64(c)
					}
				}
				if err := p.read.Add(w.ReadHist, w.Read.Max); err != nil {
					return nil, fmt.Errorf("%w: run %q, node %d, window %d: %w", ErrInput, r.Name, n.Node, w.Index, err)
				}
				if err := p.write.Add(w.WriteHist, w.Write.Max); err != nil {
					return nil, fmt.Errorf("%w: run %q, node %d, window %d: %w", ErrInput, r.Name, n.Node, w.Index, err)
				}
			}
		}
		if p.Windows > 0 {
			perS := 1e9 / float64(p.Windows) / record.WindowNanos
			p.ReadsPerS, p.WritesPerS, p.RequestsPerS = float64(reads)*perS, float64(writes)*perS, float64(requests)*perS
			p.OpsPerS, p.LiveOpsPerS = p.ReadsPerS+p.WritesPerS, float64(live)*perS
		}
		p.ChangePct, p.LiveChangePct = change(p.OpsPerS, out[0].OpsPerS), change(p.LiveOpsPerS, out[0].LiveOpsPerS)
		if p.Windows == 0 {
			p.ChangePct, p.LiveChangePct = 0, 0
		}
		p.Read, p.Write = quantiles(&p.read), quantiles(&p.write)
		if r.Interference != nil {
			share := r.Interference(bounds[i], bounds[i+1], p.Name == PhaseRecovering)
			p.Interference = &share
		}
	}
	return out, nil
}

// firstWindow that begins at or after a moment.
func firstWindow(at int64) int64 { return (at + record.WindowNanos - 1) / record.WindowNanos }

// between cuts the windows with index in [from, to).
func between(ws []record.Window, from, to int64) []record.Window {
	i, j := search(ws, from), search(ws, to)
	return ws[i:j]
}

func search(ws []record.Window, index int64) int {
	lo, hi := 0, len(ws)
	for lo < hi {
		if mid := (lo + hi) / 2; ws[mid].Index < index {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

func change(now, before float64) float64 {
	if before == 0 {
		return 0
	}
	return 100 * (now/before - 1)
}

func ms(ns int64) float64 { return float64(ns) / 1e6 }
