package tidy

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a pure package may not do, seen in its typed syntax tree.
func TestPurePackagesOnlyCompute(t *testing.T) {
	exports := map[string]string{}
	var args []string
	for _, folder := range pure {
		if _, err := os.Stat(filepath.Join(root, folder)); err == nil {
			args = append(args, "./"+folder)
		}
	}
	list := goList(t, append([]string{"-export", "-deps"}, args...)...)
	for i := range list {
		exports[list[i].ImportPath] = list[i].Export
	}
	nodes, checked := 0, 0
	for i := range list {
		p := &list[i]
		if p.Standard || !strings.HasPrefix(p.ImportPath, module+"/") {
			continue
		}
		if p.Error != nil {
			t.Errorf("%s: %s", p.ImportPath, p.Error.Err)
			continue
		}
		fset, parsed := token.NewFileSet(), []*ast.File(nil)
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, f)
		}
		info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
		look := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
		conf := types.Config{Importer: importer.ForCompiler(fset, "gc", look)}
		if _, err := conf.Check(p.ImportPath, fset, parsed, info); err != nil {
			t.Errorf("%s: %v", p.ImportPath, err)
			continue
		}
		checked++
		for _, f := range parsed {
			nodes += inspect(f, info, func(at token.Pos, what string) {
				pos := fset.Position(at)
				t.Errorf("%s/%s:%d: %s in a pure package", p.folder(), filepath.Base(pos.Filename), pos.Line, what)
			})
		}
	}
	if checked == 0 {
		t.Error("no pure package was checked")
	}
	t.Logf("%d packages, %d syntax nodes", checked, nodes)
}

// inspect reports everything in f that waits, starts something, prints, or
// depends on a map's order. It returns how many nodes it has seen.
func inspect(f *ast.File, info *types.Info, report func(token.Pos, string)) (seen int) {
	ast.Inspect(f, func(n ast.Node) bool {
		seen++
		switch n := n.(type) {
		case *ast.GoStmt:
			report(n.Pos(), "a go statement")
		case *ast.SelectStmt:
			report(n.Pos(), "a select statement")
		case *ast.SendStmt:
			report(n.Pos(), "a channel send")
		case *ast.ChanType:
			report(n.Pos(), "a channel type")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				report(n.Pos(), "a channel receive")
			}
		case *ast.RangeStmt:
			switch info.TypeOf(n.X).Underlying().(type) {
			case *types.Map:
				report(n.Pos(), "a range over a map, whose order is random,")
			case *types.Chan:
				report(n.Pos(), "a range over a channel")
			}
		case *ast.Ident:
			switch o := info.Uses[n].(type) {
			case *types.Builtin:
				if o.Name() == "print" || o.Name() == "println" {
					report(n.Pos(), o.Name())
				}
			case *types.Func:
				if o.Pkg() != nil && o.Pkg().Path() == "fmt" && printsOrReads(o.Name()) {
					report(n.Pos(), "fmt."+o.Name())
				}
			}
		}
		return true
	})
	return seen
}

func printsOrReads(name string) bool {
	for _, prefix := range []string{"Print", "Fprint", "Scan", "Fscan"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// The check itself must see what it forbids.
func TestPureCheckSeesWhatItForbids(t *testing.T) {
	const planted = `package p
import "fmt"
func f(m map[int]int, c chan int) {
	for range m {}
	for range c {}
	go f(m, c)
	c <- 1
	<-c
	select {}
	println()
	fmt.Println()
	for i := range 3 { _ = fmt.Sprint(i) }
}`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", planted, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
	if _, err := conf.Check("p", fset, []*ast.File{f}, info); err != nil {
		t.Fatal(err)
	}
	lines := map[int]bool{}
	inspect(f, info, func(at token.Pos, what string) {
		lines[fset.Position(at).Line] = true
		if strings.Contains(what, "Sprint") {
			t.Errorf("%s is harmless", what)
		}
	})
	var missed []string
	for line := 3; line <= 11; line++ {
		if !lines[line] {
			missed = append(missed, fmt.Sprintf("%d: %s", line, strings.Split(planted, "\n")[line-1]))
		}
	}
	if len(missed) > 0 || lines[12] {
		t.Fatalf("not reported: %q; reported: %v", missed, lines)
	}
}
