package report

import (
	"fmt"
	"strings"

	"healkv/bench/interference"
)

// interferenceHeads are the columns of the table; by whom comes in the order
// of interference.Whom.
var interferenceHeads = append(append([]string{"phase", "threads", "on their cores", "gave way", "kept off"},
	interference.Whom...), "woken", "runs after, p50", "p99", "max")

// ticksLeast: what is read in ticks is not shown for spans shorter than so many.
const ticksLeast = 5

// interferenceRows are the table of a run, heads first; nil if nobody watched.
func (r *RunReport) interferenceRows() [][]string {
	var rows [][]string
	for i := range r.Phases {
		p := &r.Phases[i]
		s := p.Interference
		if s == nil {
			continue
		}
		if rows == nil {
			rows = append(rows, interferenceHeads)
		}
		row := []string{p.Name, fmt.Sprint(s.Threads)}
		of := func(ms, whole float64, known bool) string {
			if !known || whole == 0 {
				return "–"
			}
			return fmt.Sprintf("%.2f %%", 100*ms/whole)
		}
		long := s.SpanMs >= ticksLeast*float64(interference.Tick.Milliseconds())
		whole := s.SpanMs * float64(s.Threads)
		row = append(row, of(s.OnCoreMs, s.ThreadMs, long), of(s.GaveMs, s.ThreadMs, long), of(s.PreemptedMs, whole, true))
		for _, whom := range interference.Whom {
			row = append(row, of(s.By[whom].Ms, whole, true))
		}
		row = append(row, count(s.Wakes), micros(uint64(s.WakeP50Us)), micros(uint64(s.WakeP99Us)), micros(uint64(s.WakeMaxUs)))
		rows = append(rows, row)
	}
	return rows
}

func writeInterference(b *strings.Builder, r *RunReport) {
	rows := r.interferenceRows()
	if rows == nil {
		return
	}
	fmt.Fprintf(b, "  hot-path threads of the nodes that lived on: share of their time, and by whom they were kept off their cores though ready\n")
	table(b, rows)
}
