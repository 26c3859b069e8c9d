package pmem

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"healkv/pmem/index"
)

const indexPageBytes = 16 << 10

// damageIndexFile does something to the n-th page of an index file that holds words.
func damageIndexFile(t *testing.T, path string, n int, do func(page, other []byte)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var used []int
	for off := index.PagesOffset(len(b)); off < len(b); off += indexPageBytes {
		words := 0
		for _, x := range b[off : off+indexPageBytes] {
			if x != 0 {
				words++
			}
		}
		if words > 1000 {
			used = append(used, off)
		}
	}
	if len(used) < 2 {
		t.Fatalf("%d pages with words, want more", len(used))
	}
	at, other := used[n%len(used)], used[(n+1)%len(used)]
	do(b[at:at+indexPageBytes], b[other:other+indexPageBytes])
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b[at:at+indexPageBytes], int64(at)); err != nil {
		t.Fatal(err)
	}
}

// TestKeptIndexIsVerified: whatever becomes of a page of the index between two
// processes, every key reads as it should, and the damage is counted.
func TestKeptIndexIsVerified(t *testing.T) {
	at := testPlace(t, DomainMemory)
	at.format(t, DomainMemory, 32<<20)
	p := at.open(t)
	begin(t, p, 1)
	const keys = 6000
	for i := range keys {
		put(p, i, 1, false)
	}
	p.SetStable(p.Store().Tail())
	for range 3 {
		flush(t, p)
		p.Store().Log().Pad()
		p.SetStable(p.Store().Tail())
	}
	flush(t, p)
	rng := rand.New(rand.NewPCG(1, 2))
	damages := []struct {
		name string
		do   func(page, other []byte)
	}{
		{"bit flip", func(p, _ []byte) { p[rng.IntN(len(p))] ^= 1 << rng.IntN(8) }},
		{"zeroed", func(p, _ []byte) { clear(p) }},
		{"torn", func(p, o []byte) { copy(p[4096:8192], o[4096:8192]) }},
		{"misdirected write", func(p, o []byte) { copy(p, o) }},
	}
	mended := 0
	for n := range 12 {
		d := damages[n%len(damages)]
		closePool(t, p, false)
		damageIndexFile(t, p.indexPath, n, d.do)
		p = at.open(t)
		if r := p.Recovered(); !r.Kept {
			t.Fatalf("%s: index not kept: %s", d.name, r.How())
		}
		begin(t, p, uint32(n+2))
		if n%2 == 0 {
			for p.Tend() {
			}
		}
		for i := range keys {
			check(t, p, i, 1, false)
		}
		if p.index.Damaged() != 1 {
			t.Fatalf("%s: %d damaged pages found, want 1", d.name, p.index.Damaged())
		}
		if p.index.Len() != keys {
			t.Fatalf("%s: %d keys, want %d", d.name, p.index.Len(), keys)
		}
		mended++
		flush(t, p)
	}
	closePool(t, p, false)
	t.Logf("%d damaged pages found and mended", mended)
}

// TestDamagedPageUnderTheReplay: where the log's end has to go into a damaged
// page at once, the index is made anew.
func TestDamagedPageUnderTheReplay(t *testing.T) {
	at := testPlace(t, DomainMemory)
	at.format(t, DomainMemory, 32<<20)
	p := at.open(t)
	begin(t, p, 1)
	for i := range 6000 {
		put(p, i, 1, true) // nothing is stable: all of it is replayed
	}
	flush(t, p)
	closePool(t, p, false)
	damageIndexFile(t, p.indexPath, 1, func(p, _ []byte) { p[5000] ^= 4 })
	p = at.open(t)
	if r := p.Recovered(); r.Kept || !strings.Contains(r.How(), "does not match its sum") {
		t.Fatalf("kept %t: %s", r.Kept, r.How())
	}
	for i := range 6000 {
		check(t, p, i, 1, true)
	}
	closePool(t, p, false)
}
