package report

import (
	"slices"

	"healkv/bench/record"
)

// Stall is what the kill cost the writes of the live nodes.
type Stall struct {
	// LongestMs without a completed write at any live node. Windows hold the first
	// and the last write, so it is exact from 10 ms on; below that Short is set and
	// the true value lies between it and 10 ms.
	LongestMs float64     `json:"longest_ms"`
	Short     bool        `json:"below_resolution"`
	FromMs    float64     `json:"from_ms"` // since the begin of the run
	ToMs      float64     `json:"to_ms"`
	NoWrites  bool        `json:"no_writes"` // nothing to measure
	Parts     []Part      `json:"parts"`     // from the kill to the next write
	PerNode   []NodeStall `json:"per_node"`
}

// NodeStall is the longest time one live node completed no write.
type NodeStall struct {
	Node      int     `json:"node"`
	LongestMs float64 `json:"longest_ms"`
}

const stallAfter = 500_000_000 // ns after the last view was installed in which a stall is still the kill's

func (r *Run) stall() (s Stall) {
	m := r.Marks
	from := m.Killed / record.WindowNanos
	to := firstWindow(min(m.ViewInstalled+stallAfter, m.Restarted))
	// A second before, to know the last write before the kill.
	before := max(from-int64(1e9/record.WindowNanos), firstWindow(m.Begin))

	first, last := make([]int64, to-before), make([]int64, to-before)
	for _, n := range r.Nodes {
		if n.Node == r.Victim {
			continue
		}
		gap := int64(0)
		for _, w := range between(n.Windows, before, to) {
			if w.FirstWrite < 0 {
				continue
			}
			i := w.Index - before
			f, l := w.Start()+int64(w.FirstWrite), w.Start()+int64(w.LastWrite)
			if first[i] == 0 || f < first[i] {
				first[i] = f
			}
			last[i] = max(last[i], l)
			if l > m.Killed {
				gap = max(gap, w.WriteGap)
			}
		}
		s.PerNode = append(s.PerNode, NodeStall{Node: n.Node, LongestMs: ms(gap)})
	}
	longest, at, end, previous := int64(-1), int64(0), int64(0), int64(0)
	for i := range first {
		if first[i] == 0 {
			continue
		}
		if previous != 0 && first[i] > m.Killed && first[i]-previous > longest {
			longest, at, end = first[i]-previous, previous, first[i]
		}
		previous = last[i]
	}
	if longest < 0 {
		s.NoWrites = true
		return s
	}
	s.LongestMs, s.Short = ms(longest), longest < record.WindowNanos
	s.FromMs, s.ToMs = ms(at-m.Begin), ms(end-m.Begin)
	s.Parts = r.stallParts(end, s.Short)
	return s
}

// stallParts cuts the time from the kill to the next write at what happened in
// between. Of a short one nobody knows whether it was the kill's: it is the longest
// of many, and its end is no part.
func (r *Run) stallParts(end int64, short bool) (parts []Part) {
	type cut struct {
		at   int64
		name string
	}
	var cuts []cut
	add := func(at int64, name string) {
		if at > r.Marks.Killed && at < end {
			cuts = append(cuts, cut{at, name})
		}
	}
	add(r.first(EventProcessGone, r.Victim, r.Marks.Killed), "to process gone")
	var suspected, installed []int64
	for _, n := range r.Nodes {
		if n.Node == r.Victim {
			continue
		}
		if at := r.first(EventSuspected, n.Node, r.Marks.Killed); at != 0 && at < r.Marks.Restarted {
			suspected = append(suspected, at)
		}
		if at := r.first(EventViewInstalled, n.Node, r.Marks.Killed); at != 0 && at < r.Marks.Restarted {
			installed = append(installed, at)
		}
	}
	if len(suspected) > 0 {
		add(slices.Min(suspected), "to first suspicion")
	}
	if len(installed) > 0 {
		add(slices.Min(installed), "to first view installed")
		add(slices.Max(installed), "to last view installed")
	}
	slices.SortStableFunc(cuts, func(a, b cut) int { return int(min(max(a.at-b.at, -1), 1)) })
	at := r.Marks.Killed
	if !short {
		cuts = append(cuts, cut{end, "to next write"})
	}
	for _, c := range cuts {
		if c.at < at {
			continue
		}
		parts = append(parts, Part{Name: c.name, FromMs: ms(at - r.Marks.Killed), Ms: ms(c.at - at)})
		at = c.at
	}
	return parts
}
