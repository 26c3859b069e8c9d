package pmem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSecondHolderIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, err := lockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// flock belongs to the open file, so a second open of the same process
	// conflicts like another process does.
	if _, err := lockFile(path); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Fatalf("second lock: %v", err)
	}
	if err := a.release(); err != nil {
		t.Fatal(err)
	}
	b, err := lockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b.remove()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestFaultBecomesError(t *testing.T) {
	path := filepath.Join(memDir(t), "r")
	r, err := MapRegion(path, 4<<20, DomainMemory, MapOptions{Create: true, Sparse: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	var sum byte
	err = Guard(func() error { sum += r.Bytes()[3<<20]; return nil })
	if !errors.Is(err, ErrFault) {
		t.Fatalf("got %v (%d)", err, sum)
	}
	t.Log(err)
}

func TestHugeTmpfs(t *testing.T) {
	dir := t.TempDir()
	mounted, err := HugeTmpfs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !mounted {
		t.Skip("missing feature: permission to mount a tmpfs with huge pages")
	}
	defer func() {
		if err := UnmountTmpfs(dir); err != nil {
			t.Error(err)
		}
		if err := UnmountTmpfs(dir); err != nil {
			t.Errorf("second unmount: %v", err)
		}
	}()
	if again, err := HugeTmpfs(dir); err != nil || !again {
		t.Fatalf("asked again: %t, %v", again, err)
	}
	r, err := MapRegion(filepath.Join(dir, "r"), 16<<20, DomainMemory, MapOptions{Create: true, Populate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	t.Logf("page size got: %d", r.PageSize())
	if r.PageSize() != hugeBytes {
		t.Errorf("mounted with huge pages, got pages of %d bytes", r.PageSize())
	}
	samePages(t, r)
	small := filepath.Join(dir, "small")
	if err := os.WriteFile(small, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(small, &st); err != nil {
		t.Fatal(err)
	}
	if bytes := st.Blocks * 512; bytes >= hugeBytes {
		t.Errorf("a file of one byte takes %d", bytes)
	}
}

func TestHugeTmpfsHidesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if mounted, err := HugeTmpfs(dir); err == nil || mounted {
		t.Fatalf("mounted over a file: %t, %v", mounted, err)
	}
}

// BenchmarkPageSize: what the first status of a process with 256 MiB of huge pages
// costs it.
func BenchmarkPageSize(b *testing.B) {
	dir := memDir(b)
	if mounted, err := HugeTmpfs(dir); err != nil || !mounted {
		b.Skipf("missing feature: permission to mount a tmpfs with huge pages (%v)", err)
	}
	defer UnmountTmpfs(dir)
	r, err := MapRegion(filepath.Join(dir, "r"), 256<<20, DomainMemory, MapOptions{Create: true, Populate: true})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.Run("some", func(b *testing.B) {
		for b.Loop() {
			if _, err := scannedPages(&r.mapped); err != nil {
				b.Skipf("missing feature: PAGEMAP_SCAN (%v)", err)
			}
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			if _, err := mappedPages(r.mapped.addr); err != nil {
				b.Fatal(err)
			}
		}
	})
}
