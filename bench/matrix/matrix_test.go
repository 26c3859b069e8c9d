package matrix

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"healkv/bench/tally"
)

// TestEveryCellSaysWhat: rows have names of their own, every row can happen
// somewhere, what cannot says why in words, and what can has a bound.
func TestEveryCellSaysWhat(t *testing.T) {
	names, applicable, na := map[string]bool{}, 0, 0
	if len(Columns()) != 20 {
		t.Fatalf("%d columns", len(Columns()))
	}
	for _, r := range Rows() {
		if names[r.Name] || r.Name == "" || r.Family == "" || len(strings.Fields(r.What)) < 3 {
			t.Errorf("row %q, family %q: %q", r.Name, r.Family, r.What)
		}
		names[r.Name] = true
		somewhere := false
		for _, c := range Columns() {
			if back, err := ParseColumn(c.String()); err != nil || back != c {
				t.Errorf("%v is read as %v, %v", c, back, err)
			}
			switch why := r.NA(c); {
			case why != "":
				na++
				if len(strings.Fields(why)) < 5 {
					t.Errorf("%s, %v: not applicable, and the reason is %q", r.Name, c, why)
				}
			default:
				somewhere = true
				applicable++
				if b := r.Bound(c, time.Second); b <= 0 || b > time.Minute || 2*b != r.Bound(c, 2*time.Second) {
					t.Errorf("%s, %v: the bound is %v", r.Name, c, b)
				}
			}
		}
		// The buddy of a node that has none yet is nobody anywhere.
		if !somewhere && r.Family != Second {
			t.Errorf("%s applies nowhere", r.Name)
		}
	}
	if len(names) < 71 || applicable < 1180 {
		t.Errorf("%d rows, %d applicable cells", len(names), applicable)
	}
	t.Logf("%d rows, %d cells, %d of them applicable, %d not", len(names), applicable+na, applicable, na)
	tally.Add("matrix", "rows", len(names))
}

func TestPick(t *testing.T) {
	all := Pick(1, 1)
	for seed := range uint64(5) {
		some, again := Pick(seed, 0.1), Pick(seed, 0.1)
		if len(some) < len(all)/10 || len(some) > len(all)/8 || len(some) != len(again) {
			t.Errorf("seed %d: %d of %d cells, then %d", seed, len(some), len(all), len(again))
		}
		rows := map[string]bool{}
		for i, p := range some {
			rows[p.Row.Name] = true
			if p.Row.Name != again[i].Row.Name || p.Column != again[i].Column {
				t.Errorf("seed %d: cell %d is another one the second time", seed, i)
			}
			if p.NA(p.Column) != "" {
				t.Errorf("seed %d: %s, %v does not apply", seed, p.Row.Name, p.Column)
			}
		}
		for _, r := range Rows() {
			applies := false
			for _, c := range Columns() {
				applies = applies || r.NA(c) == ""
			}
			if applies && !rows[r.Name] {
				t.Errorf("seed %d: nothing of %s", seed, r.Name)
			}
		}
	}
}

func TestPickIn(t *testing.T) {
	can := func(r Row) bool { return r.Family != Disks }
	full := 0
	for _, p := range Pick(0, 1) {
		if can(p.Row) {
			full++
		}
	}
	for seed := range uint64(20) {
		some := PickIn(seed, 0.1, 5, can)
		columns, models, providers, domains := map[Column]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, p := range some {
			columns[p.Column], models[p.Model], providers[p.Provider], domains[p.Domain] = true, true, true, true
			if !can(p.Row) || p.NA(p.Column) != "" {
				t.Errorf("seed %d: %s, %v", seed, p.Row.Name, p.Column)
			}
		}
		if len(columns) != 5 || len(models) != 5 || len(providers) != 2 || len(domains) != 2 || len(some) < full/10 || len(some) > full/8 {
			t.Errorf("seed %d: %d of %d cells in %v", seed, len(some), full, columns)
		}
	}
	if n := len(PickIn(1, 1, 5, can)); n != full {
		t.Errorf("all of them are %d of %d", n, full)
	}
}

func TestTable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	c := Columns()
	cells := []Cell{
		{Row: "killed", Column: c[0].String(), OK: true, Stall: 7 * time.Millisecond},
		{Row: "killed", Column: c[1].String(), OK: true, Stall: 9 * time.Millisecond},
		{Row: "killed", Column: c[5].String(), Problem: "a write was lost"},
		{Row: "isolated", Column: c[0].String(), NA: "no link"},
		{Row: "isolated", Column: c[5].String(), Skip: "needs root"},
	}
	if err := Write(dir, "test", "seed 7", cells); err != nil {
		t.Fatal(err)
	}
	md, err := os.ReadFile(filepath.Join(dir, "test.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 ok, 1 failed, 1 not applicable, 1 skipped", "seed 7", "| killed | one process is killed and started again | 2 ok, 9.0 ms |", "**FAILED** [1]", "a write was lost", "n/a [2]", "[2] no link", "skipped [3]", "## " + Networks} {
		if !strings.Contains(string(md), want) {
			t.Errorf("the table lacks %q:\n%s", want, md)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "test.json"))
	var back []Cell
	if err != nil || json.Unmarshal(b, &back) != nil || len(back) != len(cells) || back[2] != cells[2] {
		t.Errorf("the JSON is %s, %v", b, err)
	}
}
