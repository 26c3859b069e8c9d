package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// write writes both files.
func (m *Measurements) write(out string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(out+".json", append(text, '\n'), 0o644); err != nil {
		return err
	}
	var b strings.Builder
	m.page(&b)
	return os.WriteFile(out+".md", []byte(b.String()), 0o644)
}

func (m *Measurements) page(w io.Writer) {
	c := m.Conditions
	fmt.Fprintf(w, `# Measurements

Written by `+"`%s`"+`, on %s at commit %s; not by hand. Machine: %s, %d cores, kernel %s, %s. Each figure is the median of
%d runs, with the lowest and the highest. Everything, load generators included, shares these cores; absolute values are of
this machine and worth little elsewhere. What may be quoted is a ratio between two figures of one run: the last column, the median
over that of the figure named. "Worse" marks what is more than %.0f %% beyond the worst run of the file that was there before.

`, c.Command, c.Date, c.Commit, c.Machine, c.Cores, c.Kernel, c.Go, c.Runs, 100*worseBy)
	for _, p := range parts {
		figures := m.of(p.name)
		if len(figures) == 0 {
			continue
		}
		fmt.Fprintf(w, "## %s\n\n%s. `go run ./bench/measure -only %s` shows this part alone.\n\n", p.title, p.about, p.name)
		fmt.Fprintf(w, "| what | median | low | high | unit | ratio |\n|---|---:|---:|---:|---|---|\n")
		for _, f := range figures {
			switch {
			case f.Verdict != "":
				continue
			case f.Missing != "":
				fmt.Fprintf(w, "| %s | – | | | %s | %s |\n", f.Name, f.Unit, f.Missing)
				continue
			}
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", f.Name, number(f.Median), number(f.Low), number(f.High), f.Unit, f.remark())
		}
		fmt.Fprintln(w)
		judged := false
		for _, f := range figures {
			if f.Verdict != "" {
				fmt.Fprintf(w, "- %s: %s\n", f.Verdict, f.Name)
				judged = true
			}
		}
		if judged {
			fmt.Fprintln(w)
		}
	}
}

// remark is the ratio, and whether it got worse.
func (f *Figure) remark() string {
	var s []string
	if f.Ratio != 0 {
		s = append(s, fmt.Sprintf("%s × %s", number(f.Ratio), f.Beside))
	}
	switch {
	case f.Most == 0 || f.Ratio == 0:
	case f.Ratio <= f.Most:
		s = append(s, fmt.Sprintf("at most %s: PASS", number(f.Most)))
	default:
		s = append(s, fmt.Sprintf("at most %s: **MISSED**", number(f.Most)))
	}
	if f.Worse != "" {
		s = append(s, "**worse**: "+f.Worse)
	}
	return strings.Join(s, "; ")
}

func writeTable(w io.Writer, figures []Figure) {
	for _, f := range figures {
		switch {
		case f.Verdict != "":
			fmt.Fprintf(w, "  %s: %s\n", f.Verdict, f.Name)
			continue
		case f.Missing != "":
			fmt.Fprintf(w, "  %-58s %s\n", f.Name, f.Missing)
			continue
		}
		fmt.Fprintf(w, "  %-58s %11s (%s to %s) %s  %s\n", f.Name, number(f.Median), number(f.Low), number(f.High), f.Unit, f.remark())
	}
}
