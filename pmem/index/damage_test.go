package index

import (
	"encoding/binary"
	"errors"
	"testing"
)

// damagedBase is a small index with several pages, retired ones, and blocks of
// more than one entry.
func damagedBase(tb testing.TB) (mem []byte, keys []uint64) {
	tb.Helper()
	mem = make([]byte, pagesOffset(4)+12*pageBytes)
	x, err := Create(mem, nil, 7)
	if err != nil {
		tb.Fatal(err)
	}
	for _, key := range skewed(4500) {
		if err := put(x, key, 1, false); err != nil {
			break
		}
		keys = append(keys, key)
	}
	if x.Usage().Depth < 3 || x.Usage().Waiting < 2 {
		tb.Fatalf("not what it should be: %+v", x.Usage())
	}
	return mem, keys
}

// use does everything one can do with an index; nothing may panic or loop.
func use(tb testing.TB, x *Index, keys []uint64) {
	tb.Helper()
	for i, key := range keys {
		switch i % 3 {
		case 0:
			if err := put(x, key, 2, true); err != nil && !errors.Is(err, ErrFull) {
				tb.Fatal(err)
			}
		case 1:
			erase(x, key)
		case 2:
			if err := put(x, key+1<<30, 1, true); err != nil && !errors.Is(err, ErrFull) {
				tb.Fatal(err)
			}
		}
		if x.Retired() > 0 {
			x.Release()
		}
	}
	n := 0
	x.Words(func(Word) bool { n++; return true })
	if most := x.geo.pagesMax * pageWords; n > most {
		tb.Fatalf("%d words in %d pages", n, x.geo.pagesMax)
	}
}

// TestEveryBitOfHeaderAndDirectory flips each: Open refuses, or nothing is lost.
// The length and the marks are numbers like any other and not covered; damage
// in a page is found by the caller, who compares the full key in the log.
func TestEveryBitOfHeaderAndDirectory(t *testing.T) {
	mem, keys := damagedBase(t)
	x, err := openSure(mem, 7)
	if err != nil {
		t.Fatal(err)
	}
	want := contents(t, x)
	depth := int(x.mem.get(headDepth))
	refused, harmless := 0, 0
	work := make([]byte, len(mem))
	for bit := range entryOffset(depth, 1<<depth) * 8 {
		off := bit / 8 &^ 7
		if off == headLen || off == headPend || off == headWas || off == headTop || off >= headMarks && off < headMarks+8*Marks {
			continue
		}
		if off >= headMarks+8*Marks && off < headerBytes && bit%61 != 0 {
			continue // nothing is there
		}
		if raceEnabled && bit%41 != 0 {
			continue // one goroutine: nothing for the race detector
		}
		copy(work, mem)
		work[bit/8] ^= 1 << (bit % 8)
		y, err := openSure(work, 7)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrTag) {
				t.Fatalf("bit %d: %v", bit, err)
			}
			refused++
			continue
		}
		harmless++
		if bit%67 == 0 {
			checkContents(t, y, want)
		} else if n := len(contents(t, y)); n != len(want) {
			t.Fatalf("bit %d of the word at %d: %d words, want %d", bit%64, off, n, len(want))
		}
	}
	// Every word that Open looks at: fixed header words and sum, depth, seal,
	// directory sum, the level in use.
	if most := (7 + 1 + 1 + 1 + 1<<depth) * 64; refused < most*9/10 && !raceEnabled {
		t.Fatalf("%d flips refused, of about %d that should be", refused, most)
	}
	t.Logf("%d flips refused, %d without effect, %d keys", refused, harmless, len(keys))
}

// FuzzOpen writes words over an index, with or without repairing the checksums
// that would refuse it at once.
func FuzzOpen(f *testing.F) {
	base, keys := damagedBase(f)
	patch := func(words ...uint64) []byte {
		var b []byte
		for _, w := range words {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
		return b
	}
	f.Add([]byte{}, byte(0))
	f.Add(patch(headDepth, 4), byte(1))
	f.Add(patch(headDepth, 1), byte(3))
	f.Add(patch(headPend, pendSet|pendInsert|5<<pendShift|7), byte(3))
	f.Add(patch(headPend, ^uint64(0)), byte(3))
	f.Add(patch(headSeal, 1, headStart, 0, headOld, 1<<localShift|3, headLow, 2<<localShift, headHigh, 2<<localShift|1), byte(7))
	f.Add(patch(uint64(entryOffset(3, 0)), 3<<localShift|9), byte(3))
	f.Add(patch(uint64(pagesOffset(4)), ^uint64(0)), byte(0))
	f.Add(patch(headMagic, 0), byte(0))
	f.Fuzz(func(t *testing.T, patches []byte, repair byte) {
		mem := append([]byte(nil), base...)
		for ; len(patches) >= 16; patches = patches[16:] {
			off := binary.LittleEndian.Uint64(patches) % uint64(len(mem)) &^ 7
			copy(mem[off:], patches[8:16])
		}
		y, err := newIndex(mem, nil, 7)
		if err != nil {
			t.Fatal(err)
		}
		depth := y.mem.get(headDepth)
		if repair&4 != 0 && depth < 64 {
			y.mem.set(headSeal, y.sealOf(int(depth)))
		}
		if repair&1 != 0 {
			fixed := y.fixed()
			y.mem.set(headSum, mix(fixed[:]...))
		}
		if repair&2 != 0 && depth >= depthMin && depth <= uint64(y.geo.depthMax) {
			sum := uint64(0)
			for i := 0; i < 1<<depth; {
				e := y.entryAt(int(depth), i)
				sum += blockSum(int(depth), i, e)
				i += 1 << max(0, int(depth)-e.local())
			}
			y.mem.set(headDirSum, sum)
		}
		x, err := openSure(mem, 7)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrTag) {
				t.Fatal(err)
			}
			return
		}
		use(t, x, keys)
		if x, err = openSure(mem, 7); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		} else if err == nil {
			use(t, x, keys[:100])
		}
	})
}

// FuzzOpenBytes opens memory that was never an index.
func FuzzOpenBytes(f *testing.F) {
	f.Add([]byte{}, 5)
	f.Add([]byte("healidx1"), 1)
	f.Fuzz(func(t *testing.T, seed []byte, pages int) {
		mem := make([]byte, uint(pages)%40*4096)
		for at := 0; len(seed) > 0 && at < len(mem); at += len(seed) {
			copy(mem[at:], seed)
		}
		x, err := openSure(mem, 7)
		if err == nil {
			use(t, x, []uint64{1, 2, 3, 4, 5, 6})
		} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrTag) && !errors.Is(err, ErrSize) {
			t.Fatal(err)
		}
	})
}
