package report

import "healkv/bench/record"

// series are equidistant samples for the plots.
type series struct {
	fromMs float64 // of the first sample, since the begin of the run
	stepMs float64
	total  []float64   // ops/s
	live   []float64   // ops/s, without the victim
	nodes  [][]float64 // ops/s, in the order of Nodes
	read   latencySeries
	write  latencySeries
}

// latencySeries in µs over all nodes; 0 where nothing completed.
type latencySeries struct{ p50, p99, p999, max []uint64 }

const (
	seriesMax  = 4_000       // samples of the whole run: more than pixels
	zoomBefore = 150_000_000 // ns before the restart
	zoomAfter  = 350_000_000 // ns after serving
	killBefore = 100_000_000
	killAfter  = 400_000_000
)

// sample adds up windows [from, to) in groups of stride.
func (r *Run) sample(from, to, stride int64) series {
	n := int((to - from + stride - 1) / stride)
	s := series{
		fromMs: ms(from*record.WindowNanos - r.Marks.Begin), stepMs: ms(stride * record.WindowNanos),
		total: make([]float64, n), live: make([]float64, n), nodes: make([][]float64, len(r.Nodes)),
	}
	for k := range s.nodes {
		s.nodes[k] = make([]float64, n)
	}
	for _, l := range []*latencySeries{&s.read, &s.write} {
		l.p50, l.p99, l.p999, l.max = make([]uint64, n), make([]uint64, n), make([]uint64, n), make([]uint64, n)
	}
	var read, write record.Merged
	for i := range n {
		a := from + int64(i)*stride
		b := min(a+stride, to)
		perS := 1e9 / float64((b-a)*record.WindowNanos)
		read.Reset()
		write.Reset()
		for k, node := range r.Nodes {
			for _, w := range between(node.Windows, a, b) {
				ops := float64(w.Ops()) * perS
				s.nodes[k][i] += ops
				s.total[i] += ops
				if node.Node != r.Victim {
					s.live[i] += ops
				}
				// phases has added every histogram before: they parse.
				_ = read.Add(w.ReadHist, w.Read.Max)
				_ = write.Add(w.WriteHist, w.Write.Max)
			}
		}
		s.read.set(i, &read)
		s.write.set(i, &write)
	}
	return s
}

func (l *latencySeries) set(i int, m *record.Merged) {
	l.p50[i], l.p99[i], l.p999[i], l.max[i] = m.Quantile(0.5), m.Quantile(0.99), m.Quantile(0.999), m.Max()
}

// afterRestart is how long after the restart a run is worth showing enlarged.
func (r *Run) afterRestart() int64 {
	m := r.Marks
	return m.Serving - m.Restarted + max(zoomAfter, (m.Serving-m.Restarted)/4)
}

// computeZoom samples the recovery over a span that all runs share, so that they
// can be compared side by side.
func (r *Run) computeZoom(rr *RunReport, span int64) {
	m := r.Marks
	from := max(firstWindow(m.Restarted-zoomBefore), firstWindow(m.Begin))
	to := max(min(firstWindow(m.Restarted+span), firstWindow(m.End)), from)
	rr.zoom = r.sample(from, to, max((to-from+seriesMax-1)/seriesMax, 1))
}

func (r *Run) computeSeries(rr *RunReport) {
	m := r.Marks
	begin, end := firstWindow(m.Begin), firstWindow(m.End)
	within := func(from, to int64) (int64, int64) {
		return max(firstWindow(from), begin), max(min(firstWindow(to), end), begin)
	}
	rr.full = r.sample(begin, end, max((end-begin+seriesMax-1)/seriesMax, 1))
	from, to := within(m.Killed-killBefore, max(m.ViewInstalled, m.Begin+int64(rr.Stall.ToMs*1e6))+killAfter)
	rr.kill = r.sample(from, to, max((to-from+seriesMax-1)/seriesMax, 1))
}
