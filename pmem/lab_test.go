//go:build lab

package pmem

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The tests of this file run in the lab machine (scripts/lab/dax.sh), which
// names a DAX mount and an ordinary mount of the same file system.

func declared(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv(name)
	if dir == "" {
		t.Fatalf("%s is not set: run scripts/lab/dax.sh", name)
	}
	return dir
}

// TestLabPoolOnDAX: the pool says that it is mapped with MAP_SYNC and flushed
// with CLWB, and the kernel says so too.
func TestLabPoolOnDAX(t *testing.T) {
	at := place{filepath.Join(declared(t, "HEALKV_DAX_DIR"), "pool"), memDir(t)}
	if err := os.Mkdir(at.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(at.dir)
	at.format(t, DomainAuto, dataOffset+32*segmentBytesMin) // auto finds out by itself
	o := at.options()
	o.Domain = DomainDAX
	p, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	info := p.Info()
	if info.Domain != DomainDAX || info.Granularity != "cache line" || info.FlushInstruction != "CLWB" {
		t.Errorf("domain %s, granularity %s, flush %q; want dax, cache line, CLWB", info.Domain, info.Granularity, info.FlushInstruction)
	}
	if cpuFlush != flushCLWB || !cpuHas(t, "clwb") {
		t.Errorf("flush kind %d, processor has clwb: %t", cpuFlush, cpuHas(t, "clwb"))
	}
	if flags := vmFlags(t, info.Path); !strings.Contains(flags, " sf") {
		t.Errorf("mapping of %s has the flags%s: sf (MAP_SYNC) is not among them", info.Path, flags)
	}
	begin(t, p, p.Recovered().PreviousIncarnation+1)
	calls, bytes := 0, 0
	p.region.SetFlushHook(func(off, n int) { calls++; bytes += n })
	for i := range 1000 {
		put(p, i, uint64(i+1), false)
	}
	flush(t, p)
	if calls == 0 || bytes < 1000*64 {
		t.Errorf("1000 records flushed in %d calls of %d bytes", calls, bytes)
	}
	closePool(t, p, true)
	p = at.open(t)
	for i := range 1000 {
		check(t, p, i, uint64(i+1), true) // nobody has said that they are stable
	}
	closePool(t, p, false)
	t.Logf("domain %s, %s, MAP_SYNC, 1000 records, %d bytes flushed by %d calls", info.Domain, info.FlushInstruction, bytes, calls)
}

// TestLabNotOnDAX: the same file system mounted without DAX is refused, the
// message says why and what to do, and nothing is left.
func TestLabNotOnDAX(t *testing.T) {
	cases := 0
	for _, dir := range []string{declared(t, "HEALKV_NODAX_DIR"), memDir(t)} {
		o := testFormat(filepath.Join(dir, "pool"), memDir(t), DomainDAX)
		if err := os.Mkdir(o.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(o.Dir)
		o.SizeBytes = dataOffset + 32*segmentBytesMin
		err := Format(o)
		if !errors.Is(err, ErrDomain) {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, part := range []string{"dax asked for", o.Dir, "MAP_SYNC refused", "-o dax", "or ask for file"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q is not in %q", part, err)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(o.Dir, "*.pool")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		t.Log(err)
		cases++
	}
	t.Logf("%d places without DAX refused", cases)
}

func cpuHas(t *testing.T, flag string) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, rest, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "flags" {
			return strings.Contains(" "+strings.TrimSpace(rest)+" ", " "+flag+" ")
		}
	}
	return false
}

// vmFlags reads what the kernel notes of a file's mapping, proc_pid_smaps(5).
func vmFlags(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inside := false
	for in := bufio.NewScanner(f); in.Scan(); {
		line := in.Text()
		if first, _, _ := strings.Cut(line, " "); strings.Contains(first, "-") && !strings.HasSuffix(first, ":") {
			inside = strings.HasSuffix(line, path)
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			return flags
		}
	}
	t.Fatalf("%s is not mapped", path)
	return ""
}
