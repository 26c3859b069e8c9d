package admin

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// Metric is one sample. Names follow Prometheus: a unit at the end, _total
// for counters.
type Metric struct {
	Name   string
	Help   string
	Kind   string // "counter" or "gauge"
	Labels []Label
	Value  float64
}

// Label qualifies a sample.
type Label struct{ Name, Value string }

// Exposition writes samples in Prometheus' text format 0.0.4: samples of one
// name stand together under one HELP and one TYPE, in the order in which the
// names first appear.
func Exposition(samples []Metric) []byte {
	first := make(map[string]int, len(samples))
	for i := range samples {
		if _, seen := first[samples[i].Name]; !seen {
			first[samples[i].Name] = i
		}
	}
	order := make([]int, len(samples))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return first[samples[a].Name] - first[samples[b].Name] })

	var b bytes.Buffer
	last := ""
	for _, i := range order {
		m := &samples[i]
		if m.Name != last {
			last = m.Name
			b.WriteString("# HELP " + m.Name + " " + helpEscaper.Replace(m.Help) + "\n")
			b.WriteString("# TYPE " + m.Name + " " + m.Kind + "\n")
		}
		b.WriteString(m.Name)
		for j, l := range m.Labels {
			if j == 0 {
				b.WriteByte('{')
			} else {
				b.WriteByte(',')
			}
			b.WriteString(l.Name + `="` + labelEscaper.Replace(l.Value) + `"`)
		}
		if len(m.Labels) > 0 {
			b.WriteByte('}')
		}
		b.WriteByte(' ')
		b.WriteString(strconv.FormatFloat(m.Value, 'g', -1, 64))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

var (
	helpEscaper  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// MetricName turns a word of the node (snake case or not) into a legal name.
func MetricName(parts ...string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, strings.Join(parts, "_"))
}
