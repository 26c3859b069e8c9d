package report

import (
	"math"
	"slices"

	"healkv/bench/record"
)

// What the page's script gets. Names are short because there are thousands.
type plotData struct {
	Runs []plotRun `json:"runs"`
}

type plotRun struct {
	Name   string      `json:"name"`
	Victim int         `json:"victim"`
	Nodes  []int       `json:"nodes"`
	Phases []plotPhase `json:"phases"`
	Events []plotEvent `json:"events"`
	Full   plotSeries  `json:"full"`
	Zoom   plotSeries  `json:"zoom"`
	Kill   plotSeries  `json:"kill"`
	// HDR is kind, phase, points of 1/(1-quantile) and µs.
	HDR map[string]map[string][][2]float64 `json:"hdr"`
}

type plotPhase struct {
	Name string  `json:"name"`
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// plotEvent is shown in the whole run (main), around the restart, around the kill.
type plotEvent struct {
	T    float64 `json:"t"`
	Node int     `json:"node"`
	Name string  `json:"name"`
	Main bool    `json:"main,omitempty"`
	Zoom bool    `json:"zoom,omitempty"`
	Kill bool    `json:"kill,omitempty"`
}

type plotSeries struct {
	From  float64     `json:"from"`
	Step  float64     `json:"step"`
	Total []float64   `json:"total"`
	Live  []float64   `json:"live"`
	Nodes [][]float64 `json:"nodes"`
	R     plotLatency `json:"r"`
	W     plotLatency `json:"w"`
}

type plotLatency struct {
	P50  []uint64 `json:"p50"`
	P99  []uint64 `json:"p99"`
	P999 []uint64 `json:"p999"`
	Max  []uint64 `json:"max"`
}

func (r *Report) plotData() (d plotData) {
	for i := range r.Runs {
		run := &r.Runs[i]
		p := plotRun{Name: run.Name, Victim: run.Victim, Nodes: run.Nodes, Full: run.full.plot(), Zoom: run.zoom.plot(), Kill: run.kill.plot(), Events: run.plotEvents()}
		p.HDR = map[string]map[string][][2]float64{"read": {}, "write": {}}
		for k := range run.Phases {
			ph := &run.Phases[k]
			p.Phases = append(p.Phases, plotPhase{ph.Name, ph.FromMs, ph.ToMs})
			for kind, m := range map[string]*record.Merged{"read": &ph.read, "write": &ph.write} {
				if m.Total() > 0 {
					p.HDR[kind][ph.Name] = percentileCurve(m)
				}
			}
		}
		d.Runs = append(d.Runs, p)
	}
	return d
}

func (s *series) plot() plotSeries {
	round := func(v []float64) []float64 {
		out := make([]float64, len(v))
		for i, x := range v {
			out[i] = math.Round(x)
		}
		return out
	}
	p := plotSeries{From: s.fromMs, Step: s.stepMs, Total: round(s.total), Live: round(s.live),
		R: s.read.plot(), W: s.write.plot()}
	for _, n := range s.nodes {
		p.Nodes = append(p.Nodes, round(n))
	}
	return p
}

func (l *latencySeries) plot() plotLatency { return plotLatency{l.p50, l.p99, l.p999, l.max} }

// mainEvents are the few that fit into the timeline of the whole run.
var mainEvents = []string{EventKilled, EventViewInstalled, EventRestarted, EventAdmitted, EventTransferDone, EventFirstReadServed}

// plotEvents picks what is marked in the plots: of the victim every step, of the
// others the first suspicion and the last view installed after the kill.
func (r *RunReport) plotEvents() (out []plotEvent) {
	m := r.marks
	inMs := func(at int64) float64 { return ms(at - m.Begin) }
	kill, view, restart, serving := inMs(m.Killed), inMs(m.ViewInstalled), inMs(m.Restarted), inMs(m.Serving)
	var suspected, installed *EventRow
	seen := map[string]bool{}
	for i := range r.Events {
		e := &r.Events[i]
		switch {
		case e.Node != r.Victim && e.AtMs >= kill && e.AtMs < restart:
			if e.Name == EventSuspected && suspected == nil {
				suspected = e
			}
			if e.Name == EventViewInstalled && e.AtMs <= view+1 {
				installed = e
			}
		case e.Node == r.Victim && e.AtMs >= kill && e.AtMs <= serving+1000 && !seen[e.Name] && r.known(e.Name):
			seen[e.Name] = true
			out = append(out, plotEvent{T: e.AtMs, Node: e.Node, Name: e.Name, Zoom: e.AtMs >= restart, Kill: e.AtMs < restart})
		}
	}
	for _, e := range []*EventRow{suspected, installed} {
		if e != nil {
			out = append(out, plotEvent{T: e.AtMs, Node: e.Node, Name: e.Name, Kill: true})
		}
	}
	// The marks are there even if nobody reported them as events.
	for _, mark := range []struct {
		name string
		at   float64
	}{{EventKilled, kill}, {EventRestarted, restart}, {EventFirstReadServed, serving}} {
		if !slices.ContainsFunc(out, func(e plotEvent) bool { return e.Name == mark.name }) {
			out = append(out, plotEvent{T: mark.at, Node: r.Victim, Name: mark.name, Zoom: mark.at >= restart, Kill: mark.at < restart})
		}
	}
	slices.SortStableFunc(out, func(a, b plotEvent) int {
		switch {
		case a.T < b.T:
			return -1
		case a.T > b.T:
			return 1
		}
		return 0
	})
	for i := range out {
		out[i].Main = slices.Contains(mainEvents, out[i].Name)
	}
	return out
}

func (r *RunReport) known(name string) bool {
	if name == EventKilled || name == EventRestarted || name == EventProcessGone {
		return true
	}
	return slices.ContainsFunc(recoverySteps, func(s struct{ event, part string }) bool { return s.event == name })
}

const curvePerDecade = 24

// percentileCurve is a distribution as HdrHistogram's plots show it.
func percentileCurve(m *record.Merged) (points [][2]float64) {
	end := math.Log10(float64(m.Total()))
	for i := 0; ; i++ {
		x := float64(i) / curvePerDecade
		if x >= end {
			break
		}
		inv := math.Pow(10, x)
		points = append(points, [2]float64{math.Round(inv*1000) / 1000, float64(m.Quantile(1 - 1/inv))})
	}
	return append(points, [2]float64{float64(m.Total()), float64(m.Max())})
}
