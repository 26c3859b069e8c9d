package index

import (
	"errors"
	"maps"
	"math/bits"
	"slices"
	"testing"
)

// Crash states: the process can die between any two stores. The steps of the
// worker call atStep there; the memory as it stands is opened, and must hold
// exactly the words from before or from after the operation.

// steps are all places where a process is stopped, each at least once.
var steps = []string{
	"insert: pending", "insert: stored", "insert: counted", "insert: summed",
	"store: pending", "store: stored", "store: summed",
	"erase: pending", "erase: stored", "erase: counted", "erase: summed",
	"split: lower page filled", "split: pages filled", "split: intent written",
	"split: intent sealed", "split: entry switched", "split: sum stored", "split: done",
	"double: entry built", "double: level complete", "double: depth stored",
	"unpublished", "before the magic word",
}

type crasher struct {
	t       *testing.T
	x       *Index
	mem     []byte
	copy    []byte
	stopped map[string]int
	before  map[uint64]Word
	after   map[uint64]Word
}

// run does one operation, with key's word afterwards (0 = none), and opens the
// memory at each of its steps that pick chooses.
func (r *crasher) run(key uint64, w Word, pick func(where string) bool, op func()) {
	r.after = maps.Clone(r.before)
	r.after[key] = w
	if w == 0 {
		delete(r.after, key)
	}
	r.x.atStep = func(where string) {
		if pick(where) {
			r.open(where)
		}
	}
	op()
	r.x.atStep = nil
	r.before = r.after
}

// open opens a copy of the memory, compares, and goes on working with it.
func (r *crasher) open(where string) {
	r.stopped[where]++
	copy(r.copy, r.mem)
	y, err := openSure(r.copy, 7)
	if err != nil {
		r.t.Fatalf("killed at %q: %v", where, err)
	}
	got := contents(r.t, y)
	if !maps.Equal(got, r.before) && !maps.Equal(got, r.after) {
		r.t.Fatalf("killed at %q: %d words, want %d or %d", where, len(got), len(r.before), len(r.after))
	}
	checkContents(r.t, y, got)
	checkPages(r.t, y, where)
	checkSums(r.t, y, where)
	if r.stopped[where]%16 != 1 || raceEnabled && r.stopped[where] > 1 {
		return
	}
	for i := range uint64(2500) { // through some more splits
		key := 1<<30 + i
		if err := put(y, key, 0, false); err != nil {
			r.t.Fatalf("after being killed at %q: %v", where, err)
		}
		got[key] = MakeWord(keyHash(key), posOf(key, 0), false)
		if y.Retired() > 0 {
			y.Release()
		}
	}
	checkContents(r.t, y, got)
	checkPages(r.t, y, where)
}

// checkPages: each page is in the directory, free, or retired, and in one of them.
func checkPages(t testing.TB, x *Index, where string) {
	t.Helper()
	depth := int(x.mem.get(headDepth))
	owner := map[uint32]string{}
	own := func(p uint32, by string) {
		if owner[p] != "" {
			t.Fatalf("%s: page %d is %s and %s", where, p, owner[p], by)
		}
		owner[p] = by
	}
	for i := 0; i < 1<<depth; {
		e := x.entryAt(depth, i)
		own(e.page(), "named")
		i += 1 << (depth - e.local())
	}
	for _, p := range x.free {
		own(p, "free")
	}
	for _, p := range x.retired {
		own(p, "retired")
	}
	if len(owner) != int(x.next) {
		t.Fatalf("%s: %d of %d pages accounted for", where, len(owner), x.next)
	}
}

// checkSums: every page in the directory has its sum.
func checkSums(t testing.TB, x *Index, where string) {
	t.Helper()
	depth := int(x.mem.get(headDepth))
	for i := 0; i < 1<<depth; {
		e := x.entryAt(depth, i)
		if got, want := x.mem.get(x.geo.sumOffset(e.page())), x.mem.page(e.page()).sum(); got != want {
			t.Fatalf("%s: page %d has the sum %#x, its words come to %#x", where, e.page(), got, want)
		}
		i += 1 << (depth - e.local())
	}
}

// skewed makes keys of which three in four share their first bits, so that the
// directory gets deep while other pages keep large blocks.
func skewed(n int) []uint64 {
	var keys []uint64
	for key := uint64(0); len(keys) < n; key++ {
		if keyHash(key)>>61 == 0 || len(keys)%4 == 0 {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestKilledAtEveryStep(t *testing.T) {
	mem := make([]byte, Bytes(20_000))
	x, err := Create(mem, nil, 7)
	if err != nil {
		t.Fatal(err)
	}
	r := &crasher{t: t, x: x, mem: mem, copy: make([]byte, len(mem)), stopped: map[string]int{}, before: map[uint64]Word{}}
	keys := skewed(12_000)
	if raceEnabled {
		keys = keys[:7000]
	}
	blocks := 0
	for i, key := range keys {
		pick := func(where string) bool {
			if where == "split: entry switched" {
				blocks++
			}
			// Of plain inserts some; of the next level's entries some.
			if where[0] == 'i' {
				return i%997 < 2
			}
			return where != "double: entry built" || r.stopped[where] < 3 || bits.OnesCount(uint(x.built)) == 1
		}
		w := MakeWord(keyHash(key), posOf(key, 1), i%2 == 0)
		r.run(key, w, pick, func() {
			if err := put(x, key, 1, i%2 == 0); err != nil {
				t.Fatal(err)
			}
		})
		if i%500 == 499 {
			gone := keys[i-100]
			r.run(gone, 0, func(string) bool { return true }, func() {
				if !erase(x, gone) {
					t.Fatal("lost", gone)
				}
			})
		}
		if i%500 == 249 {
			changed := keys[i-50]
			r.run(changed, MakeWord(keyHash(changed), posOf(changed, 2), true), func(string) bool { return true }, func() {
				if err := put(x, changed, 2, true); err != nil {
					t.Fatal(err)
				}
			})
		}
		if x.Retired() > 0 && i%3 == 0 {
			x.Release()
		}
	}
	// Fill a page until one word is missing for a split, erase most of it, and
	// go on: it is written anew.
	page := func(key uint64) uint32 {
		depth := int(x.mem.get(headDepth))
		return x.entryAt(depth, int(keyHash(key)>>(64-depth))).page()
	}
	target := page(keys[0])
	key := uint64(1 << 25)
	for ; x.counts[target] < splitAt-1; key++ {
		if page(key) == target {
			if err := put(x, key, 1, false); err != nil {
				t.Fatal(err)
			}
			r.before[key] = MakeWord(keyHash(key), posOf(key, 1), false)
		}
	}
	for k := range maps.Clone(r.before) {
		if page(k) == target && k%8 != 0 {
			erase(x, k)
			delete(r.before, k)
		}
	}
	rewrites := 0
	for ; rewrites == 0; key++ {
		if key > 1<<26 {
			t.Fatal("never written anew")
		}
		if page(key) != target {
			continue
		}
		was := x.Usage().Pages
		r.run(key, MakeWord(keyHash(key), posOf(key, 1), false), func(where string) bool { return where[0] == 's' }, func() {
			if err := put(x, key, 1, false); err != nil {
				t.Fatal(err)
			}
		})
		if x.Usage().Pages == was && page(key) != target {
			rewrites++
		}
	}

	// Reset: nothing or the old words never come back half.
	x.atStep = func(where string) {
		r.stopped[where]++
		copy(r.copy, mem)
		if _, err := openSure(r.copy, 7); !errors.Is(err, ErrDamaged) {
			t.Fatalf("killed at %q: %v", where, err)
		}
	}
	x.Reset()
	x.atStep = nil
	checkContents(t, x, map[uint64]Word{})

	total := 0
	for _, where := range steps {
		if r.stopped[where] == 0 {
			t.Errorf("never stopped at %q", where)
		}
		total += r.stopped[where]
	}
	for where := range r.stopped {
		if !slices.Contains(steps, where) {
			t.Errorf("unknown step %q", where)
		}
	}
	t.Logf("%d crash states, %d directory entries switched, %d pages written anew: %v", total, blocks, rewrites, r.stopped)
}

// TestIntentIsNeeded: without the intent the half-switched states must not
// pass, or the crash test above shows nothing.
func TestIntentIsNeeded(t *testing.T) {
	mem := make([]byte, Bytes(20_000))
	x, err := Create(mem, nil, 7)
	if err != nil {
		t.Fatal(err)
	}
	states := 0
	var other []byte
	x.atStep = func(where string) {
		if where != "split: entry switched" {
			return
		}
		other = append(other[:0], mem...)
		y, _ := newIndex(other, nil, 7)
		y.mem.set(headSeal, 0)
		if _, err := openSure(other, 7); !errors.Is(err, ErrDamaged) {
			t.Fatalf("a half-switched directory was opened: %v", err)
		}
		states++
	}
	for _, key := range skewed(8000) {
		if err := put(x, key, 1, false); err != nil {
			t.Fatal(err)
		}
	}
	if states == 0 {
		t.Fatal("no state")
	}
	t.Logf("%d states refused", states)
}
