//go:build verbs

package verbs

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Memory is zeroed, writable and counted, whichever pages it has; huge ones are
// taken only if every one of them is there.
func TestMappedMemory(t *testing.T) {
	before := mappings.Load()
	for _, n := range []int{4096, hugePage, 2 * hugePage, 2*hugePage + 4096} {
		mem, err := mapMemory(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(mem) != n || mappings.Load() != before+1 {
			t.Errorf("%d bytes of %d, %d mappings", len(mem), n, mappings.Load()-before)
		}
		for i := 0; i < n; i += 4096 {
			if mem[i] != 0 {
				t.Fatalf("byte %d is %d", i, mem[i])
			}
			mem[i] = 1
		}
		if err := unmapMemory(mem); err != nil {
			t.Error(err)
		}
	}
	if mappings.Load() != before {
		t.Errorf("%d mappings left", mappings.Load()-before)
	}
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	for n, want := range map[int]bool{0: false, hugePage - 4096: false, hugePage + 4096: false, hugePage: true, 3 * hugePage: true} {
		mem := mapHuge(n, flags) // small pages stand for huge ones here
		if (mem != nil) != want || len(mem) != n && want {
			t.Errorf("%d bytes: %d mapped", n, len(mem))
		}
		if mem != nil {
			unix.Munmap(mem)
		}
	}
	// What the kernel refuses is nothing, and no error: small pages take its place.
	if mem := mapHuge(hugePage, flags|unix.MAP_HUGETLB|63<<26); mem != nil {
		t.Error("huge pages of a size that no processor has")
	}
}
