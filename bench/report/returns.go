package report

import (
	"fmt"
	"slices"
	"strings"
)

// Return is one more kill and way back, for the median of its fixed part.
type Return struct {
	Victim    int
	Killed    int64
	Restarted int64
	Serving   int64 // 0: taken from the events, as in Marks
	Events    []Event
	Recovery  Recovery
}

// FixedPart is what of a way back does not depend on what was missed:
// everything but transfer and apply, from the start of the process to the first
// read served. Medians over the first experiment and all further returns.
type FixedPart struct {
	Times      int         `json:"times"`
	FixedMs    float64     `json:"fixed_ms"` // median
	MinMs      float64     `json:"min_ms"`
	MaxMs      float64     `json:"max_ms"`
	TransferMs float64     `json:"transfer_ms"` // median
	TotalMs    float64     `json:"total_ms"`    // median
	Parts      []Part      `json:"parts"`       // median of each; they do not add up to the median of the whole
	Each       []FixedTime `json:"each"`
}

// FixedTime is one of them.
type FixedTime struct {
	Node       int     `json:"node"`
	AwayMs     float64 `json:"away_ms"`
	TotalMs    float64 `json:"total_ms"`
	TransferMs float64 `json:"transfer_ms"`
	FixedMs    float64 `json:"fixed_ms"`
	Bytes      uint64  `json:"bytes"` // moved
	Parts      []Part  `json:"parts"`
}

// fixedOf splits a way back. Without a transfer among the parts all of it is
// fixed.
func fixedOf(total float64, parts []Part) (fixed, transfer float64) {
	for _, p := range parts {
		if p.Name == partTransfer {
			transfer += p.Ms
		}
	}
	return total - transfer, transfer
}

// fixedPart is nil where nothing healed.
func fixedPart(first *RunReport, returns []Return) (*FixedPart, error) {
	var each []FixedTime
	add := func(node int, away, total float64, r *Recovery, parts []Part) {
		t := FixedTime{Node: node, AwayMs: away, TotalMs: total, Bytes: r.Bytes, Parts: parts}
		t.FixedMs, t.TransferMs = fixedOf(total, parts)
		each = append(each, t)
	}
	if first.Recovery.Kind == "heal" {
		add(first.Victim, first.AwayMs, first.RecoveryMs, &first.Recovery, first.Parts)
	}
	for i := range returns {
		x := Run{Victim: returns[i].Victim, Events: returns[i].Events, Marks: Marks{Killed: returns[i].Killed, Restarted: returns[i].Restarted, Serving: returns[i].Serving}}
		x.serving()
		m := x.Marks
		if m.Killed <= 0 || m.Restarted < m.Killed || m.Serving < m.Restarted {
			return nil, fmt.Errorf("%w: return %d of node %d: killed, restarted, serving are %d, %d, %d: each must be there and not before the one in front",
				ErrInput, i, x.Victim, m.Killed, m.Restarted, m.Serving)
		}
		add(x.Victim, ms(m.Restarted-m.Killed), ms(m.Serving-m.Restarted), &returns[i].Recovery, x.parts())
	}
	if len(each) == 0 {
		return nil, nil
	}
	f := &FixedPart{Times: len(each), Each: each}
	column := func(get func(*FixedTime) float64) []float64 {
		var v []float64
		for i := range each {
			v = append(v, get(&each[i]))
		}
		slices.Sort(v)
		return v
	}
	fixed := column(func(t *FixedTime) float64 { return t.FixedMs })
	f.FixedMs, f.MinMs, f.MaxMs = middle(fixed), fixed[0], fixed[len(fixed)-1]
	f.TransferMs = middle(column(func(t *FixedTime) float64 { return t.TransferMs }))
	f.TotalMs = middle(column(func(t *FixedTime) float64 { return t.TotalMs }))
	at := 0.0
	for _, name := range partNamesInOrder() {
		if !slices.ContainsFunc(each, func(t FixedTime) bool { return t.part(name) > 0 }) {
			continue
		}
		p := Part{Name: name, FromMs: at, Ms: middle(column(func(t *FixedTime) float64 { return t.part(name) }))}
		f.Parts = append(f.Parts, p)
		at += p.Ms
	}
	return f, nil
}

// part is how long one of the parts took; 0 where it was none of its own.
func (t *FixedTime) part(name string) (sum float64) {
	for _, p := range t.Parts {
		if p.Name == name {
			sum += p.Ms
		}
	}
	return sum
}

// middle is the median of sorted values.
func middle(v []float64) float64 { return (v[(len(v)-1)/2] + v[len(v)/2]) / 2 }

func (f *FixedPart) text() string {
	return fmt.Sprintf("%s in the median of %s (%s to %s): all but transfer and apply, which took %s", duration(f.FixedMs), timesText(f.Times), duration(f.MinMs), duration(f.MaxMs), duration(f.TransferMs))
}

// rows are one for each time and one for each part, heads first.
func (f *FixedPart) rows() [][]string {
	heads := []string{"part"}
	for i := range f.Each {
		heads = append(heads, fmt.Sprintf("node %d", f.Each[i].Node))
	}
	rows := [][]string{append(heads, "median")}
	line := func(name string, median float64, get func(*FixedTime) float64) {
		row := []string{name}
		for i := range f.Each {
			row = append(row, duration(get(&f.Each[i])))
		}
		rows = append(rows, append(row, duration(median)))
	}
	for _, p := range f.Parts {
		line(p.Name, p.Ms, func(t *FixedTime) float64 { return t.part(p.Name) })
	}
	line("whole", f.TotalMs, func(t *FixedTime) float64 { return t.TotalMs })
	line("fixed part", f.FixedMs, func(t *FixedTime) float64 { return t.FixedMs })
	return rows
}

func (f *FixedPart) write(b *strings.Builder) {
	fmt.Fprintf(b, "\nFixed part of a way back: %s\n", f.text())
	table(b, f.rows())
}
