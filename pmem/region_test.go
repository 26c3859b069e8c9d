package pmem

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// fileDir is a directory on a real file system, memDir one on tmpfs.
func fileDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if mem, err := onTmpfs(f); err != nil || mem {
		t.Skipf("missing feature: a temporary directory on a real file system (%v)", err)
	}
	return dir
}

func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pmem-test-")
	if err != nil {
		t.Skipf("missing feature: writable /dev/shm (%v)", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestDomainText(t *testing.T) {
	for d := DomainAuto; d <= DomainMemory; d++ {
		text, _ := d.MarshalText()
		var back Domain
		if err := back.UnmarshalText(text); err != nil || back != d {
			t.Fatalf("%s: got %s, %v", text, back, err)
		}
	}
	var d Domain
	if err := d.UnmarshalText([]byte("disk")); !errors.Is(err, ErrDomain) {
		t.Fatalf("unknown domain: %v", err)
	}
}

func TestRegionKeepsBytes(t *testing.T) {
	const size = 5<<20 + 4096
	for _, c := range []struct {
		domain Domain
		dir    string
	}{{DomainFile, fileDir(t)}, {DomainMemory, memDir(t)}} {
		path := filepath.Join(c.dir, "region")
		r, err := MapRegion(path, size, c.domain, MapOptions{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		if a := r.mapped.addr; a%hugeBytes != 0 {
			t.Fatalf("mapping at %#x is not 2 MiB aligned", a)
		}
		if len(r.Bytes()) != size || r.Domain() != c.domain {
			t.Fatalf("got %d bytes, domain %s", len(r.Bytes()), r.Domain())
		}
		if !bytes.Equal(r.Bytes(), make([]byte, size)) {
			t.Fatal("a fresh region is not zero")
		}
		calls := 0
		r.SetSyncHook(func() error { calls++; return nil })
		copy(r.Bytes()[4090:], "across a page")
		if err := r.Persist(4090, 13); err != nil {
			t.Fatal(err)
		}
		if err := r.Drain(); err != nil || calls != 1 {
			t.Fatalf("an empty drain: %v, %d syncs", err, calls)
		}
		if p := r.PageSize(); p != 4096 && p != hugeBytes {
			t.Fatalf("page size %d", p)
		}
		t.Run("page size", func(t *testing.T) { samePages(t, r) })
		t.Logf("%s: granularity %s, page size %d, instruction %q", r.Domain(), r.Granularity(), r.PageSize(), FlushInstruction())
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r, err = MapRegion(path, 0, DomainAuto, MapOptions{ReadOnly: true, Populate: true})
		if err != nil {
			t.Fatal(err)
		}
		if r.Domain() != c.domain || string(r.Bytes()[4090:4103]) != "across a page" {
			t.Fatalf("read back %q in domain %s", r.Bytes()[4090:4103], r.Domain())
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := MapRegion(path, size, c.domain, MapOptions{Create: true}); !errors.Is(err, os.ErrExist) {
			t.Fatalf("creating over an existing file: %v", err)
		}
		if _, err := MapRegion(path, size+1, c.domain, MapOptions{}); !errors.Is(err, ErrSize) {
			t.Fatalf("mapping beyond the end: %v", err)
		}
	}
}

func TestDomainIsNeverDegraded(t *testing.T) {
	disk, mem := filepath.Join(fileDir(t), "r"), filepath.Join(memDir(t), "r")
	for _, c := range []struct {
		path   string
		domain Domain
	}{{disk, DomainMemory}, {mem, DomainFile}, {disk, DomainDAX}, {mem, DomainDAX}} {
		_, err := MapRegion(c.path, 1<<20, c.domain, MapOptions{Create: true})
		if !errors.Is(err, ErrDomain) {
			t.Fatalf("%s at %s: %v", c.domain, c.path, err)
		}
		if _, err := os.Stat(c.path); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%s left behind: %v", c.path, err)
		}
		t.Log(err)
	}
}

// daxDir is a directory on the DAX mount that was declared; make lab-test has
// one.
func daxDir(t testing.TB) string {
	t.Helper()
	mount := os.Getenv("HEALKV_DAX_DIR")
	if mount == "" {
		t.Skip("missing feature: a DAX mount (HEALKV_DAX_DIR)")
	}
	dir, err := os.MkdirTemp(mount, "pmem-test-")
	if err != nil {
		t.Fatal(err) // declared, so it must be there
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestDAX(t *testing.T) {
	path := filepath.Join(daxDir(t), "region")
	r, err := MapRegion(path, 1<<20, DomainDAX, MapOptions{Create: true})
	if err != nil {
		t.Fatal(err) // declared, so it must work
	}
	copy(r.Bytes()[100:], "line")
	if err := r.Persist(100, 4); err != nil {
		t.Fatal(err)
	}
	r.Close()
}

// The instructions must at least leave the bytes alone and not fault at the
// edges of a mapping; a missing flush shows only on a recording region.
func TestFlushInstructions(t *testing.T) {
	if FlushInstruction() == "" {
		t.Skip("missing feature: a cache-line flush instruction")
	}
	r, err := MapRegion(filepath.Join(memDir(t), "r"), 1<<16, DomainMemory, MapOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.domain = DomainDAX // same stores and flushes, media aside
	b := r.Bytes()
	n := 0
	for _, c := range [][2]int{{0, 1}, {0, 64}, {63, 2}, {1, 63}, {4095, 4098}, {len(b) - 1, 1}, {0, len(b)}, {5, 0}} {
		for i := range c[1] {
			b[c[0]+i] = byte(i + 1)
		}
		if err := r.Persist(c[0], c[1]); err != nil {
			t.Fatal(err)
		}
		for i := range c[1] {
			if b[c[0]+i] != byte(i+1) {
				t.Fatalf("byte %d changed", c[0]+i)
			}
		}
		n++
	}
	t.Logf("%s: %d ranges", FlushInstruction(), n)
}

func TestFailedDrainIsFinal(t *testing.T) {
	r := HeapRegion(4096)
	boom := errors.New("no such line")
	fail := true
	r.SetSyncHook(func() error {
		if fail {
			return boom
		}
		return nil
	})
	if err := r.Persist(0, 8); !errors.Is(err, ErrFlush) || !errors.Is(err, boom) {
		t.Fatalf("first drain: %v", err)
	}
	fail = false
	if err := r.Persist(0, 8); !errors.Is(err, ErrFlush) {
		t.Fatalf("a later drain reported success: %v", err)
	}
	if !errors.Is(r.Failed(), ErrFlush) {
		t.Fatal("failure forgotten")
	}
}

func BenchmarkPersist(b *testing.B) {
	for _, c := range []struct {
		name   string
		dir    string
		domain Domain
	}{{"memory", memDir(b), DomainMemory}, {"lines", memDir(b), DomainDAX}, {"file", fileDir(b), DomainFile}} {
		b.Run(c.name, func(b *testing.B) {
			path := filepath.Join(c.dir, "bench")
			os.Remove(path)
			open := c.domain
			if open == DomainDAX {
				open = DomainMemory
			}
			r, err := MapRegion(path, 8<<20, open, MapOptions{Create: true, Populate: true})
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			r.domain = c.domain
			b.ReportAllocs()
			b.SetBytes(4096)
			for i := range b.N {
				off := i * 4096 % len(r.Bytes())
				r.Bytes()[off] = byte(i)
				if err := r.Persist(off, 4096); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// samePages: looking at some places tells what counting all pages does.
func samePages(t *testing.T, r *Region) {
	t.Helper()
	some, err := scannedPages(&r.mapped)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
		t.Skipf("missing feature: PAGEMAP_SCAN (%v)", err)
	}
	all, err2 := mappedPages(r.mapped.addr)
	if err != nil || err2 != nil || some != all {
		t.Errorf("pages of %d bytes by looking at some places (%v), %d by counting all (%v)", some, err, all, err2)
	}
}
