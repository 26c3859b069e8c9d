package report

import (
	"fmt"
	"slices"
)

const (
	titleDefault        = "HealKV recovery report"
	titleFaults         = "HealKV failover and recovery report"
	missingInterference = "Scheduling interference (who kept the hot-path threads off their cores, and for how long): "
	sharedMachine       = "Absolute times and rates are of one machine that all nodes and load generators share. What may be quoted is a ratio between two runs of one report."
)

// Report is every figure, computed.
type Report struct {
	Title        string        `json:"title"`
	Environment  Environment   `json:"environment"`
	Headline     Headline      `json:"headline"`
	Runs         []RunReport   `json:"runs"`
	Bounds       Bounds        `json:"bounds,omitempty"`
	FixedPart    *FixedPart    `json:"fixed_part,omitempty"`
	Failover     []FailoverRow `json:"failover,omitempty"`
	Rolling      *Rolling      `json:"rolling_restart,omitempty"`
	Cold         []ColdStart   `json:"cold_starts,omitempty"`
	Verification *Verification `json:"verification"`
	Notes        []string      `json:"notes"`
	NotMeasured  []string      `json:"not_measured,omitempty"`
}

// Headline compares the first run with the full copy, if there is one.
type Headline struct {
	RecoveryMs      float64 `json:"recovery_ms"`
	FailoverStallMs float64 `json:"failover_stall_ms"`
	LiveChangePct   float64 `json:"live_change_recovering_pct"`
	BytesMoved      uint64  `json:"bytes_moved"`

	Against      string  `json:"against,omitempty"` // the run compared with
	Faster       float64 `json:"recovery_faster,omitempty"`
	BytesPct     float64 `json:"bytes_pct,omitempty"` // of the other run's
	OtherMs      float64 `json:"other_recovery_ms,omitempty"`
	OtherBytes   uint64  `json:"other_bytes,omitempty"`
	OtherLivePct float64 `json:"other_live_change_recovering_pct,omitempty"`
}

// RunReport is the figures of one run.
type RunReport struct {
	Name       string     `json:"name"`
	Victim     int        `json:"victim"`
	Nodes      []int      `json:"nodes"`
	AwayMs     float64    `json:"away_ms"`     // killed to restarted
	RecoveryMs float64    `json:"recovery_ms"` // restarted to the first read served
	FixedMs    float64    `json:"fixed_ms"`    // of that all but transfer and apply
	Phases     []Phase    `json:"phases"`
	Stall      Stall      `json:"failover_stall"`
	Parts      []Part     `json:"recovery_parts"`
	Recovery   Recovery   `json:"recovery"`
	Events     []EventRow `json:"events"`

	full, zoom, kill series
	marks            Marks
	wallOffset       int64
	windows          []NodeTrace
}

// Part is one stretch of time of something longer.
type Part struct {
	Name   string  `json:"name"`
	FromMs float64 `json:"from_ms"` // since the beginning of the whole
	Ms     float64 `json:"ms"`
}

// EventRow is an event as shown.
type EventRow struct {
	AtMs   float64 `json:"at_ms"` // since the begin of the run
	Node   int     `json:"node"`
	Name   string  `json:"name"`
	Epoch  uint32  `json:"epoch,omitempty"`
	Detail string  `json:"detail,omitempty"`
}

// Compute makes the report. Errors: ErrInput, which says what is missing.
func Compute(in Input) (*Report, error) {
	if len(in.Runs) == 0 {
		return nil, fmt.Errorf("%w: no runs", ErrInput)
	}
	r := &Report{Title: in.Title, Environment: in.Env, Verification: in.Verification}
	if r.Title == "" {
		r.Title = titleDefault
		if len(in.Failover) > 0 {
			r.Title = titleFaults
		}
	}
	r.Notes = append(r.Notes, in.Notes...)
	r.Notes = append(r.Notes, sharedMachine)
	if in.NoInterference != "" {
		r.NotMeasured = append(r.NotMeasured, missingInterference+in.NoInterference)
	}
	if in.Verification == nil {
		r.NotMeasured = append(r.NotMeasured, "Verification: nothing was verified in this run.")
	}
	var err error
	if r.Failover, err = failoverRows(in.Failover); err != nil {
		return nil, err
	}
	if err := checkPlanned(in.Rolling, in.Cold); err != nil {
		return nil, err
	}
	r.Rolling, r.Cold = in.Rolling, in.Cold
	r.bounds()
	if e := in.Env.Emulated; e != "" {
		r.NotMeasured = append(r.NotMeasured, "Hardware: "+e)
	}
	runs := slices.Clone(in.Runs) // fill changes them
	span := int64(0)
	for i := range runs {
		run := &runs[i]
		for _, other := range r.Runs {
			if other.Name == run.Name {
				return nil, fmt.Errorf("%w: two runs are called %q", ErrInput, run.Name)
			}
		}
		rr, err := computeRun(run)
		if err != nil {
			return nil, err
		}
		r.Runs = append(r.Runs, *rr)
		span = max(span, run.afterRestart())
	}
	for i := range runs {
		runs[i].computeZoom(&r.Runs[i], span)
	}
	r.headline()
	if r.FixedPart, err = fixedPart(&r.Runs[0], in.Returns); err != nil {
		return nil, err
	}
	return r, nil
}

func computeRun(run *Run) (*RunReport, error) {
	if err := run.fill(); err != nil {
		return nil, err
	}
	m := run.Marks
	rr := &RunReport{
		Name: run.Name, Victim: run.Victim, Recovery: run.Recovery, marks: m, wallOffset: run.WallOffset, windows: run.Nodes,
		AwayMs: ms(m.Restarted - m.Killed), RecoveryMs: ms(m.Serving - m.Restarted),
	}
	for _, n := range run.Nodes {
		rr.Nodes = append(rr.Nodes, n.Node)
	}
	var err error
	if rr.Phases, err = run.phases(); err != nil {
		return nil, err
	}
	rr.Stall = run.stall()
	rr.Parts = run.parts()
	rr.FixedMs, _ = fixedOf(rr.RecoveryMs, rr.Parts)
	for _, e := range run.Events {
		rr.Events = append(rr.Events, EventRow{AtMs: ms(e.At - m.Begin), Node: e.Node, Name: e.Name, Epoch: e.Epoch, Detail: e.Detail})
	}
	run.computeSeries(rr)
	return rr, nil
}

func (r *Report) headline() {
	a := &r.Runs[0]
	h := Headline{RecoveryMs: a.RecoveryMs, FailoverStallMs: a.Stall.LongestMs, BytesMoved: a.Recovery.Bytes, LiveChangePct: a.Phase(PhaseRecovering).LiveChangePct}
	i := slices.IndexFunc(r.Runs[1:], func(o RunReport) bool { return o.Recovery.Kind == "full" || o.Name == "full" })
	if i >= 0 {
		b := &r.Runs[1+i]
		h.Against, h.OtherMs, h.OtherBytes, h.OtherLivePct = b.Name, b.RecoveryMs, b.Recovery.Bytes, b.Phase(PhaseRecovering).LiveChangePct
		if a.RecoveryMs > 0 {
			h.Faster = b.RecoveryMs / a.RecoveryMs
		}
		if b.Recovery.Bytes > 0 {
			h.BytesPct = 100 * float64(a.Recovery.Bytes) / float64(b.Recovery.Bytes)
		}
	}
	r.Headline = h
}

// Phase by name; every run has all of them.
func (r *RunReport) Phase(name string) *Phase {
	for i := range r.Phases {
		if r.Phases[i].Name == name {
			return &r.Phases[i]
		}
	}
	panic("report: no phase " + name)
}

// Parts of a recovery that are spoken of elsewhere.
const (
	partTransfer = "transfer and apply"
	partRest     = "until serving"
)

// recoverySteps name the part that ends with an event of the victim.
var recoverySteps = []struct{ event, part string }{
	{EventProcessStarted, "start the process"},
	{EventPoolMapped, "map the pool, check the index"},
	{EventIncarnation, "a number for the new life"},
	{EventEndpointsOpen, "open the endpoints"},
	{EventConnected, "connect with all members"},
	{EventJoinAsked, "begin the pool, ask to join"},
	{EventAdmitted, "be admitted as shadow"},
	{EventAllInstalled, "view at all members"},
	{EventTransferBegun, "choose the buddy's range"},
	{EventTransferDone, partTransfer},
	{EventFlushed, "roll forward, flush"},
	{EventPromoted, "promote"},
	{EventFirstReadServed, "first read"},
}

func partNamesInOrder() (names []string) {
	for _, s := range recoverySteps {
		names = append(names, s.part)
	}
	return append(names, partRest)
}

// parts of the recovery, from the restart on, one after the other. A step whose
// event is missing is part of the next.
func (r *Run) parts() (parts []Part) {
	at := r.Marks.Restarted
	for _, s := range recoverySteps {
		end := r.first(s.event, r.Victim, r.Marks.Restarted)
		if end == 0 || end < at || end > r.Marks.Serving {
			continue
		}
		parts = append(parts, Part{Name: s.part, FromMs: ms(at - r.Marks.Restarted), Ms: ms(end - at)})
		at = end
	}
	if rest := r.Marks.Serving - at; rest > 0 {
		parts = append(parts, Part{Name: partRest, FromMs: ms(at - r.Marks.Restarted), Ms: ms(rest)})
	}
	return parts
}
