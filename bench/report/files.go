package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/HdrHistogram/hdrhistogram-go"
	"healkv/bench/record"
)

// Names of the files in the output directory.
const (
	FileHTML = "report.html"
	FileJSON = "report.json"
	FileCSV  = "windows.csv"
	DirHist  = "histograms"
)

// WriteAll writes every file into dir, which it makes. Errors: those of the file
// system, wrapped.
func (r *Report) WriteAll(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, DirHist), 0o755); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	err := errors.Join(
		toFile(filepath.Join(dir, FileJSON), r.WriteJSON),
		toFile(filepath.Join(dir, FileCSV), r.WriteCSV),
		toFile(filepath.Join(dir, FileHTML), r.WriteHTML),
	)
	for i := range r.Runs {
		run := &r.Runs[i]
		for k := range run.Phases {
			p := &run.Phases[k]
			for kind, m := range map[string]*record.Merged{"read": &p.read, "write": &p.write} {
				if m.Total() == 0 {
					continue
				}
				name := fmt.Sprintf("%s-%s-%s.hgrm", run.Name, p.Name, kind)
				err = errors.Join(err, toFile(filepath.Join(dir, DirHist, name), func(w io.Writer) error {
					_, err := m.HDR().PercentilesPrint(w, hgrmTicks, 1)
					return err
				}))
			}
		}
		for k := range run.Phases {
			if p := &run.Phases[k]; p.Interference != nil && p.Interference.Wakes > 0 {
				name := fmt.Sprintf("%s-%s-wake.hgrm", run.Name, p.Name)
				err = errors.Join(err, toFile(filepath.Join(dir, DirHist, name), func(w io.Writer) error {
					_, err := p.Interference.HDR().PercentilesPrint(w, hgrmTicks, 1)
					return err
				}))
			}
		}
		err = errors.Join(err, toFile(filepath.Join(dir, DirHist, run.Name+".hlog"), run.writeHistogramLog))
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

const (
	hgrmTicks   = 5
	hlogWindows = 10 // 10 ms windows in one interval of a histogram log
)

func toFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<16)
	err = errors.Join(write(b), b.Flush(), f.Close())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// WriteJSON writes the figures. Histograms and windows are in their own files.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteCSV writes one line for every window of every node.
func (r *Report) WriteCSV(w io.Writer) error {
	b := bufio.NewWriter(w)
	b.WriteString("run,start_ms,phase,node,reads,writes,requests,not_found,backlog")
	for _, name := range record.ErrorNames {
		b.WriteString(",errors_" + name)
	}
	b.WriteString(",read_p50_us,read_p99_us,read_p999_us,read_max_us,write_p50_us,write_p99_us,write_p999_us,write_max_us,write_gap_us\n")
	for i := range r.Runs {
		run := &r.Runs[i]
		for _, n := range run.windows {
			for _, x := range between(n.Windows, firstWindow(run.marks.Begin), firstWindow(run.marks.End)) {
				fmt.Fprintf(b, "%s,%.3f,%s,%d,%d,%d,%d,%d,%d", run.Name, ms(x.Start()-run.marks.Begin), run.phaseAt(x.Start()), n.Node, x.Reads, x.Writes, x.Requests, x.NotFound, x.Backlog)
				for _, e := range x.Errors {
					fmt.Fprintf(b, ",%d", e)
				}
				for _, l := range [...]record.Latency{x.Read, x.Write} {
					fmt.Fprintf(b, ",%d,%d,%d,%d", l.P50, l.P99, l.P999, l.Max)
				}
				fmt.Fprintf(b, ",%.1f\n", float64(x.WriteGap)/1e3)
			}
		}
	}
	return b.Flush()
}

func (r *RunReport) phaseAt(at int64) string {
	m := r.marks
	switch {
	case at < m.Killed:
		return PhaseSteady
	case at < m.ViewInstalled:
		return PhaseFailover
	case at < m.Restarted:
		return PhaseAway
	case at < m.Serving:
		return PhaseRecovering
	}
	return PhaseAfter
}

// writeHistogramLog writes an interval histogram for every 100 ms and kind, tagged
// read and write, over all nodes.
func (r *RunReport) writeHistogramLog(w io.Writer) error {
	lw := hdrhistogram.NewHistogramLogWriter(w)
	wall := func(ns int64) int64 { return (ns + r.wallOffset) / 1e6 }
	start := wall(r.marks.Begin)
	lw.SetBaseTime(start)
	err := errors.Join(
		lw.OutputComment("[HealKV, run "+r.Name+"; latencies in microseconds from the due time, all nodes; Interval_Max in seconds]"),
		lw.OutputLogFormatVersion(),
		lw.OutputStartTime(start),
		lw.OutputLegend(),
	)
	var sums [2]record.Merged
	end := firstWindow(r.marks.End)
	for a := firstWindow(r.marks.Begin); a < end && err == nil; a += hlogWindows {
		b := min(a+hlogWindows, end)
		sums[0].Reset()
		sums[1].Reset()
		for _, n := range r.windows {
			for _, x := range between(n.Windows, a, b) {
				err = errors.Join(err, sums[0].Add(x.ReadHist, x.Read.Max), sums[1].Add(x.WriteHist, x.Write.Max))
			}
		}
		for i, tag := range []string{"read", "write"} {
			if sums[i].Total() == 0 {
				continue
			}
			h := sums[i].HDR()
			h.SetTag(tag)
			h.SetStartTimeMs(wall(a * record.WindowNanos))
			h.SetEndTimeMs(wall(b * record.WindowNanos))
			err = errors.Join(err, lw.OutputIntervalHistogram(h))
		}
	}
	return err
}
