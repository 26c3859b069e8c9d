package pmem

import (
	"os"
	"testing"
)

func pagemap(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

// TestPrefault: opening a pool of huge pages maps what it reads of it, and Prefault
// the rest, in steps.
func TestPrefault(t *testing.T) {
	dir := memDir(t)
	if mounted, err := HugeTmpfs(dir); err != nil || !mounted {
		t.Skipf("missing feature: permission to mount a tmpfs with huge pages (%v)", err)
	}
	defer UnmountTmpfs(dir)
	o := FormatOptions{Dir: dir, IndexDir: memDir(t), Identity: Identity{Shards: 1}, Domain: DomainMemory, SizeBytes: 128 << 20, SegmentBytes: 16 << 20, MaxKeys: 1000}
	if err := Format(o); err != nil {
		t.Fatal(err)
	}
	p, err := Open(OpenOptions{Dir: o.Dir, IndexDir: o.IndexDir, Identity: o.Identity})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(false)
	fd := pagemap(t)
	mapped := func() (pages int) {
		for off := 0; off < len(p.region.data); off += PrefaultBytes {
			present, _, err := scanPages(fd, p.region.mapped.addr+uintptr(off), hugeBytes/2)
			if err != nil {
				t.Skipf("missing feature: PAGEMAP_SCAN (%v)", err)
			}
			if present > 0 {
				pages++
			}
		}
		return pages
	}
	all := (len(p.region.data) + PrefaultBytes - 1) / PrefaultBytes
	first := mapped()
	steps := 1
	for next := p.Prefault(0); next != 0; next = p.Prefault(next) {
		steps++
	}
	t.Logf("of %d pieces %d were mapped by the opening, all after %d steps", all, first, steps)
	if first > all/2 {
		t.Errorf("the opening mapped %d of %d pieces", first, all)
	}
	if now := mapped(); now != all || steps != all {
		t.Errorf("%d of %d pieces are mapped after %d steps", now, all, steps)
	}
}
