package tidy

import (
	"bytes"
	"go/format"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tags are the build tags under which the project has files of its own.
var tags = []string{"", "process"}

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
	for _, tag := range tags {
		run(t, "go", "vet", "-tags="+tag, "./...")
	}
}

// Staticcheck is pinned by scripts/tools/go.mod.
func TestStaticcheck(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "staticcheck")
	run(t, "go", "build", "-C", "scripts/tools", "-o", binary, "honnef.co/go/tools/cmd/staticcheck")
	for _, tag := range tags {
		cmd := exec.Command(binary, "-tags="+tag, "./...")
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("staticcheck -tags=%s: %v\n%s", tag, err, out)
		}
	}
}
