package result

import (
	"bytes"
	"fmt"
	"html"
	"math"
)

// colours per system, in the order of the tables.
var colours = map[string]string{
	"healkv": "#0b6e4f", OverFiles("healkv"): "#3d9970", InNode: "#6bbf59", "etcd": "#3f6fb5", OverFiles("etcd"): "#7fa3d9", "zookeeper": "#b5793f", "redis": "#c0392b", OverFiles("redis"): "#e08a80", "dragonboat": "#7d5ba6",
}

// Page is the report as one file that needs no other: plots as SVG.
func (r *Report) Page() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>HealKV and others, domain %s</title>\n", html.EscapeString(r.Conditions.Domain))
	b.WriteString("<style>body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}" +
		"svg{display:block;margin:1em 0}text{font:12px system-ui,sans-serif;fill:#222}.axis{stroke:#ccc}.missed{color:#b00020}" +
		"pre{white-space:pre-wrap;background:#f6f6f6;padding:1em;font-size:12px}</style>\n")
	fmt.Fprintf(&b, "<h1>HealKV and others, domain %s</h1>\n<ul>\n", html.EscapeString(r.Conditions.Domain))
	if r.Unfinished != "" {
		fmt.Fprintf(&b, "<li class=\"missed\">Not run to its end: %s\n", html.EscapeString(r.Unfinished))
	}
	for _, v := range r.Verdicts {
		class, word := "", "PASS"
		if !v.Passed {
			class, word = " class=\"missed\"", "MISSED"
		}
		fmt.Fprintf(&b, "<li%s>%s: %s\n", class, word, html.EscapeString(v.Text))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "<li>note: %s\n", html.EscapeString(n))
	}
	b.WriteString("</ul>\n")
	for _, op := range []string{"write", "read"} {
		var rates, p99s []bar
		for _, w := range r.Rows() {
			if w.Op != op {
				continue
			}
			label := fmt.Sprintf("%d clients", w.Clients)
			rates = append(rates, bar{label, w.System, w.Rate})
			p99s = append(p99s, bar{label, w.System, scaled(w.P99, 1e-3)})
		}
		plot(&b, op+"s per second, all clients together (median, line: least to most; logarithmic)", rates)
		plot(&b, "p99 of "+op+"s, ms (logarithmic)", p99s)
	}
	var back, pause []bar
	for _, a := range r.Aways() {
		label := fmt.Sprintf("%.0f missed", a.Missed.Median)
		back = append(back, bar{label, a.System, a.Seconds})
		pause = append(pause, bar{"", a.System, a.Pause})
	}
	plot(&b, "back after a restart, s (logarithmic)", back)
	plot(&b, "longest pause of writes after the kill, ms (logarithmic)", pause)
	fmt.Fprintf(&b, "<h2>Figures and conditions</h2>\n<pre>%s</pre>\n</html>\n", html.EscapeString(r.Markdown()))
	return b.Bytes()
}

func scaled(s Spread, by float64) Spread {
	return Spread{Median: s.Median * by, Least: s.Least * by, Most: s.Most * by, Runs: s.Runs}
}

type bar struct {
	group, system string
	s             Spread
}

const (
	barHeight, barGap = 18, 4
	labelWidth        = 220
	plotWidth         = 560
	valueWidth        = 200
)

// plot draws bars on a logarithmic axis that begins at a power of ten.
func plot(b *bytes.Buffer, title string, bars []bar) {
	lo, hi := math.Inf(1), 0.0
	for _, x := range bars {
		if x.s.Least > 0 {
			lo = min(lo, x.s.Least)
		}
		hi = max(hi, x.s.Most)
	}
	if hi <= 0 {
		return
	}
	from, to := math.Floor(math.Log10(lo)), math.Ceil(math.Log10(hi))
	if from == math.Log10(lo) {
		from-- // the shortest bar is seen too
	}
	if to <= from {
		to = from + 1
	}
	at := func(v float64) float64 {
		if v <= 0 {
			return labelWidth
		}
		return labelWidth + plotWidth*(math.Log10(v)-from)/(to-from)
	}
	height := 30 + len(bars)*(barHeight+barGap)
	fmt.Fprintf(b, "<h2>%s</h2>\n<svg width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"%s\">\n", html.EscapeString(title),
		labelWidth+plotWidth+valueWidth, height, html.EscapeString(title))
	for e := from; e <= to; e++ {
		x := at(math.Pow(10, e))
		fmt.Fprintf(b, "<line class=\"axis\" x1=\"%.1f\" y1=\"0\" x2=\"%.1f\" y2=\"%d\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
			x, x, height-18, x, height-4, power(e))
	}
	for i, x := range bars {
		y := i * (barHeight + barGap)
		colour := colours[x.system]
		if colour == "" {
			colour = "#777"
		}
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s %s</text>", labelWidth-6, y+13, html.EscapeString(x.group), html.EscapeString(x.system))
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>", labelWidth, y, max(at(x.s.Median)-labelWidth, 1), barHeight, colour)
		if x.s.Runs > 1 {
			fmt.Fprintf(b, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#000\"/>", at(x.s.Least), y+barHeight/2, at(x.s.Most), y+barHeight/2)
		}
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", max(at(x.s.Most), at(x.s.Median))+6, y+13, short(x.s.Median))
	}
	b.WriteString("</svg>\n")
}

func power(e float64) string {
	if e >= -3 && e <= 3 {
		return fmt.Sprintf("%g", math.Pow(10, e))
	}
	return fmt.Sprintf("1e%g", e)
}

func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2f million", v/1e6)
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
