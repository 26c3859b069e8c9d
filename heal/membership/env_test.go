package membership

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOnlyTheEnvironmentWaits reads this package: what waits, starts a task or
// looks at the clock beside flow.Env would not be in the simulation.
func TestOnlyTheEnvironmentWaits(t *testing.T) {
	banned := map[string][]string{
		"time":    {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
		"context": {"WithTimeout", "WithDeadline", "AfterFunc"},
		"sync":    {"WaitGroup", "Cond"},
		"lease":   {"Now"},
	}
	files := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if strings.Contains(i.Path.Value, "rand") {
				t.Errorf("%s imports %s: the environment has random numbers", name, i.Path.Value)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			looked++
			what := ""
			switch n := n.(type) {
			case *ast.GoStmt:
				what = "a go statement"
			case *ast.SelectStmt:
				what = "a select statement"
			case *ast.SendStmt:
				what = "a send to a channel"
			case *ast.UnaryExpr:
				if n.Op == token.ARROW {
					what = "a receive from a channel"
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && slices.Contains(banned[x.Name], n.Sel.Name) {
					what = x.Name + "." + n.Sel.Name
				}
			}
			if what != "" {
				t.Errorf("%v: %s; take flow.Env", files.Position(n.Pos()), what)
			}
			return true
		})
	}
	if looked < 1000 {
		t.Fatalf("looked at %d nodes of the syntax only", looked)
	}
}
