package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"

	"healkv/bench/record"
)

const windowMs = record.WindowNanos / 1e6

// plot is a small drawing without script.
type plot struct {
	XName    string
	XLog     bool
	FromZero bool // of the y axis
	Lines    []plotLine
	Spans    []plotSpan
	Mark     float64 // a line across, with its name; "" is none
	MarkName string
}

type plotLine struct {
	Name   string
	Color  string // of a CSS variable
	Dots   bool
	points []plotPoint
}

type plotPoint struct {
	x, y  float64
	label string
}

// plotSpan is a shaded part of the x axis.
type plotSpan struct{ from, to float64 }

func (l *plotLine) add(x, y float64, label string) {
	l.points = append(l.points, plotPoint{x, y, label})
}

func (l *plotLine) sort() {
	slices.SortStableFunc(l.points, func(a, b plotPoint) int { return cmp.Compare(a.x, b.x) })
}

// Size of a drawing, and of its margins.
const (
	plotW, plotH                      = 720, 230
	plotLeft, plotRight, plotT, plotB = 52, 14, 12, 40
)

// svg draws it. Texts are those of this package, but escaped all the same.
func (p plot) svg() template.HTML {
	loX, hiX, loY, hiY := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, l := range p.Lines {
		for _, q := range l.points {
			loX, hiX, loY, hiY = min(loX, q.x), max(hiX, q.x), min(loY, q.y), max(hiY, q.y)
		}
	}
	if math.IsInf(loX, 0) {
		return ""
	}
	if p.MarkName != "" {
		loY, hiY = min(loY, p.Mark), max(hiY, p.Mark)
	}
	if p.FromZero {
		loY = min(loY, 0)
	}
	if loY == hiY {
		loY, hiY = loY-1, hiY+1
	}
	room := (hiY - loY) * 0.12
	if hiY += room; !p.FromZero {
		loY -= room
	}
	scale := func(v float64) float64 { return v }
	if p.XLog {
		scale = func(v float64) float64 { return math.Log10(max(v, 1e-3)) }
		loX, hiX = loX*0.8, hiX*1.6 // room for the labels
	}
	if loX == hiX {
		hiX = loX + 1
	}
	x := func(v float64) float64 {
		return plotLeft + (scale(v)-scale(loX))/(scale(hiX)-scale(loX))*(plotW-plotLeft-plotRight)
	}
	y := func(v float64) float64 { return plotH - plotB - (v-loY)/(hiY-loY)*(plotH-plotT-plotB) }
	var b strings.Builder
	text := func(at, up float64, anchor, color, s string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="var(%s)">%s</text>`, at, up, anchor, color, template.HTMLEscapeString(s))
	}
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" font-size="11" style="width:100%%;height:auto">`, plotW, plotH)
	for _, s := range p.Spans {
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="var(--grid)"/>`, x(s.from), plotT, max(0, min(x(s.to), plotW-plotRight)-x(s.from)), plotH-plotT-plotB)
	}
	for _, v := range ticksOf(loY, hiY, 5) {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="var(--line)"/>`, plotLeft, plotW-plotRight, y(v), y(v))
		text(plotLeft-6, y(v)+4, "end", "--soft", tickText(v))
	}
	marks := ticksOf(loX, hiX, 8)
	if p.XLog {
		if log := logTicks(loX, hiX); len(log) > 2 {
			marks = log
		}
	}
	for _, v := range marks {
		fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="var(--line)"/>`, x(v), x(v), plotH-plotB, plotH-plotB+4)
		text(x(v), plotH-plotB+16, "middle", "--soft", tickText(v))
	}
	text(plotW-plotRight, plotH-6, "end", "--soft", p.XName)
	if p.MarkName != "" {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="var(--bad)" stroke-dasharray="5 4"/>`, plotLeft, plotW-plotRight, y(p.Mark), y(p.Mark))
		text(plotLeft+4, y(p.Mark)-4, "start", "--bad", p.MarkName)
	}
	at := float64(plotLeft)
	for _, l := range p.Lines {
		var path strings.Builder
		for i, q := range l.points {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], x(q.x), y(q.y))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="var(%s)" stroke-width="1.6"/>`, path.String(), l.Color)
		for _, q := range l.points {
			if l.Dots {
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="var(%s)"/>`, x(q.x), y(q.y), l.Color)
			}
			if q.label != "" {
				text(x(q.x)+6, y(q.y)-6, "start", "--ink", q.label)
			}
		}
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="12" height="3" fill="var(%s)"/>`, at, plotH-10, l.Color)
		text(at+16, plotH-6, "start", "--soft", l.Name)
		at += 26 + 5.6*float64(len(l.Name))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// ticksOf are round values between a and b, about n.
func ticksOf(a, b float64, n int) (t []float64) {
	raw := (b - a) / float64(n)
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, k := range []float64{1, 2, 5, 10} {
		if k*step >= raw {
			step *= k
			break
		}
	}
	for v := math.Ceil(a/step) * step; v <= b; v += step {
		t = append(t, math.Round(v/step)*step)
	}
	return t
}

// tickText says a round value with as many digits as it has.
func tickText(v float64) string {
	if math.Abs(v) >= 1000 {
		return num(v)
	}
	return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'f', -1, 64)
}

// logTicks are 1, 2 and 5 times the powers of ten between a and b.
func logTicks(a, b float64) (t []float64) {
	for p := math.Pow(10, math.Floor(math.Log10(a))); p <= b; p *= 10 {
		for _, k := range []float64{1, 2, 5} {
			if v := k * p; v >= a && v <= b {
				t = append(t, v)
			}
		}
	}
	return t
}
