package report

import (
	"fmt"
	"slices"

	"healkv/bench/interference"
	"healkv/bench/record"
)

// CostInput is everything that a report on what recoveries cost the live nodes is
// made of.
type CostInput struct {
	Env        Environment
	Window     int       // operations in flight per node in a closed loop
	Saturation []float64 // accesses/s that all nodes complete in a closed loop, of each run
	// Heal and Full are under an open loop of Env.RatePerS, with recovery budget Budget.
	Heal, Full []CostRun
	Budget     uint64 // bytes per millisecond; 0: no limit
	// Sweep is under a closed loop, a point for each budget.
	Sweep []CostPoint
	// Spare is on a machine with a core to spare; nil: NoSpare says why.
	Spare   *CostSpare
	NoSpare string
	// NoInterference says why the scheduler was not watched, if it was not.
	NoInterference string
	Verification   *Verification
	Notes          []string
}

// CostRun is one kill and way back.
type CostRun struct {
	Run
	SteadyEnd int64 // of the steady phase, before the kill; 0: the kill
}

// CostPoint are ways back with one budget.
type CostPoint struct {
	Budget uint64
	Runs   []CostRun
}

// CostSpare are ways back in a set-up that leaves a core idle.
type CostSpare struct {
	Nodes     int       `json:"nodes"`
	Keys      uint64    `json:"keys"`
	RatePerS  float64   `json:"rate_per_s"`
	CoresUsed float64   `json:"cores_used"` // of the whole machine, in the second before a return, median
	Cores     int       `json:"cores"`
	Runs      []CostRun `json:"-"`
	Group     CostGroup `json:"recoveries"`
}

// What the price of a recovery is judged by.
const (
	costFaster     = 0.5     // of store to missed bytes: how many times faster than a full copy, at least
	costLossPct    = 1       // of the live nodes' throughput, open loop
	costP99        = 1.5     // times that of before, open loop
	costCurvePct   = 8.7     // one point of the sweep is at or below: the paper's figure
	costCarried    = 0.98    // of the offered load, before the kill, or nothing is judged
	costQueueUs    = 200_000 // and half of the writes take no longer
	costKeptOffPct = 1       // of the hot path's time, with a core to spare
)

// CostReport is every figure, computed.
type CostReport struct {
	Environment  Environment   `json:"environment"`
	Window       int           `json:"window"`
	Saturation   Spread        `json:"saturation_per_s"`
	Heal         *CostGroup    `json:"heal"`
	Full         *CostGroup    `json:"full,omitempty"`
	Faster       float64       `json:"faster,omitempty"`      // than the full copy
	StoreShare   float64       `json:"store_share,omitempty"` // bytes in the store, current records only, to bytes missed
	Sweep        []CostGroup   `json:"sweep"`
	Spare        *CostSpare    `json:"spare,omitempty"`
	Bounds       Bounds        `json:"bounds"`
	Verification *Verification `json:"verification,omitempty"`
	Notes        []string      `json:"notes"`
	NotMeasured  []string      `json:"not_measured,omitempty"`
}

// Spread is over runs.
type Spread struct {
	Low    float64 `json:"low"`
	Median float64 `json:"median"`
	High   float64 `json:"high"`
}

func spread(values []float64) (s Spread) {
	if len(values) == 0 {
		return s
	}
	v := slices.Sorted(slices.Values(values))
	return Spread{v[0], v[len(v)/2], v[len(v)-1]}
}

// CostGroup are ways back under the same load with the same settings.
type CostGroup struct {
	Name        string      `json:"name"`
	Budget      uint64      `json:"budget_bytes_per_ms"` // 0: no limit
	Times       int         `json:"times"`
	RecoveryMs  Spread      `json:"recovery_ms"` // restart to the first read served
	TransferMs  Spread      `json:"transfer_ms"` // and apply
	FixedMs     Spread      `json:"fixed_ms"`    // the rest of each
	MovedBytes  Spread      `json:"moved_bytes"`
	MissedBytes Spread      `json:"missed_bytes"`
	StoreBytes  Spread      `json:"store_bytes"`
	Phases      []CostPhase `json:"phases"`
	Kinds       []string    `json:"kinds"` // of the recoveries, each once

	// ByTime are the windows around the restart, of all ways back together.
	ByTime []CostWindow `json:"by_time,omitempty"`

	aligned alignedSeries
}

// CostWindow is what the live nodes did in 10 ms.
type CostWindow struct {
	Ms      float64 `json:"ms"` // since the restart
	Times   int     `json:"times"`
	OpsPerS float64 `json:"ops_per_s"`
	Read99  uint64  `json:"read_p99_us"`
	Write99 uint64  `json:"write_p99_us"`
}

// Phases of a CostGroup, beside PhaseRecovering and PhaseAfter.
const (
	PhaseAll  = "all nodes"         // steady, before the kill: what the others are held against
	PhaseLeft = "before the return" // the last second without the node
)

const (
	costLeft = 1e9    // ns before the restart
	costTail = 1500e6 // ns after the node serves, at most
)

// CostPhase is what the nodes that lived on did in one phase of all ways back of a
// group together.
type CostPhase struct {
	Name    string  `json:"name"`
	SpanMs  float64 `json:"span_ms"` // of all
	Windows int     `json:"windows"`

	OpsPerS  float64   `json:"ops_per_s"`
	LossPct  float64   `json:"loss_pct"` // of the first phase's; below 0: more than it
	LossEach Spread    `json:"loss_pct_each"`
	Read     Quantiles `json:"read"`
	Write    Quantiles `json:"write"`
	// Of the 99th percentile to the first phase's.
	ReadTimes  float64 `json:"read_p99_times"`
	WriteTimes float64 `json:"write_p99_times"`
	ReadEach   Spread  `json:"read_p99_times_each"`
	WriteEach  Spread  `json:"write_p99_times_each"`

	// Hot-path threads kept off their cores by recovery work, percent of their
	// time; nil if nobody watched.
	KeptOffPct  *float64           `json:"kept_off_pct,omitempty"`
	KeptOffEach *Spread            `json:"kept_off_pct_each,omitempty"`
	ByPct       map[string]float64 `json:"kept_off_by_pct,omitempty"` // by whom, of all

	read, write record.Merged
	ops         uint64
}

// worse of reads and writes.
func (p *CostPhase) times() float64 { return max(p.ReadTimes, p.WriteTimes) }

// Phase by name; every group has all of them.
func (g *CostGroup) Phase(name string) *CostPhase {
	for i := range g.Phases {
		if g.Phases[i].Name == name {
			return &g.Phases[i]
		}
	}
	panic("report: no phase " + name)
}

// ComputeCost makes the report. Errors: ErrInput, which says what is missing.
func ComputeCost(in CostInput) (*CostReport, error) {
	if len(in.Heal) == 0 || len(in.Saturation) == 0 {
		return nil, fmt.Errorf("%w: %d recoveries and %d runs at saturation: there must be some of both", ErrInput, len(in.Heal), len(in.Saturation))
	}
	r := &CostReport{Environment: in.Env, Window: in.Window, Saturation: spread(in.Saturation), Verification: in.Verification, Sweep: []CostGroup{}}
	r.Notes = append(slices.Clone(in.Notes), sharedMachine)
	if in.NoInterference != "" {
		r.NotMeasured = append(r.NotMeasured, missingInterference+in.NoInterference)
	}
	var err error
	if r.Heal, err = costGroup("heal", in.Budget, in.Heal, true); err != nil {
		return nil, err
	}
	if len(in.Full) > 0 {
		if r.Full, err = costGroup("full", in.Budget, in.Full, true); err != nil {
			return nil, err
		}
		r.Faster = r.Full.RecoveryMs.Median / r.Heal.RecoveryMs.Median
		// The store is what a full copy moves: the log holds superseded records too.
		// Missed is counted from the clients' side and includes what was written
		// during the transfer; moved has the list on top: the smaller is stricter.
		if m := min(r.Heal.MissedBytes.Median, r.Heal.MovedBytes.Median); m > 0 {
			r.StoreShare = r.Full.MovedBytes.Median / m
		}
	}
	for i := range in.Sweep {
		g, err := costGroup("saturated", in.Sweep[i].Budget, in.Sweep[i].Runs, false)
		if err != nil {
			return nil, err
		}
		r.Sweep = append(r.Sweep, *g)
	}
	if s := in.Spare; s != nil {
		g, err := costGroup("spare core", in.Budget, s.Runs, false)
		if err != nil {
			return nil, err
		}
		spare := *s
		spare.Group, r.Spare = *g, &spare
	} else if in.NoSpare != "" {
		r.NotMeasured = append(r.NotMeasured, "With a core to spare: "+in.NoSpare)
	}
	r.judge()
	return r, nil
}

// costGroup computes one group; aligned: with its windows around the restart.
func costGroup(name string, budget uint64, runs []CostRun, aligned bool) (*CostGroup, error) {
	g := &CostGroup{Name: name, Budget: budget, Times: len(runs)}
	for _, phase := range []string{PhaseAll, PhaseLeft, PhaseRecovering, PhaseAfter} {
		g.Phases = append(g.Phases, CostPhase{Name: phase})
	}
	each := map[string][]float64{}
	add := func(what string, v float64) { each[what] = append(each[what], v) }
	for i := range runs {
		x := runs[i] // fill changes it
		if err := x.fill(); err != nil {
			return nil, err
		}
		if x.SteadyEnd == 0 {
			x.SteadyEnd = x.Marks.Killed
		}
		add("recovery", ms(x.Marks.Serving-x.Marks.Restarted))
		add("transfer", ms(x.Recovery.Transfer))
		add("fixed", ms(x.Marks.Serving-x.Marks.Restarted-x.Recovery.Transfer))
		add("moved", float64(x.Recovery.Bytes))
		add("missed", float64(x.Recovery.MissedBytes))
		add("store", float64(x.Recovery.StoreBytes))
		if !slices.Contains(g.Kinds, x.Recovery.Kind) {
			g.Kinds = append(g.Kinds, x.Recovery.Kind)
		}
		one := make([]CostPhase, len(g.Phases))
		for k := range g.Phases {
			p := &g.Phases[k]
			one[k].Name = p.Name
			if err := x.measure(&one[k]); err != nil {
				return nil, err
			}
			if s := one[k].compare(&one[0]); k > 0 && s {
				add("loss "+p.Name, one[k].LossPct)
				add("read "+p.Name, one[k].ReadTimes)
				add("write "+p.Name, one[k].WriteTimes)
			}
			p.add(&one[k])
			if one[k].KeptOffPct != nil {
				add("kept "+p.Name, *one[k].KeptOffPct)
			}
		}
		if aligned {
			g.aligned.add(&x)
		}
	}
	for k := range g.Phases {
		p := &g.Phases[k]
		p.compare(&g.Phases[0])
		p.LossEach, p.ReadEach, p.WriteEach = spread(each["loss "+p.Name]), spread(each["read "+p.Name]), spread(each["write "+p.Name])
		if kept := each["kept "+p.Name]; len(kept) > 0 {
			s := spread(kept)
			p.KeptOffEach = &s
		}
	}
	for i, n := range g.aligned.ops {
		a := &g.aligned
		g.ByTime = append(g.ByTime, CostWindow{float64(i-alignedBefore) * windowMs, a.times[i], float64(n) / float64(a.times[i]) * 1e9 / record.WindowNanos,
			a.read[i].Quantile(0.99), a.write[i].Quantile(0.99)})
	}
	g.RecoveryMs, g.TransferMs, g.FixedMs = spread(each["recovery"]), spread(each["transfer"]), spread(each["fixed"])
	g.MovedBytes, g.MissedBytes, g.StoreBytes = spread(each["moved"]), spread(each["missed"]), spread(each["store"])
	return g, nil
}

// measure fills a phase of one way back. A window belongs to the phase in which
// it begins; the victim's do not count in any.
func (x *CostRun) measure(p *CostPhase) error {
	m := x.Marks
	var from, to int64
	switch p.Name {
	case PhaseAll:
		from, to = m.Begin, x.SteadyEnd
	case PhaseLeft:
		from, to = max(m.Restarted-costLeft, m.ViewInstalled), m.Restarted
	case PhaseRecovering:
		from, to = m.Restarted, m.Serving
	case PhaseAfter:
		from, to = m.Serving, min(m.Serving+costTail, m.End)
	}
	p.SpanMs = ms(to - from)
	first, last := firstWindow(from), firstWindow(to)
	p.Windows = int(last - first)
	for _, n := range x.Nodes {
		if n.Node == x.Victim {
			continue
		}
		for _, w := range between(n.Windows, first, last) {
			p.ops += w.Ops()
			if err := p.read.Add(w.ReadHist, w.Read.Max); err != nil {
				return fmt.Errorf("%w: node %d, window %d: %w", ErrInput, n.Node, w.Index, err)
			}
			if err := p.write.Add(w.WriteHist, w.Write.Max); err != nil {
				return fmt.Errorf("%w: node %d, window %d: %w", ErrInput, n.Node, w.Index, err)
			}
		}
	}
	if x.Interference != nil {
		share := x.Interference(from, to, p.Name == PhaseRecovering)
		if whole := share.SpanMs * float64(share.Threads); whole > 0 {
			pct := share.ByRecoveryPct()
			p.KeptOffPct, p.ByPct = &pct, map[string]float64{}
			for _, whom := range interference.Whom {
				p.ByPct[whom] = 100 * share.By[whom].Ms / whole
			}
		}
	}
	return nil
}

// add joins the same phase of another way back; shares of time are weighed by it.
func (p *CostPhase) add(o *CostPhase) {
	if o.KeptOffPct != nil {
		if p.KeptOffPct == nil {
			p.KeptOffPct, p.ByPct = new(float64), map[string]float64{}
		}
		was, is := p.SpanMs/(p.SpanMs+o.SpanMs), o.SpanMs/(p.SpanMs+o.SpanMs)
		*p.KeptOffPct = was**p.KeptOffPct + is**o.KeptOffPct
		for _, whom := range interference.Whom {
			p.ByPct[whom] = was*p.ByPct[whom] + is*o.ByPct[whom]
		}
	}
	p.SpanMs, p.Windows, p.ops = p.SpanMs+o.SpanMs, p.Windows+o.Windows, p.ops+o.ops
	p.read.AddMerged(&o.read)
	p.write.AddMerged(&o.write)
}

// compare computes what follows from the sums, against the first phase; false if
// the phase is shorter than a window.
func (p *CostPhase) compare(with *CostPhase) bool {
	p.Read, p.Write = quantiles(&p.read), quantiles(&p.write)
	if p.Windows == 0 || with.Windows == 0 {
		return false
	}
	p.OpsPerS = float64(p.ops) * 1e9 / float64(p.Windows) / record.WindowNanos
	p.LossPct = -change(p.OpsPerS, with.OpsPerS)
	times := func(a, b Quantiles) float64 {
		if b.P99Us == 0 {
			return 0
		}
		return float64(a.P99Us) / float64(b.P99Us)
	}
	p.ReadTimes, p.WriteTimes = times(p.Read, with.Read), times(p.Write, with.Write)
	return true
}

// alignedSeries are windows of all ways back of a group, put together by their
// distance from the restart.
type alignedSeries struct {
	ops         []uint64
	times       []int
	read, write []record.Merged
}

const (
	alignedBefore = 20 // windows before the restart
	alignedMost   = 300
)

func (a *alignedSeries) add(x *CostRun) {
	first := firstWindow(x.Marks.Restarted) - alignedBefore
	last := min(firstWindow(x.Marks.Serving)+alignedBefore, firstWindow(x.Marks.End), first+alignedMost)
	for int64(len(a.ops)) < last-first {
		a.ops, a.times = append(a.ops, 0), append(a.times, 0)
		a.read, a.write = append(a.read, record.Merged{}), append(a.write, record.Merged{})
	}
	for i := range last - first {
		a.times[i]++
	}
	for _, n := range x.Nodes {
		if n.Node == x.Victim {
			continue
		}
		for _, w := range between(n.Windows, first, last) {
			i := w.Index - first
			a.ops[i] += w.Ops()
			_ = a.read[i].Add(w.ReadHist, w.Read.Max) // measure has added it before: it parses
			_ = a.write[i].Add(w.WriteHist, w.Write.Max)
		}
	}
}
