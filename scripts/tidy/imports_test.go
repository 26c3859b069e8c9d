package tidy

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pure lists the packages that decide and never do: no I/O, no clock, no
// goroutine, no lock, nothing whose order depends on anything but the input.
var pure = []string{
	"dataplane/plant",
	"dataplane/proto",
	"dataplane/replica",
	"heal/membership/blame",
	"heal/membership/grant",
	"heal/membership/register",
	"heal/membership/suspect",
	"heal/mending",
	"heal/rejoin",
	"pmem/index",
	"pmem/record",
	"pmem/seglog",
	"pmem/store",
	"rdma/ring",
}

// pureMay is everything a pure package may import besides pure packages. Those
// of the standard library that reach the operating system (fmt does, for
// Printf) are held to their harmless half by TestPurePackagesOnlyCompute.
var pureMay = []string{
	"bytes", "cmp", "encoding/binary", "errors", "fmt", "hash/crc32", "iter", "math", "math/bits",
	"slices", "sort", "strconv", "strings", "sync/atomic", "unsafe",
	"github.com/zeebo/xxh3", // the keyed hash; reaches the processor's features, nothing else
	"healkv/rdma",           // words only: Marks, the Endpoint interface, names; see TestWordsOfTheTransport
}

// pureMayToo are exceptions of single packages, each with its reason.
var pureMayToo = map[string][]string{
	// A reader that must wait for the cleaner to leave yields: runtime.Gosched.
	// Readers and the worker note what they find damaged: rare, and under a lock.
	"pmem/store": {"runtime", "sync"},
}

// mayImport says which folders of this module a folder's packages may import,
// tests aside. The longest matching folder counts; a folder may always import
// itself and what is below it.
var mayImport = []struct {
	folder string
	may    []string
}{
	{"dataplane/plant", nil}, // bugs planted in tests; the constant false in a product
	{"dataplane/proto", []string{"dataplane/plant"}},
	{"dataplane/sched", nil},
	{"dataplane/replica", append([]string{"rdma"}, pure...)},
	{"dataplane/resp", []string{"dataplane", "dataplane/plant", "dataplane/proto"}},
	{"dataplane/flow", nil},
	{"dataplane", []string{"dataplane/plant", "dataplane/proto", "dataplane/flow", "dataplane/sched", "dataplane/replica", "rdma/...", "pmem/..."}},
	{"rdma", []string{"dataplane/plant", "dataplane/proto", "pmem/record", "cgo/..."}},
	{"cgo", nil},
	{"pmem", []string{"dataplane/plant", "dataplane/proto", "dataplane/sched"}},
	{"heal/identity", []string{"dataplane/plant", "dataplane/proto"}},
	{"heal/control", []string{"dataplane/plant", "dataplane/proto", "heal/identity"}},
	{"heal/membership", []string{"dataplane/plant", "dataplane/proto", "dataplane/flow", "heal/control"}},
	// Recovery hands batches of records to the shard worker, which alone writes
	// log and index: dataplane.Worker, dataplane.Batch.
	{"heal", append([]string{"dataplane", "dataplane/flow", "dataplane/sched", "rdma/...", "pmem/..."}, pure...)},
	// The simulation wires whole nodes, as the root package does.
	{"heal/simulation", []string{".", "dataplane/...", "rdma/...", "pmem/...", "heal/...", "bench/check", "bench/tally"}},
	{"heal/explore", []string{"dataplane/...", "rdma/...", "pmem/...", "heal/...", "bench/check", "bench/tally"}},
	{".", []string{"dataplane/...", "rdma/...", "pmem/...", "heal/..."}},
	{"cmd", []string{"./...", "bench/..."}},
	// It reads what the commands wrote.
	{"bench/measure", []string{"bench/floor", "bench/report", "cmd/node/demo"}},
	{"bench", []string{".", "dataplane/...", "rdma/...", "pmem/...", "heal/..."}},
	{"scripts", nil},
}

// modules says which folders may import a module of someone else, tests aside.
var modules = map[string][]string{
	"github.com/HdrHistogram/hdrhistogram-go": {"bench"},
	"github.com/Mellanox/rdmamap":             {"rdma", "cgo"},
	"github.com/anishathalye/porcupine":       {"bench"},
	"github.com/cilium/ebpf":                  {"bench"},
	"github.com/klauspost/compress":           {"bench", "heal", "rdma"},
	"github.com/pelletier/go-toml/v2":         {"cmd"},
	"github.com/redis/go-redis/v9":            {"bench"},
	"github.com/zeebo/xxh3":                   {".", "bench", "dataplane", "heal", "pmem"},
	"golang.org/x/sys":                        {".", "bench", "cmd", "dataplane", "heal", "pmem", "rdma"},
}

// under tells whether folder is pattern, or lies below it where the pattern
// ends in /... .
func under(folder, pattern string) bool {
	if pattern == "./..." {
		return true
	}
	base, tree := strings.CutSuffix(pattern, "/...")
	return folder == base || tree && strings.HasPrefix(folder, base+"/")
}

func TestWhoMayImportWhom(t *testing.T) {
	edges := 0
	for _, p := range packages(t) {
		folder := p.folder()
		var rule []string
		matched := ""
		for _, r := range mayImport {
			if under(folder, r.folder+"/...") && r.folder != "." && len(r.folder) > len(matched) || folder == "." && r.folder == "." {
				rule, matched = r.may, r.folder
			}
		}
		if matched == "" {
			t.Errorf("%s: no rule says what this folder may import; the house plan does not know it", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			ours, inside := strings.CutPrefix(imported, module+"/")
			if imported == module {
				ours, inside = ".", true
			}
			switch {
			case inside:
				edges++
				if !slices.ContainsFunc(rule, func(pattern string) bool { return under(ours, pattern) }) &&
					(matched == "." || !under(ours, matched+"/...")) {
					t.Errorf("%s imports %s: not allowed for %s", p.ImportPath, imported, matched)
				}
			case strings.Contains(strings.Split(imported, "/")[0], "."):
				edges++
				if !moduleAllowed(imported, matched) {
					t.Errorf("%s imports %s: not in the list of modules for %s", p.ImportPath, imported, matched)
				}
			}
		}
	}
	t.Logf("%d imports of %d packages", edges, len(packages(t)))
}

func moduleAllowed(imported, folder string) bool {
	for name, folders := range modules {
		if under(imported, name+"/...") {
			return slices.Contains(folders, strings.Split(folder, "/")[0])
		}
	}
	return false
}

// A pure package imports pure packages and what is on the list: by induction
// it reaches no system call of its own.
func TestPurePackagesImportNothingThatActs(t *testing.T) {
	found := map[string]*pkg{}
	all := packages(t)
	for i := range all {
		found[all[i].folder()] = &all[i]
	}
	for _, folder := range pure {
		p := found[folder]
		if p == nil {
			t.Errorf("%s is on the list of pure packages and does not exist", folder)
			continue
		}
		for _, imported := range p.Imports {
			ours, inside := strings.CutPrefix(imported, module+"/")
			if !slices.Contains(pureMay, imported) && !slices.Contains(pureMayToo[folder], imported) && !(inside && slices.Contains(pure, ours)) {
				t.Errorf("%s is pure and imports %s", folder, imported)
			}
		}
	}
}

// The root of rdma declares what providers implement, and keeps the list of
// those that are built in (hence sync). It does no I/O and reads no clock, so that the pure state machine may name watermarks as it does.
func TestWordsOfTheTransport(t *testing.T) {
	for _, p := range packages(t) {
		if p.folder() != "rdma" {
			continue
		}
		for _, imported := range p.Imports {
			if !slices.Contains([]string{"context", "crypto/tls", "log/slog", "errors", "fmt", "slices", "strings", "sync", "time", "healkv/rdma/ring"}, imported) {
				t.Errorf("rdma imports %s", imported)
			}
		}
		return
	}
	t.Error("rdma does not exist")
}

func TestUnsafeAndCKeepTheirPlaces(t *testing.T) {
	unsafeFiles, checked := 0, 0
	files(t, func(path string, text []byte) {
		if !strings.HasSuffix(path, ".go") {
			return
		}
		checked++
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		for _, i := range file.Imports {
			switch imported, _ := strconv.Unquote(i.Path.Value); imported {
			case "unsafe":
				unsafeFiles++
				if base := filepath.Base(path); !strings.HasSuffix(base, "_unsafe.go") && !strings.HasSuffix(base, "_unsafe_test.go") {
					t.Errorf("%s imports unsafe: only files named *_unsafe.go may", path)
				}
			case "C":
				if !strings.HasPrefix(path, "cgo/") {
					t.Errorf("%s imports C: only cgo/ may", path)
				}
			}
		}
	})
	if unsafeFiles == 0 {
		t.Error("no file imports unsafe: this test looks at the wrong place")
	}
	t.Logf("%d Go files, %d with unsafe", checked, unsafeFiles)
}
