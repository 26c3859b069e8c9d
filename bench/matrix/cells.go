package matrix

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Cell is the outcome of one row in one column. Exactly one of these holds: OK,
// NA, Skip or Problem is set.
type Cell struct {
	Row     string        `json:"row"`
	Column  string        `json:"column"`
	OK      bool          `json:"ok"`
	NA      string        `json:"not_applicable,omitempty"` // why the row means nothing here
	Skip    string        `json:"skipped,omitempty"`        // what is missing to carry it out
	Stall   time.Duration `json:"stall_ns"`                 // the longest of writes
	Healed  time.Duration `json:"healed_ns"`                // from the last fault to all nodes live
	Took    time.Duration `json:"took_ns,omitempty"`        // all of it
	Problem string        `json:"problem,omitempty"`
}

// Place is a row and a column.
type Place struct {
	Row
	Column
}

// Pick draws a share of the applicable places, the same for the same seed: at
// least one of every row, then others, in the order of the columns. A share of 1
// is all of them.
func Pick(seed uint64, share float64) []Place {
	var all []Place
	for _, c := range Columns() {
		for _, r := range Rows() {
			if r.NA(c) == "" {
				all = append(all, Place{r, c})
			}
		}
	}
	want := int(float64(len(all)) * share)
	if want >= len(all) {
		return all
	}
	rng := rand.New(rand.NewPCG(seed, 0x6d6174726978))
	taken, rows, n := make([]bool, len(all)), map[string]bool{}, 0
	order := rng.Perm(len(all))
	take := func(i int) {
		if !taken[i] {
			taken[i] = true
			n++
		}
	}
	for _, i := range order {
		if name := all[i].Row.Name; !rows[name] {
			rows[name] = true
			take(i)
		}
	}
	for _, i := range order {
		if n >= want {
			break
		}
		take(i)
	}
	var some []Place
	for i, p := range all {
		if taken[i] {
			some = append(some, p)
		}
	}
	return some
}

// PickIn draws a share of the applicable places of the rows that can be carried
// out, in n columns only, as making a cluster takes its time: one of each model
// as far as n goes, with every provider and every domain. There is at least one
// place of every row that applies in one of these columns.
func PickIn(seed uint64, share float64, n int, can func(Row) bool) []Place {
	all := slices.DeleteFunc(Pick(seed, 1), func(p Place) bool { return !can(p.Row) })
	columns := Columns()
	if n >= len(columns) || share >= 1 {
		return all
	}
	want := int(float64(len(all)) * share)
	rng := rand.New(rand.NewPCG(seed, 0x636f6c756d6e))
	models, places := len(columns)/4, rng.Perm(4)
	order, chosen := rng.Perm(models), map[Column]bool{}
	for i := range n {
		chosen[columns[places[(i+i/models)%4]*models+order[i%models]]] = true
	}
	all = slices.DeleteFunc(all, func(p Place) bool { return !chosen[p.Column] })
	taken, rows := make([]bool, len(all)), map[string]bool{}
	perm := rng.Perm(len(all))
	got := 0
	for _, i := range perm {
		if name := all[i].Row.Name; !rows[name] {
			rows[name], taken[i] = true, true
			got++
		}
	}
	for _, i := range perm {
		if got < want && !taken[i] {
			taken[i] = true
			got++
		}
	}
	var some []Place
	for i, p := range all {
		if taken[i] {
			some = append(some, p)
		}
	}
	return some
}

// Counts of a table's cells.
type Counts struct{ OK, NA, Skipped, Failed int }

// Count adds cells up.
func Count(cells []Cell) (n Counts) {
	for i := range cells {
		switch c := &cells[i]; {
		case c.OK:
			n.OK++
		case c.NA != "":
			n.NA++
		case c.Skip != "":
			n.Skipped++
		default:
			n.Failed++
		}
	}
	return n
}

func (n Counts) String() string {
	return fmt.Sprintf("%d ok, %d failed, %d not applicable, %d skipped", n.OK, n.Failed, n.NA, n.Skipped)
}

// Write makes name.json with every cell and name.md with the table, in dir,
// which is made if absent. about says where the cells come from, and how they are
// repeated.
func Write(dir, name, about string, cells []Cell) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(cells, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, name+".md"))
	if err != nil {
		return err
	}
	err = table(f, name, about, cells)
	return cmp.Or(err, f.Close())
}

const legend = `A row is a fault. A column is a way to connect the nodes (shm: on one host; tcp: as between hosts) and a way to keep
data (memory, file), with the five models in one cell: how many of them had the fault and passed, and the longest stall of writes
among them. Passed: nothing is lost that the model promises, histories are linearizable, all nodes are live in the end, and the stall
is within the row's bound. n/a: the fault means nothing there. skipped: it is not carried out here. The numbers are of the reasons
at the end. An empty cell was not drawn.
`

// table is for people: rows by family, a column for every provider and domain
// with the models together, and below it every reason.
func table(w io.Writer, name, about string, cells []Cell) error {
	type group struct{ provider, domain string }
	groups := []group{{SHM, Memory}, {SHM, File}, {TCP, Memory}, {TCP, File}}
	at := map[string]map[group][]*Cell{}
	for i := range cells {
		c := &cells[i]
		col, err := ParseColumn(c.Column)
		if err != nil {
			return err
		}
		if at[c.Row] == nil {
			at[c.Row] = map[group][]*Cell{}
		}
		g := group{col.Provider, col.Domain}
		at[c.Row][g] = append(at[c.Row][g], c)
	}
	fmt.Fprintf(w, "# Fault matrix: %s\n\n%s\n\n%s\n%s.\n", name, about, legend, Count(cells))
	var notes []string
	note := func(s string) int {
		if i := slices.Index(notes, s); i >= 0 {
			return i + 1
		}
		notes = append(notes, s)
		return len(notes)
	}
	family := ""
	for _, r := range Rows() {
		if at[r.Name] == nil {
			continue
		}
		if r.Family != family {
			family = r.Family
			fmt.Fprintf(w, "\n## %s\n\n| fault | what is done |", family)
			for _, g := range groups {
				fmt.Fprintf(w, " %s, %s |", g.provider, g.domain)
			}
			fmt.Fprintf(w, "\n|---|---|---|---|---|---|\n")
		}
		fmt.Fprintf(w, "| %s | %s |", r.Name, r.What)
		for _, g := range groups {
			ok, stall, text := 0, time.Duration(0), ""
			for _, c := range at[r.Name][g] {
				switch {
				case c.OK:
					ok, stall = ok+1, max(stall, c.Stall)
				case c.NA != "":
					text = fmt.Sprintf("n/a [%d]", note(c.NA))
				case c.Skip != "":
					text = fmt.Sprintf("skipped [%d]", note(c.Skip))
				}
			}
			for _, c := range at[r.Name][g] {
				if c.Problem != "" {
					text = fmt.Sprintf("**FAILED** [%d]", note(c.Column+": "+c.Problem))
				}
			}
			if ok > 0 {
				text = strings.TrimSpace(fmt.Sprintf("%d ok, %s %s", ok, milliseconds(stall), text))
			}
			fmt.Fprintf(w, " %s |", text)
		}
		fmt.Fprintln(w)
	}
	if len(notes) > 0 {
		fmt.Fprintln(w)
	}
	for i, s := range notes {
		if _, err := fmt.Fprintf(w, "[%d] %s\n\n", i+1, s); err != nil {
			return err
		}
	}
	return nil
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
