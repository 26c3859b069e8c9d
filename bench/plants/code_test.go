package plants

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"healkv/dataplane/plant"
)

// place is where a bug is planted.
type place struct {
	file  string // from the root
	funcs []string
	uses  int
}

// folder of the package.
func (p place) folder() string { return filepath.Dir(p.file) }

// where names the functions.
func (p place) where() string {
	in := filepath.Base(p.folder())
	if in == "." {
		in = "healkv"
	}
	return in + ": " + strings.Join(p.funcs, ", ")
}

// consts gives the names of the bugs as the code spells them.
func consts(t *testing.T) map[string]plant.Bug {
	files, err := filepath.Glob(root + "/dataplane/plant/bugs*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no files with bugs", err)
	}
	names := map[string]plant.Bug{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
				if s, ok := v.Values[0].(*ast.BasicLit); ok && s.Kind == token.STRING {
					names[v.Names[0].Name] = plant.Bug(strings.Trim(s.Value, `"`))
				}
			}
			return true
		})
	}
	return names
}

// places finds every plant.Is and plant.At in the product.
func places(t *testing.T) map[plant.Bug]place {
	names, found := consts(t), map[plant.Bug]place{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, root+"/"))
		if d.IsDir() && (d.Name() == ".git" || name == "dataplane/plant" || name == "bin" || name == "out") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			in, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(in, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := s.X.(*ast.Ident); !ok || x.Name != "plant" {
					return true
				}
				if s.Sel.Name == "Is" || s.Sel.Name == "At" || s.Sel.Name == "On" || s.Sel.Name == "Bug" {
					return true
				}
				b, ok := names[s.Sel.Name]
				if !ok {
					t.Errorf("%s: plant.%s is no bug of the list", name, s.Sel.Name)
					return true
				}
				p := found[b]
				if p.file != "" && p.file != name {
					t.Errorf("%s is planted in %s and in %s: one place each", b, p.file, name)
				}
				p.file = name
				p.uses++
				if !slices.Contains(p.funcs, in.Name.Name) {
					p.funcs = append(p.funcs, in.Name.Name)
				}
				found[b] = p
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestTableAndCode: every bug of the list has its place in the code and a row
// in the table, and nothing else has.
func TestTableAndCode(t *testing.T) {
	places := places(t)
	names := consts(t)
	if len(names) != len(plant.All) {
		t.Errorf("%d constants, %d bugs in plant.All", len(names), len(plant.All))
	}
	if len(plant.All) < 60 {
		t.Errorf("only %d bugs: this test looks at the wrong place", len(plant.All))
	}
	rows := map[plant.Bug]int{}
	seen := map[string]bool{}
	for _, r := range table {
		if r.left == "" || len(r.bugs) == 0 || r.by == (check{}) && r.why == "" {
			t.Errorf("%s: a row says what is left out, and which check finds it", r.name())
		}
		if seen[r.name()] {
			t.Errorf("%s: two rows", r.name())
		}
		seen[r.name()] = true
		for _, b := range r.bugs {
			rows[b]++
		}
	}
	for i, b := range plant.All {
		if slices.Contains(plant.All[:i], b) {
			t.Errorf("%s: twice", b)
		}
		if places[b].uses == 0 {
			t.Errorf("%s is planted nowhere", b)
		}
		if rows[b] == 0 {
			t.Errorf("%s has no row in the table", b)
		}
	}
	t.Logf("%d bugs in %d rows", len(plant.All), len(table))
}

// TestEveryHazardHasABug: the hazards of protocol.md that the code can lack a
// cure of.
func TestEveryHazardHasABug(t *testing.T) {
	for n := 1; n <= 30; n++ {
		prefix := "H" + string(rune('0'+n/10)) + string(rune('0'+n%10)) + "-"
		if n < 10 {
			prefix = "H" + string(rune('0'+n)) + "-"
		}
		_, without := noCure[n]
		has := slices.ContainsFunc(plant.All, func(b plant.Bug) bool { return strings.HasPrefix(string(b), prefix) })
		if has == without {
			t.Errorf("H%d: planted: %v, excused: %v", n, has, without)
		}
	}
}
