// Package result holds what the comparison found, judges it, and shows it: JSON,
// a table, a page of plots.
package result

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"healkv/bench/peers/measure"
	"healkv/bench/peers/servers"
)

// Report is one comparison.
type Report struct {
	Conditions Conditions      `json:"conditions"`
	Systems    []servers.About `json:"systems"`
	Parts      []Part          `json:"parts"`
	Absences   []Absence       `json:"absences,omitempty"`
	Notes      []string        `json:"notes,omitempty"` // what a reader must know besides
	Verdicts   []Verdict       `json:"verdicts,omitempty"`
	Unfinished string          `json:"unfinished,omitempty"` // why it was not run to its end
}

// Conditions of all parts.
type Conditions struct {
	Command    string  `json:"command"`
	Date       string  `json:"date"`
	Machine    string  `json:"machine"`
	Cores      int     `json:"cores"`
	Kernel     string  `json:"kernel"`
	Domain     string  `json:"domain"`
	Storage    string  `json:"storage"` // file system of the data directories
	Nodes      int     `json:"nodes"`
	Clients    []int   `json:"clients"`
	Keys       int     `json:"keys"`
	ValueBytes int     `json:"value_bytes"`
	Seconds    float64 `json:"seconds"`
	Warm       float64 `json:"warm_s"`
	Runs       int     `json:"runs"`
}

// Part is one system under one load, once.
type Part struct {
	System  string         `json:"system"`
	Op      string         `json:"op"` // write or read
	Clients int            `json:"clients"`
	Run     int            `json:"run"`             // from 1
	Probe   *measure.Probe `json:"probe,omitempty"` // just before it; domain file only
	measure.Figures
}

// Absence is one kill / wait / restart.
type Absence struct {
	System  string `json:"system"`
	Clients int    `json:"clients"`
	Run     int    `json:"run"`
	measure.Rejoin
}

// InNode is the name of HealKV's figures under the generators inside its nodes.
const InNode = "healkv in-node"

// OverFiles is the name of a system's figures under clients that come over socket
// files; the system's own name is for those over TCP.
func OverFiles(system string) string { return system + " unix" }

// Spread is the median of several runs with the least and the most.
type Spread struct {
	Median, Least, Most float64
	Runs                int
}

func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (v[len(v)/2-1] + m) / 2
	}
	return Spread{Median: m, Least: v[0], Most: v[len(v)-1], Runs: len(v)}
}

// Row is a line of the table: all runs of one system under one load.
type Row struct {
	System              string
	Op                  string
	Clients             int
	Rate, P50, P99      Spread
	Probe               Spread
	Times, TimesP99     Spread // run by run, times what Reference had under the same load
	Errors, Operations  int64
	FirstError          string
	Checked, Wrong      int
	rates, p50s, probes []float64
	p99s                []float64
}

// Rows in the order in which loads and systems were met first, writes before
// reads, few clients before many.
func (r *Report) Rows() []Row {
	var rows []Row
	for _, p := range r.Parts {
		i := slices.IndexFunc(rows, func(w Row) bool { return w.System == p.System && w.Op == p.Op && w.Clients == p.Clients })
		if i < 0 {
			i = len(rows)
			rows = append(rows, Row{System: p.System, Op: p.Op, Clients: p.Clients})
		}
		w := &rows[i]
		w.rates, w.p50s, w.p99s = append(w.rates, p.Rate), append(w.p50s, float64(p.P50)), append(w.p99s, float64(p.P99))
		if p.Probe != nil {
			w.probes = append(w.probes, p.Probe.Rate)
		}
		w.Errors, w.Operations, w.Checked, w.Wrong = w.Errors+p.Errors, w.Operations+p.Operations, w.Checked+p.Checked, w.Wrong+p.Wrong
		if w.FirstError == "" {
			w.FirstError = p.FirstError
		}
	}
	for i := range rows {
		w := &rows[i]
		w.Rate, w.P50, w.P99, w.Probe = spread(w.rates), spread(w.p50s), spread(w.p99s), spread(w.probes)
	}
	for i := range rows {
		rows[i].compare(r.Parts)
	}
	place := map[string]int{}
	for _, w := range rows {
		if _, ok := place[w.System]; !ok {
			place[w.System] = len(place)
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Op, a.Op), cmp.Compare(a.Clients, b.Clients), cmp.Compare(order(a.System, place), order(b.System, place)))
	})
	return rows
}

// Reference is whom all others are shown as multiples of: over socket files what
// comes over socket files.
const Reference = "etcd"

// compare divides run by run: within a run a disk and a machine differ least.
func (w *Row) compare(parts []Part) {
	reference := Reference
	if strings.HasSuffix(w.System, OverFiles("")) {
		reference = OverFiles(Reference)
	}
	if w.System == reference {
		return
	}
	var times, p99s []float64
	for _, p := range parts {
		if p.System != w.System || p.Op != w.Op || p.Clients != w.Clients {
			continue
		}
		i := slices.IndexFunc(parts, func(x Part) bool {
			return x.System == reference && x.Op == p.Op && x.Clients == p.Clients && x.Run == p.Run
		})
		if i >= 0 && parts[i].Rate > 0 && parts[i].P99 > 0 {
			times, p99s = append(times, p.Rate/parts[i].Rate), append(p99s, float64(p.P99)/float64(parts[i].P99))
		}
	}
	w.Times, w.TimesP99 = spread(times), spread(p99s)
}

// order puts HealKV first, then its own generators, then the others as they came:
// which system begins a run changes from run to run.
func order(system string, met map[string]int) int {
	names := []string{"healkv", OverFiles("healkv"), InNode}
	for _, name := range servers.Names()[1:] {
		names = append(names, name, OverFiles(name))
	}
	if i := slices.Index(names, system); i >= 0 {
		return i
	}
	return 100 + met[system]
}

// Find a row; nil if there is none.
func (r *Report) Find(system, op string, clients int) *Row {
	for _, w := range r.Rows() {
		if w.System == system && w.Op == op && w.Clients == clients {
			return &w
		}
	}
	return nil
}

// Away is all absences of one system.
type Away struct {
	System                                             string
	Seconds, Missed, Pause, Before, Without, Returning Spread
	Errors                                             int64
	Checked, Wrong                                     int
}

// Aways in the order of the tables.
func (r *Report) Aways() []Away {
	var names []string
	for _, a := range r.Absences {
		if !slices.Contains(names, a.System) {
			names = append(names, a.System)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(order(a, nil), order(b, nil)) })
	var all []Away
	for _, n := range names {
		w := Away{System: n}
		of := func(get func(Absence) float64) Spread {
			var v []float64
			for _, a := range r.Absences {
				if a.System == n {
					v = append(v, get(a))
				}
			}
			return spread(v)
		}
		w.Seconds = of(func(a Absence) float64 { return a.Seconds })
		w.Missed = of(func(a Absence) float64 { return float64(a.Missed) })
		w.Pause = of(func(a Absence) float64 { return a.Pause })
		w.Before = of(func(a Absence) float64 { return a.Before })
		w.Without = of(func(a Absence) float64 { return a.Without })
		w.Returning = of(func(a Absence) float64 { return a.Returning })
		for _, a := range r.Absences {
			if a.System == n {
				w.Errors, w.Checked, w.Wrong = w.Errors+a.Errors, w.Checked+a.Checked, w.Wrong+a.Wrong
			}
		}
		all = append(all, w)
	}
	return all
}

// Save writes what was found so far: peers.json, peers.md, peers.html.
func (r *Report) Save(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"peers.json": append(text, '\n'), "peers.md": []byte(r.Markdown()), "peers.html": r.Page()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
