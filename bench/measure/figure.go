package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Measurements is the file.
type Measurements struct {
	Conditions Conditions `json:"conditions"`
	Figures    []Figure   `json:"figures"`
}

// Conditions of all figures.
type Conditions struct {
	Command string `json:"command"`
	Commit  string `json:"commit"`
	Date    string `json:"date"`
	Machine string `json:"machine"`
	Cores   int    `json:"cores"`
	Kernel  string `json:"kernel"`
	Go      string `json:"go"`
	Runs    int    `json:"runs"`
}

// Figure is one thing measured several times.
type Figure struct {
	Part   string  `json:"part"`
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	More   bool    `json:"more_is_better,omitempty"`
	Low    float64 `json:"low"`
	Median float64 `json:"median"`
	High   float64 `json:"high"`

	// Beside is the figure of the same run that this one is to be seen beside, "" if none.
	Beside string  `json:"beside,omitempty"`
	Ratio  float64 `json:"ratio,omitempty"` // median to that one's
	Most   float64 `json:"most,omitempty"`  // of the ratio; 0: nothing is asked for

	Missing string `json:"missing,omitempty"` // why there are no values
	Verdict string `json:"verdict,omitempty"` // PASS or MISSED: no figure but a bound, which Name says
	// Worse says by how much, against the file that was there before.
	Worse string `json:"worse,omitempty"`
}

// figure of some runs.
func figure(name, unit string, more bool, beside string, runs []float64) Figure {
	f := Figure{Name: name, Unit: unit, More: more, Beside: beside}
	if len(runs) == 0 {
		f.Missing = "no run gave a value"
		return f
	}
	slices.Sort(runs)
	f.Low, f.Median, f.High = runs[0], runs[len(runs)/2], runs[len(runs)-1]
	return f
}

// sorted by name within what they stand beside, for figures that came in no order.
func sorted(figures []Figure) []Figure {
	slices.SortStableFunc(figures, func(a, b Figure) int { return strings.Compare(a.Name, b.Name) })
	return figures
}

// worseBy is how much a median may be beyond the worst of the earlier runs
// before it is marked.
const worseBy = 0.1

// complete fills what follows from other figures.
func (m *Measurements) complete(old *Measurements) {
	for i := range m.Figures {
		f := &m.Figures[i]
		if b := m.find(f.Beside); b != nil && f.Beside != "" && b.Median != 0 && f.Missing == "" {
			f.Ratio = f.Median / b.Median
		}
		f.Worse = ""
		if old == nil || f.Missing != "" || f.Verdict != "" {
			continue
		}
		was := old.find(f.Name)
		if was == nil || was.Missing != "" || was.Unit != f.Unit || was.Median == 0 {
			continue
		}
		if f.More && f.Median < was.Low*(1-worseBy) || !f.More && f.Median > was.High*(1+worseBy) {
			f.Worse = fmt.Sprintf("%+.0f %% (was %s)", 100*(f.Median/was.Median-1), number(was.Median))
		}
	}
}

func (m *Measurements) find(name string) *Figure {
	for i := range m.Figures {
		if m.Figures[i].Name == name {
			return &m.Figures[i]
		}
	}
	return nil
}

// of is the figures of a part.
func (m *Measurements) of(part string) (figures []Figure) {
	for _, f := range m.Figures {
		if f.Part == part {
			figures = append(figures, f)
		}
	}
	return figures
}

// read is the file that is there, nil if there is none.
func read(path string) (*Measurements, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := new(Measurements)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%s: %w; remove it if it is not worth keeping", path, err)
	}
	return m, nil
}

// commandOf is how the same is measured again: -go is the
// Makefile's.
func commandOf(args []string) string {
	if i := slices.Index(args, "-go"); i >= 0 && i+1 < len(args) {
		args = slices.Delete(slices.Clone(args), i, i+2)
	}
	if len(args) == 0 {
		return "make bench"
	}
	return fmt.Sprintf("make bench MEASURE=%q", strings.Join(args, " "))
}

func conditions(o *options) Conditions {
	out := func(name string, args ...string) string {
		text, err := exec.Command(name, args...).Output()
		if err != nil {
			return "unknown"
		}
		return strings.TrimSpace(string(text))
	}
	c := Conditions{Command: commandOf(os.Args[1:]), Commit: out("git", "describe", "--tags", "--always", "--dirty"),
		Date: time.Now().UTC().Format("2006-01-02"), Cores: runtime.NumCPU(), Kernel: out("uname", "-r"), Go: runtime.Version(), Runs: o.runs, Machine: "unknown"}
	text, err := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok && err == nil {
			c.Machine = strings.TrimSpace(strings.TrimLeft(name, " \t:"))
			break
		}
	}
	return c
}

// number with three digits that count, or whole.
func number(v float64) string {
	switch {
	case v >= 1e5:
		return fmt.Sprintf("%.0f 000", v/1000)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
