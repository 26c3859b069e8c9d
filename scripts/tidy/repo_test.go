package tidy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "healkv"

// root is the repository, seen from this package's directory.
const root = "../.."

// pkg is what `go list` says about a package.
type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	Doc        string
	GoFiles    []string
	CgoFiles   []string
	Imports    []string
	Export     string
	Standard   bool
	Error      *struct{ Err string }
}

// folder is the package's directory below the root, "." for the root.
func (p *pkg) folder() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

func goList(t *testing.T, args ...string) []pkg {
	t.Helper()
	out := run(t, "go", append([]string{"list", "-e", "-json=ImportPath,Dir,Name,Doc,GoFiles,CgoFiles,Imports,Export,Standard,Error"}, args...)...)
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

var packages = sync.OnceValue(func() func(*testing.T) []pkg {
	var once sync.Once
	var all []pkg
	return func(t *testing.T) []pkg {
		once.Do(func() { all = goList(t, "./...") })
		if len(all) < 5 {
			t.Fatalf("go list found only %d packages", len(all))
		}
		return all
	}
})()

// run executes a tool in the root and returns its standard output; a failure
// fails the test with everything the tool said.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = root
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out.String(), complaint.String())
	}
	return out.String()
}

// files calls fn for every file that belongs to the project, with its path
// from the root.
func files(t *testing.T, fn func(path string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == ".git" || name == "bin" || name == "out" || name == "demo-out" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || name == ".git" { // of a linked work tree
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fn(name, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
