package report

import (
	"fmt"
	"slices"
	"strings"

	"healkv/bench/record"
)

// Failover is one kind of fault, done several times to a cluster under load.
type Failover struct {
	Kind     string // "SIGKILL", "SIGSTOP", …
	Provider string
	What     string // what it is, in a few words
	// Bound is the longest that writes may stall, ns, and BoundSays how it comes
	// about; 0: none is stated. Unjudged says what is missing here for it to hold.
	Bound     int64
	BoundSays string
	Unjudged  string
	ReadBound int64 // the longest that a read at the others may take, ns; 0: none
	Times     []FailoverTime
}

// FailoverTime is one of these times. All in ns.
type FailoverTime struct {
	Victim int   `json:"victim"`
	Stall  int64 `json:"stall_ns"`  // longest without an acknowledged write at any node that was left alone
	Before int64 `json:"before_ns"` // the same in the second before the fault: what this machine and load have anyway
	View   int64 `json:"view_ns"`   // from the fault to the last of these with a view without the victim; 0: none saw one
	// Read is the longest that a read took at a node that was left alone, of a key
	// that nobody writes: it waits for no record to be unlocked. Reads is how many
	// there were.
	Read  int64 `json:"read_ns"`
	Reads int   `json:"reads"`
}

// FailoverRow is a kind as shown.
type FailoverRow struct {
	Kind          string         `json:"kind"`
	Provider      string         `json:"provider"`
	What          string         `json:"what"`
	Count         int            `json:"count"`
	BeforeMs      float64        `json:"before_median_ms"`
	StallMinMs    float64        `json:"stall_min_ms"`
	StallMedianMs float64        `json:"stall_median_ms"`
	StallMaxMs    float64        `json:"stall_max_ms"`
	ViewMedianMs  float64        `json:"view_median_ms"`
	Reads         int            `json:"reads"`
	ReadMedianMs  float64        `json:"longest_read_median_ms"`
	ReadMaxMs     float64        `json:"longest_read_max_ms"`
	BoundMs       float64        `json:"stall_bound_ms,omitempty"`
	BoundSays     string         `json:"stall_bound,omitempty"`
	Unjudged      string         `json:"unjudged,omitempty"`
	ReadBoundMs   float64        `json:"read_bound_ms,omitempty"`
	Times         []FailoverTime `json:"times"`
}

// WriteGap is the longest time between two acknowledged writes in a row at any
// of the nodes, of which the second came after from and the first before to: as
// Stall has it, exact from 10 ms on. It is cut off at to if no write came at
// all. at is the first one's moment.
func WriteGap(nodes []NodeTrace, from, to int64) (gap, at int64) {
	first, last := map[int64]int64{}, map[int64]int64{}
	var windows []int64
	for _, n := range nodes {
		for _, w := range between(n.Windows, from/record.WindowNanos-int64(1e9/record.WindowNanos), firstWindow(to)) {
			if w.FirstWrite < 0 {
				continue
			}
			f, l := w.Start()+int64(w.FirstWrite), w.Start()+int64(w.LastWrite)
			if was, ok := first[w.Index]; !ok {
				first[w.Index], last[w.Index] = f, l
				windows = append(windows, w.Index)
			} else {
				first[w.Index], last[w.Index] = min(was, f), max(last[w.Index], l)
			}
		}
	}
	slices.Sort(windows)
	previous := from
	for _, i := range windows {
		if f := first[i]; f > from && min(f, to)-previous > gap {
			gap, at = min(f, to)-previous, previous
		}
		previous = last[i]
	}
	if to-previous > gap {
		gap, at = to-previous, previous
	}
	return gap, at
}

func failoverRows(all []Failover) (rows []FailoverRow, err error) {
	for _, f := range all {
		if len(f.Times) == 0 {
			return nil, fmt.Errorf("%w: failover by %s over %s was done no times", ErrInput, f.Kind, f.Provider)
		}
		r := FailoverRow{Kind: f.Kind, Provider: f.Provider, What: f.What, Count: len(f.Times), Times: f.Times,
			BoundMs: ms(f.Bound), BoundSays: f.BoundSays, Unjudged: f.Unjudged, ReadBoundMs: ms(f.ReadBound)}
		of := func(get func(FailoverTime) int64) (least, median, most float64) {
			v := make([]int64, len(f.Times))
			for i, t := range f.Times {
				v[i] = get(t)
			}
			slices.Sort(v)
			return ms(v[0]), ms((v[(len(v)-1)/2] + v[len(v)/2]) / 2), ms(v[len(v)-1])
		}
		r.StallMinMs, r.StallMedianMs, r.StallMaxMs = of(func(t FailoverTime) int64 { return t.Stall })
		_, r.BeforeMs, _ = of(func(t FailoverTime) int64 { return t.Before })
		_, r.ViewMedianMs, _ = of(func(t FailoverTime) int64 { return t.View })
		_, r.ReadMedianMs, r.ReadMaxMs = of(func(t FailoverTime) int64 { return t.Read })
		for _, t := range f.Times {
			r.Reads += t.Reads
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// stallText of a time that windows show exactly only from 10 ms on.
func stallText(v float64) string {
	if v < float64(record.WindowNanos)/1e6 {
		return "under 10 ms"
	}
	return duration(v)
}

func (r FailoverRow) texts() []string {
	view := "–"
	if r.ViewMedianMs > 0 {
		view = duration(r.ViewMedianMs)
	}
	bound := "–"
	if r.BoundMs > 0 {
		bound = duration(r.BoundMs)
	}
	return []string{r.name(), fmt.Sprint(r.Count), stallText(r.BeforeMs), stallText(r.StallMinMs), stallText(r.StallMedianMs), stallText(r.StallMaxMs), bound, view, duration(r.ReadMedianMs), duration(r.ReadMaxMs)}
}

func (r *FailoverRow) name() string { return r.Kind + ", " + r.Provider }

var failoverHeads = []string{"fault", "times", "second before", "writes stall: min", "median", "max", "bound", "view: median", "longest read: median", "max"}

// writeFailover writes the table for the terminal.
func writeFailover(b *strings.Builder, rows []FailoverRow) {
	cells := [][]string{failoverHeads}
	for _, r := range rows {
		cells = append(cells, r.texts())
	}
	table(b, cells)
}
