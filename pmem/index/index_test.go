package index

import (
	"errors"
	"maps"
	"testing"
)

// keyHash spreads a key's number over all 64 bits and can be undone, so tests
// need no table of keys.
func keyHash(key uint64) uint64 {
	key = (key ^ key>>30) * 0xbf58476d1ce4e5b9
	key = (key ^ key>>27) * 0x94d049bb133111eb
	return key ^ key>>31
}

// In most tests the position of a record is the key's number and a version, so
// hashOf needs no log.
const versionBits = 16

func posOf(key, version uint64) uint64 {
	return (key<<versionBits | version%(1<<versionBits-4) + 2) << posShift
}
func keyAt(pos uint64) uint64     { return pos >> posShift >> versionBits }
func versionAt(pos uint64) uint64 { return pos>>posShift&(1<<versionBits-1) - 2 }
func hashAt(pos uint64) uint64    { return keyHash(keyAt(pos)) }

// seeker is what an Index and a Part have in common.
type seeker interface {
	Seek(c *Cursor, hash uint64)
	Store(c *Cursor, w Word)
	Erase(c *Cursor)
	Insert(hash uint64, w Word, hashOf func(pos uint64) uint64) error
}

func find(x seeker, c *Cursor, key uint64) bool {
	x.Seek(c, keyHash(key))
	for c.Next() {
		if keyAt(c.Word().Pos()) == key {
			return true
		}
	}
	return false
}

// put inserts or replaces, as the store does.
func put(x seeker, key, version uint64, locked bool) error {
	var c Cursor
	w := MakeWord(keyHash(key), posOf(key, version), locked)
	if find(x, &c, key) {
		x.Store(&c, w)
		return nil
	}
	return x.Insert(keyHash(key), w, hashAt)
}

func erase(x seeker, key uint64) bool {
	var c Cursor
	if !find(x, &c, key) {
		return false
	}
	x.Erase(&c)
	return true
}

// contents reads everything by Words.
func contents(t testing.TB, x *Index) map[uint64]Word {
	t.Helper()
	got := map[uint64]Word{}
	x.Words(func(w Word) bool {
		key := keyAt(w.Pos())
		if old, twice := got[key]; twice {
			t.Fatalf("key %d twice: %#x and %#x", key, old, w)
		}
		got[key] = w
		return true
	})
	return got
}

// checkContents compares Words, Len and a lookup of every key with the model.
func checkContents(t testing.TB, x *Index, want map[uint64]Word) {
	t.Helper()
	got := contents(t, x)
	if !maps.Equal(got, want) {
		t.Fatalf("words: got %d, want %d, or they differ", len(got), len(want))
	}
	if x.Len() != uint64(len(want)) {
		t.Fatalf("Len %d, want %d", x.Len(), len(want))
	}
	var c Cursor
	for key, w := range want {
		if !find(x, &c, key) || c.Word() != w || !c.Valid() {
			t.Fatalf("key %d: got %#x, want %#x", key, c.Word(), w)
		}
	}
}

func mustCreate(t testing.TB, keys uint64) *Index {
	t.Helper()
	x, err := Create(make([]byte, Bytes(keys)), nil, 7)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestWord(t *testing.T) {
	for _, pos := range []uint64{32, 64, PosMax, 1 << 40} {
		for _, hash := range []uint64{0, ^uint64(0), keyHash(1)} {
			w := MakeWord(hash, pos, true)
			if w.Pos() != pos || !w.Locked() || w.WithLock(false).Locked() || w.WithLock(false).Pos() != pos {
				t.Fatalf("%#x at %d: %#x", hash, pos, w)
			}
			if w.WithLock(false) != MakeWord(hash, pos, false) || w.WithPos(48) != MakeWord(hash, 48, true) {
				t.Fatalf("%#x at %d: %#x", hash, pos, w)
			}
		}
	}
}

// TestAgainstMap runs puts, replacements and erasures and compares with a map.
func TestAgainstMap(t *testing.T) {
	keys := uint64(60_000)
	if raceEnabled {
		keys = 20_000
	}
	x := mustCreate(t, keys)
	want := map[uint64]Word{}
	seed := uint64(1)
	erased := 0
	for i := range 4 * keys {
		seed = keyHash(seed + i)
		key := seed % keys
		if seed>>60 == 0 {
			_, has := want[key]
			if erase(x, key) != has {
				t.Fatalf("erase %d: had %v", key, has)
			}
			delete(want, key)
			erased++
		} else {
			if err := put(x, key, i, i%3 == 0); err != nil {
				t.Fatal(err)
			}
			want[key] = MakeWord(keyHash(key), posOf(key, i), i%3 == 0)
		}
		if i%1000 == 0 && x.Retired() > 0 {
			x.Release()
		}
	}
	checkContents(t, x, want)
	var c Cursor
	for key := keys; key < 2*keys; key++ {
		if find(x, &c, key) || !c.SameDirectory() {
			t.Fatalf("key %d was never put", key)
		}
	}
	t.Logf("%d operations, %d erasures, %d keys, %+v", 4*keys, erased, len(want), x.Usage())
}

// TestChurn: keys that come and go for ever must not make the index grow.
func TestChurn(t *testing.T) {
	alive := uint64(20_000)
	if raceEnabled {
		alive = 4000
	}
	x := mustCreate(t, alive)
	for key := range 40 * alive {
		if err := put(x, key, 0, false); err != nil {
			t.Fatalf("key %d: %v", key, err)
		}
		if key >= alive && !erase(x, key-alive) {
			t.Fatalf("key %d lost", key-alive)
		}
		if x.Retired() > 0 {
			x.Release()
		}
	}
	if x.Len() != alive {
		t.Fatalf("Len %d, want %d", x.Len(), alive)
	}
	t.Logf("%d keys came, %d stayed: %+v", 40*alive, alive, x.Usage())
}

func TestBytesIsEnough(t *testing.T) {
	for _, keys := range []uint64{1, 1000, 10_000, 24_577, 49_153, 100_000, 196_609, 400_000} {
		if raceEnabled && keys > 50_000 {
			break // one goroutine: nothing for the race detector
		}
		mem := make([]byte, Bytes(keys))
		backed := 0
		x, err := Create(mem, func(n int) error {
			if n <= backed || n > len(mem) {
				t.Fatalf("ensure %d after %d of %d", n, backed, len(mem))
			}
			backed = n
			return nil
		}, 7)
		if err != nil {
			t.Fatal(err)
		}
		for key := range keys {
			if err := put(x, key, 0, false); err != nil {
				t.Fatalf("%d of %d keys: %v", key, keys, err)
			}
			if x.Retired() > 0 {
				x.Release()
			}
		}
		u := x.Usage()
		t.Logf("%d keys: %d bytes reserved, %d backed, %+v", keys, len(mem), backed, u)
		if u.Bytes > backed {
			t.Fatalf("used %d, backed %d", u.Bytes, backed)
		}
	}
}

// TestFull fills small memory to the last word: an error, and nothing lost.
func TestFull(t *testing.T) {
	x := mustCreate(t, 1)
	x.geo.pagesMax = 20
	want := map[uint64]Word{}
	var err error
	for key := uint64(0); err == nil; key++ {
		if err = put(x, key, 0, false); err == nil {
			want[key] = MakeWord(keyHash(key), posOf(key, 0), false)
		}
		if x.Retired() > 0 {
			x.Release()
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	checkContents(t, x, want)
	t.Logf("%d keys in 20 pages, then: %v", len(want), err)
}

// TestNoMemory: ensure fails for good, or until there is room again.
func TestNoMemory(t *testing.T) {
	broken := errors.New("no space")
	limit := 2 << 20
	x, err := Create(make([]byte, Bytes(1_000_000)), func(n int) error {
		if n > limit {
			return broken
		}
		return nil
	}, 7)
	if err != nil {
		t.Fatal(err)
	}
	key := uint64(0)
	for ; err == nil; key++ {
		err = put(x, key, 0, false)
		if x.Retired() > 0 {
			x.Release()
		}
	}
	if !errors.Is(err, ErrFull) || !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if err := x.Grow(); !errors.Is(err, broken) || !errors.Is(x.Starved(), broken) {
		t.Fatalf("grew without memory: %v, starved by %v", err, x.Starved())
	}
	limit = 1 << 30
	if err := put(x, key-1, 0, false); !errors.Is(err, broken) {
		t.Fatalf("asked for memory although nobody said that there is some: %v", err)
	}
	if err := x.Grow(); err != nil || x.Starved() != nil {
		t.Fatal(err, x.Starved())
	}
	if err := put(x, key-1, 0, false); err != nil {
		t.Fatal(err)
	}
	if x.Len() != key {
		t.Fatalf("Len %d, want %d", x.Len(), key)
	}
}

// TestSameHash: keys whose hashes agree in everything the index looks at end in
// ErrFull, not in a loop.
func TestSameHash(t *testing.T) {
	x := mustCreate(t, 1_000_000)
	same := func(uint64) uint64 { return 42 << 30 }
	n := 0
	var err error
	for ; err == nil; n++ {
		err = x.Insert(42<<30, MakeWord(42<<30, uint64(n+2)<<posShift, false), same)
	}
	if !errors.Is(err, ErrFull) || x.Len() != uint64(n-1) {
		t.Fatal(n, x.Len(), err)
	}
	var c Cursor
	found := 0
	for x.Seek(&c, 42<<30); c.Next(); {
		found++
	}
	if found != n-1 {
		t.Fatalf("found %d of %d", found, n-1)
	}
	t.Logf("%d equal hashes: %v", n-1, err)
}

func TestReset(t *testing.T) {
	x := mustCreate(t, 50_000)
	for key := range uint64(50_000) {
		if err := put(x, key, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	x.SetMark(3, 9)
	x.Reset()
	checkContents(t, x, map[uint64]Word{})
	if x.Mark(3) != 0 {
		t.Fatal("mark kept")
	}
	want := map[uint64]Word{}
	for key := range uint64(50_000) {
		if err := put(x, key, 1, true); err != nil {
			t.Fatal(err)
		}
		want[key] = MakeWord(keyHash(key), posOf(key, 1), true)
		if x.Retired() > 0 {
			x.Release()
		}
	}
	checkContents(t, x, want)
}

func TestOpen(t *testing.T) {
	mem := make([]byte, Bytes(30_000))
	if _, err := openSure(mem, 7); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	x, err := Create(mem, nil, 7)
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint64]Word{}
	for key := range uint64(30_000) {
		if key%5000 == 0 { // the life of several processes
			if x, err = openSure(mem, 7); err != nil {
				t.Fatal(err)
			}
		}
		if err := put(x, key, 3, key%2 == 0); err != nil {
			t.Fatal(err)
		}
		want[key] = MakeWord(keyHash(key), posOf(key, 3), key%2 == 0)
		if x.Retired() > 0 {
			x.Release()
		}
	}
	x.SetMark(7, 1<<63)
	if x, err = openSure(mem, 7); err != nil {
		t.Fatal(err)
	}
	checkContents(t, x, want)
	if x.Mark(7) != 1<<63 {
		t.Fatal("mark lost")
	}
	if _, err := Open(mem, nil, 8); !errors.Is(err, ErrTag) {
		t.Fatal(err)
	}
	if _, err := Open(mem[:len(mem)-pageBytes], nil, 7); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	if _, err := Open(mem[:5000], nil, 7); !errors.Is(err, ErrSize) {
		t.Fatal(err)
	}
}

func TestBuild(t *testing.T) {
	keys := uint64(100_000)
	if raceEnabled {
		keys = 20_000
	}
	for _, parts := range []int{1, 2, 8, 64} {
		if raceEnabled && parts == 64 {
			keys = 5_000 // every part looks at every key
		}
		mem := make([]byte, Bytes(keys+20_000)+2*parts*pageBytes)
		b, err := Build(mem, nil, 7, parts)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openSure(mem, 7); !errors.Is(err, ErrDamaged) {
			t.Fatal("an unfinished index was opened", err)
		}
		want := map[uint64]Word{}
		for key := range keys {
			want[key] = MakeWord(keyHash(key), posOf(key, 1), key%2 == 0)
		}
		errs := make(chan error)
		for i := range parts {
			go func() {
				p := b.Part(i)
				for version := range uint64(2) {
					for key := range keys {
						if b.PartOf(keyHash(key)) != i {
							continue
						}
						if err := put(p, key, version, key%2 == 0); err != nil {
							errs <- err
							return
						}
					}
				}
				errs <- nil
			}()
		}
		for range parts {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		x := b.Finish()
		checkContents(t, x, want)
		if x, err = openSure(mem, 7); err != nil {
			t.Fatal(err)
		}
		checkContents(t, x, want)
		for key := range uint64(20_000) { // it goes on as any index
			key += keys
			if err := put(x, key, 1, false); err != nil {
				t.Fatal(err)
			}
			want[key] = MakeWord(keyHash(key), posOf(key, 1), false)
			if x.Retired() > 0 {
				x.Release()
			}
		}
		checkContents(t, x, want)
		t.Logf("%d parts: %+v", parts, x.Usage())
	}
}
