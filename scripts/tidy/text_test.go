package tidy

import (
	"bytes"
	"path/filepath"
	"regexp"
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

// hosts may stand in links; where packages come from is the reader's affair.
// A name without a dot, or with nothing but digits and dots, is a test's.
var hosts = []string{"arxiv.org", "creativecommons.org", "github.com", "www.apache.org", "www.w3.org"}

var link = regexp.MustCompile(`https?://([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)`)

// ownMachine matches paths that mean something on one machine only.
var ownMachine = regexp.MustCompile(`/wor[k]/(main|shared)`)

func TestNoForeignPlaces(t *testing.T) {
	checked, links := 0, 0
	files(t, func(path string, text []byte) {
		checked++
		line := func(at int) int { return 1 + bytes.Count(text[:at], []byte("\n")) }
		for _, m := range link.FindAllSubmatchIndex(text, -1) {
			links++
			host := string(text[m[2]:m[3]])
			if strings.Contains(host, ".") && strings.Trim(host, "0123456789.") != "" && !slices.Contains(hosts, host) {
				t.Errorf("%s:%d: a link to %s", path, line(m[0]), host)
			}
		}
		if m := ownMachine.FindIndex(text); m != nil {
			t.Errorf("%s:%d: %s does not belong here", path, line(m[0]), text[m[0]:m[1]])
		}
	})
	if links == 0 {
		t.Error("no link found, not even the paper's")
	}
	t.Logf("%d files, %d links", checked, links)
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
