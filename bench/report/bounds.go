package report

import (
	"fmt"
	"slices"
	"strings"
)

// Verdicts on a bound.
const (
	Pass      = "PASS"
	Over      = "OVER THE BOUND"
	NotJudged = "NOT JUDGED"
)

// Bound is one promise that a figure of the report is held to.
type Bound struct {
	What    string `json:"what"`    // what was done
	Says    string `json:"says"`    // in a few words, "" if that says it all
	Must    string `json:"must"`    // what must hold then
	Found   string `json:"found"`   // what was measured
	Verdict string `json:"verdict"` // one of the three
	Why     string `json:"why,omitempty"`
}

// class of the verdict on the page.
func (b *Bound) class() string {
	switch b.Verdict {
	case Pass:
		return "ok"
	case Over:
		return "no"
	}
	return "sub"
}

// Bounds are all that a report judges.
type Bounds []Bound

// Broken are the bounds that were not kept, each in a line.
func (l Bounds) Broken() (broken []string) {
	for _, b := range l {
		if b.Verdict == Over {
			broken = append(broken, fmt.Sprintf("%s: %s, found %s", b.What, b.Must, b.Found))
		}
	}
	return broken
}

// bounds judges every kind of fault, the rolling restart and the cold starts.
func (r *Report) bounds() {
	for i := range r.Failover {
		f := &r.Failover[i]
		if f.BoundMs > 0 {
			b := Bound{What: f.name(), Says: f.What, Must: "writes stall at most " + duration(f.BoundMs) + bracket(f.BoundSays), Verdict: Pass, Why: f.Unjudged,
				Found: fmt.Sprintf("longest %s, median %s, shortest %s; done %s", stallText(f.StallMaxMs), stallText(f.StallMedianMs), stallText(f.StallMinMs), timesText(f.Count))}
			over := 0
			for _, t := range f.Times {
				if ms(t.Stall) > f.BoundMs {
					over++
				}
			}
			switch {
			case f.Unjudged != "":
				b.Verdict = NotJudged
			case over > 0:
				b.Verdict, b.Why = Over, fmt.Sprintf("%d of %s", over, timesText(f.Count))
				if f.BeforeMs > f.BoundMs { // true all the same, but nothing of the fault's
					b.Why += "; in the second before the fault writes paused for " + duration(f.BeforeMs) + " too: a busy machine"
				}
			}
			r.Bounds = append(r.Bounds, b)
		}
		if f.ReadBoundMs > 0 {
			b := Bound{What: f.name(), Says: f.What, Must: "reads at the other nodes go on: none takes more than " + duration(f.ReadBoundMs), Verdict: Pass,
				Found: fmt.Sprintf("longest of %s reads %s", count(uint64(f.Reads)), duration(f.ReadMaxMs))}
			if f.Reads == 0 || f.ReadMaxMs > f.ReadBoundMs {
				b.Verdict = Over
			}
			r.Bounds = append(r.Bounds, b)
		}
	}
	if r.Rolling != nil {
		r.Bounds = append(r.Bounds, r.Rolling.bounds()...)
	}
	for i := range r.Cold {
		r.Bounds = append(r.Bounds, r.Cold[i].bound())
	}
}

func (r *Rolling) bounds() []Bound {
	what := fmt.Sprintf("Rolling restart of %d nodes", len(r.Nodes))
	failed := Bound{What: what, Must: "no operation fails for a client that repeats rejected ones", Verdict: Pass,
		Found: fmt.Sprintf("%s of %s operations failed; %s tries repeated", count(r.Unknown), count(r.Operations), count(r.Retried))}
	if r.Unknown > 0 {
		failed.Verdict = Over
	}
	healed := Bound{What: what, Must: "every node comes back by the incremental heal", Verdict: Pass}
	n := 0
	for _, x := range r.Nodes {
		if x.Kind == "heal" {
			n++
		}
	}
	healed.Found = fmt.Sprintf("%d of %d", n, len(r.Nodes))
	if n < len(r.Nodes) {
		healed.Verdict = Over
	}
	return []Bound{failed, healed}
}

func (c *ColdStart) bound() Bound {
	median, most := c.medianMax()
	b := Bound{What: fmt.Sprintf("All %d nodes killed at once (SIGKILL), %s", c.Nodes, c.where()), Must: "all come back by a cold start, no acknowledged write is lost", Verdict: Pass,
		Found: fmt.Sprintf("%d of %d by cold start, all serving after %s (median), at most %s; %s acknowledged writes checked, %s lost",
			c.Cold, c.Nodes*len(c.Times), duration(median), duration(most), count(c.Acked), count(c.Lost))}
	if c.Cold < c.Nodes*len(c.Times) || c.Lost > 0 || c.Acked == 0 {
		b.Verdict = Over
	}
	return b
}

func timesText(n int) string {
	if n == 1 {
		return "1 time"
	}
	return fmt.Sprintf("%d times", n)
}

func bracket(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

func (b *Bound) verdictText() string { return b.Verdict + bracket(b.Why) }

// write writes the verdicts for the terminal, one in three lines: the texts are
// too long for a table.
func (l Bounds) write(b *strings.Builder) {
	if len(l) == 0 {
		return
	}
	fmt.Fprintf(b, "\nBounds: %s\n", l.text())
	last := ""
	for i := range l {
		x := &l[i]
		if x.What != last {
			fmt.Fprintf(b, "  %s\n", x.What)
			last = x.What
		}
		fmt.Fprintf(b, "    %-14s  %s: %s%s\n", x.Verdict, x.Must, x.Found, bracket(x.Why))
	}
}

// text counts the verdicts.
func (l Bounds) text() string {
	n := map[string]int{}
	for i := range l {
		n[l[i].Verdict]++
	}
	text := fmt.Sprintf("%d of %d kept", n[Pass], len(l))
	for _, v := range []struct{ verdict, word string }{{Over, "broken"}, {NotJudged, "not judged"}} {
		if n[v.verdict] > 0 {
			text += fmt.Sprintf(", %d %s", n[v.verdict], v.word)
		}
	}
	return text
}

func (l Bounds) tile(key string) (t tile, any bool) {
	if len(l) == 0 {
		return t, false
	}
	t = tile{Key: key, Value: "✓ kept", Note: l.text(), Class: "ok"}
	if slices.ContainsFunc(l, func(b Bound) bool { return b.Verdict == Over }) {
		t.Value, t.Class = "✗ broken", "no"
	}
	return t, true
}

// rows are the verdicts on a page.
func (l Bounds) rows() (rows []boundRow) {
	last := ""
	for _, b := range l {
		row := boundRow{Bound: b, Class: b.class(), Verdict: b.verdictText()}
		if b.What != last {
			row.First, last = true, b.What
		}
		rows = append(rows, row)
	}
	return rows
}
