package tidy

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Names that say nothing about what is inside.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "base"}

func TestPackagesHaveNamesAndDocs(t *testing.T) {
	all := packages(t)
	for _, p := range all {
		for _, part := range strings.Split(p.folder(), "/") {
			if slices.Contains(emptyNames, part) || slices.Contains(emptyNames, p.Name) {
				t.Errorf("%s: a package's name says what is inside", p.ImportPath)
				break
			}
		}
		if len(p.GoFiles)+len(p.CgoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s: no package comment", p.ImportPath)
		}
	}
	t.Logf("%d packages", len(all))
}

// Words that do not belong into the project, put together here so that this
// file does not hold them: where packages come from is the reader's affair,
// and paths of one machine mean nothing on another.
func TestNoForeignPlaces(t *testing.T) {
	var banned [][]byte
	for _, parts := range [][2]string{
		{"proxy.golang", ".org"}, {"sum.golang", ".org"}, {"goproxy", ".io"}, {"goproxy", ".cn"},
		{"pypi", ".org"}, {"pythonhosted", ".org"}, {"registry.npm", "js"}, {"static.crates", ".io"},
		{"index.crates", ".io"}, {"repo1.", "maven"}, {"repo.maven", ".apache"},
		{"deb.debian", ".org"}, {"security.debian", ".org"}, {"archive.ubuntu", ".com"},
		{"/wo", "rk/main"}, {"/wo", "rk/shared"}, {"/wo", "rk/."}, {"/tmp/con", "tract"},
	} {
		banned = append(banned, []byte(parts[0]+parts[1]))
	}
	checked := 0
	files(t, func(path string, text []byte) {
		checked++
		for _, word := range banned {
			if at := bytes.Index(text, word); at >= 0 {
				t.Errorf("%s:%d: %s does not belong here", path, 1+bytes.Count(text[:at], []byte("\n")), word)
			}
		}
	})
	t.Logf("%d files, %d words", checked, len(banned))
}

// Scripts must run where they are checked out, and be readable.
func TestShellScripts(t *testing.T) {
	checked := 0
	files(t, func(path string, text []byte) {
		if filepath.Ext(path) != ".sh" && path != ".ci/run" {
			return
		}
		checked++
		if !bytes.HasPrefix(text, []byte("#!")) {
			t.Errorf("%s: no #! line", path)
		}
		if !bytes.Contains(text, []byte("\nset -eu")) {
			t.Errorf("%s: without set -eu an error goes unnoticed", path)
		}
	})
	if checked == 0 {
		t.Error("no script found")
	}
	t.Logf("%d scripts", checked)
}
