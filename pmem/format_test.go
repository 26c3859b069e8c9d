package pmem

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const testPoolBytes = dataOffset + 12*segmentBytesMin

func testFormat(dir, index string, d Domain) FormatOptions {
	return FormatOptions{
		Dir: dir, IndexDir: index, SizeBytes: testPoolBytes, Domain: d,
		Identity: Identity{Cluster: [16]byte{0xc1}, Node: 3, Shard: 1, Shards: 2, HashSeed: 99},
	}
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestFormatRefusesExisting(t *testing.T) {
	o := testFormat(fileDir(t), memDir(t), DomainAuto)
	if err := Format(o); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(poolPath(o.Dir, o.Shard))
	if err := Format(o); !errors.Is(err, ErrExists) {
		t.Fatalf("second format: %v", err)
	}
	after, _ := os.ReadFile(poolPath(o.Dir, o.Shard))
	if string(before) != string(after) {
		t.Fatal("a refused format changed the pool")
	}
	var st unix.Stat_t
	if err := unix.Stat(poolPath(o.Dir, o.Shard), &st); err != nil || st.Blocks*512 < testPoolBytes {
		t.Fatalf("%d of %d bytes allocated, %v", st.Blocks*512, int64(testPoolBytes), err)
	}
	s, damaged, err := readSuper(after, nil)
	if err != nil || damaged != 0 || s.Domain != DomainFile || !s.Complete || s.Identity != o.Identity {
		t.Fatalf("superblock %+v, %d damaged, %v", s, damaged, err)
	}
}

func TestFormatFullDiskLeavesNothing(t *testing.T) {
	n := 0
	check := func(o FormatOptions, want ...string) {
		t.Helper()
		err := Format(o)
		if !errors.Is(err, ErrNoSpace) {
			t.Fatalf("got %v", err)
		}
		if got := entries(t, o.Dir); len(got) != len(want) {
			t.Fatalf("left behind: %v", got)
		}
		t.Log(err)
		n++
	}
	o := testFormat(fileDir(t), memDir(t), DomainFile)
	o.SizeBytes = 1 << 46
	check(o)
	o = testFormat(memDir(t), memDir(t), DomainMemory)
	o.SizeBytes = 1 << 46
	check(o)

	small := t.TempDir()
	if err := unix.Mount("pmem-test", small, "tmpfs", 0, "size=8m"); err != nil {
		t.Logf("missing feature: permission to mount a small tmpfs (%v)", err)
	} else {
		defer unix.Unmount(small, unix.MNT_DETACH)
		check(testFormat(small, small, DomainMemory))
	}
	// A directory made for the pool goes as well.
	parent := fileDir(t)
	o = testFormat(filepath.Join(parent, "node"), memDir(t), DomainFile)
	o.SizeBytes = 1 << 46
	if err := Format(o); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	if got := entries(t, parent); len(got) != 0 {
		t.Fatalf("left behind: %v", got)
	}
	t.Logf("%d full file systems", n+1)
}

func TestFormatChecksOptions(t *testing.T) {
	dir, mem := fileDir(t), memDir(t)
	for what, c := range map[string]struct {
		change func(*FormatOptions)
		want   error
	}{
		"shard beyond":    {func(o *FormatOptions) { o.Shard = 2 }, ErrOptions},
		"no shards":       {func(o *FormatOptions) { o.Shards = 0 }, ErrOptions},
		"too small":       {func(o *FormatOptions) { o.SizeBytes = 4 << 20 }, ErrOptions},
		"odd segment":     {func(o *FormatOptions) { o.SegmentBytes = 3 << 20 }, ErrOptions},
		"index on disk":   {func(o *FormatOptions) { o.IndexDir = o.Dir }, ErrIndexDir},
		"memory on disk":  {func(o *FormatOptions) { o.Domain = DomainMemory }, ErrDomain},
		"missing parents": {func(o *FormatOptions) { o.Dir = filepath.Join(o.Dir, "a", "b") }, os.ErrNotExist},
	} {
		o := testFormat(dir, mem, DomainFile)
		c.change(&o)
		if err := Format(o); !errors.Is(err, c.want) {
			t.Fatalf("%s: %v", what, err)
		}
		if got := entries(t, dir); len(got) != 0 {
			t.Fatalf("%s left behind %v", what, got)
		}
	}
}
