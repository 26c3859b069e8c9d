package tidy

import (
	"bytes"
	"go/format"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tags adds the files that only some builds have: one run then sees all.
const tags = "-tags=process,lab"

func TestGofmt(t *testing.T) {
	checked := 0
	files(t, func(path string, text []byte) {
		if !strings.HasSuffix(path, ".go") {
			return
		}
		formatted, err := format.Source(text)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !bytes.Equal(formatted, text) {
			t.Errorf("%s: not formatted; run make fmt", path)
		}
		checked++
	})
	if checked < 10 {
		t.Fatalf("only %d Go files found", checked)
	}
	t.Logf("%d Go files", checked)
}

func TestVet(t *testing.T) {
	run(t, "go", "vet", tags, "./...")
}

// Staticcheck is pinned by scripts/tools/go.mod.
func TestStaticcheck(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "staticcheck")
	run(t, "go", "build", "-C", "scripts/tools", "-o", binary, "honnef.co/go/tools/cmd/staticcheck")
	cmd := exec.Command(binary, tags, "./...")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("staticcheck: %v\n%s", err, out)
	}
}
