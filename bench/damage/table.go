package damage

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"healkv/bench/tally"
)

// Count is how often each outcome came.
func Count(rs []Result) map[Outcome]int {
	n := map[Outcome]int{}
	for _, r := range rs {
		n[r.Outcome]++
	}
	return n
}

// Table writes a line for each kind of damage, and the failures.
func Table(w io.Writer, rs []Result) error {
	t := tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)
	fmt.Fprintln(t, "what\thow\tcells\texact\trefused\twrong\tlost\tabsent\tpools discarded")
	for what := range whats {
		for how := range hows {
			n, cells, discarded := map[Outcome]int{}, 0, 0
			for _, r := range rs {
				if r.What == what.String() && r.How == how.String() {
					cells++
					n[r.Outcome]++
					discarded += r.Discarded
				}
			}
			if cells > 0 {
				fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", what, how, cells, n[Exact], n[Refused], n[Wrong], n[Lost], n[Absent], discarded)
			}
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range rs {
		if !r.Outcome.OK() {
			fmt.Fprintf(w, "%s: %s: %s\n", r.Outcome, r.Cell, r.Why)
		}
	}
	return nil
}

// Write puts the table and all results into a directory.
func Write(dir string, rs []Result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "damage.txt"))
	if err != nil {
		return err
	}
	if err := Table(f, rs); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	b, err := json.MarshalIndent(rs, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "damage.json"), append(b, '\n'), 0o644)
}

// Tally counts for the summary of make verify.
func Tally(rs []Result) {
	n := Count(rs)
	tally.Mark("damage", "cells repaired or unharmed", n[Exact])
	// A small part may have no cell without a good copy.
	if n[Refused] > 0 || len(rs) == len(Cells(1, 0)) {
		tally.Mark("damage", "cells refused, no good copy being left", n[Refused])
	}
	if n[Absent] > 0 {
		tally.Skipped("damage", fmt.Sprintf("%d cells", n[Absent]), "no such structure in this build")
	}
}
