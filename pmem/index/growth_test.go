package index

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// announced is the smallest form of what the store does: a reader's place says
// in which period it came in, 0 = outside.
type announced struct {
	period  atomic.Uint64
	readers []place
	waitFor uint64 // period in which the pages counted by Retired were gone, 0 = none
}

type place struct {
	at atomic.Uint64
	_  [56]byte
}

func newAnnounced(readers int) *announced {
	a := &announced{readers: make([]place, readers)}
	a.period.Store(1)
	return a
}

func (a *announced) enter(i int) { a.readers[i].at.Store(a.period.Load()) }
func (a *announced) leave(i int) { a.readers[i].at.Store(0) }

// release is one turn of the worker: never waits.
func (a *announced) release(x *Index) {
	if a.waitFor == 0 {
		if x.Retired() > 0 {
			a.waitFor = a.period.Add(1)
		}
		return
	}
	for i := range a.readers {
		if at := a.readers[i].at.Load(); at != 0 && at < a.waitFor {
			return
		}
	}
	x.Release()
	a.waitFor = 0
}

// growth is the table of truth: committed[k] is the version of key k that was in
// the index at some moment before now.
type growth struct {
	x         *Index
	ann       *announced
	committed []atomic.Uint32
	known     atomic.Uint64 // keys below are in the index
	done      atomic.Bool
}

// write inserts all keys, and after every second insert raises the version of
// a key that is there already.
func (g *growth) write() error {
	defer g.done.Store(true)
	var c Cursor
	seed := uint64(1)
	for key := range uint64(len(g.committed)) {
		hash := keyHash(key)
		if err := g.x.Insert(hash, MakeWord(hash, posOf(key, 1), false), hashAt); err != nil {
			return err
		}
		g.committed[key].Store(1)
		g.known.Store(key + 1)
		if key%2 == 0 {
			// From the youngest 4096, so that versions grow under the readers' eyes.
			seed = seed*6364136223846793005 + 1442695040888963407
			old := key - (seed>>40)%min(key+1, 4096)
			if !find(g.x, &c, old) {
				return fmt.Errorf("the worker misses key %d", old)
			}
			version := g.committed[old].Load() + 1
			g.x.Store(&c, MakeWord(keyHash(old), posOf(old, uint64(version)), version%2 == 0))
			g.committed[old].Store(version)
		}
		g.ann.release(g.x)
	}
	return nil
}

type seen struct{ hits, misses, again, newer uint64 }

// read looks up random keys until the writer is done: never a miss of a known
// key, never a version below what was committed before the lookup began.
func (g *growth) read(i int, s *seen) error {
	var c Cursor
	seed := uint64(i + 77)
	for s.hits == 0 || !g.done.Load() {
		seed = seed*6364136223846793005 + 1442695040888963407
		known := g.known.Load()
		if known == 0 {
			runtime.Gosched()
			continue
		}
		key := (seed >> 20) % known
		if seed>>62 == 0 {
			key = known - 1 - (seed>>20)%min(known, 4096) // where versions change
		}
		least := g.committed[key].Load()
		g.ann.enter(i)
		version, ok := g.lookup(&c, key, s)
		_, wrong := g.lookup(&c, key|1<<30, s)
		g.ann.leave(i)
		switch {
		case !ok:
			return fmt.Errorf("key %d missed with %d keys known", key, known)
		case version < uint64(least):
			return fmt.Errorf("key %d stepped back to %d from %d", key, version, least)
		case wrong:
			return fmt.Errorf("key %d was never put", key|1<<30)
		}
		if version > uint64(least) {
			s.newer++
		}
	}
	return nil
}

// lookup is the reader's loop of Cursor's doc.
func (g *growth) lookup(c *Cursor, key uint64, s *seen) (version uint64, ok bool) {
	for {
		g.x.Seek(c, keyHash(key))
		again := false
		for c.Next() {
			if pos := c.Word().Pos(); keyAt(pos) == key {
				if c.Valid() {
					s.hits++
					return versionAt(pos), true
				}
				again = true
				break
			}
		}
		if !again && c.SameDirectory() {
			s.misses++
			return 0, false
		}
		s.again++
	}
}

// grow runs a growth from two pages to keys keys under readers.
func grow(t *testing.T, keys uint64, readers int) {
	g := &growth{
		x:         mustCreate(t, keys),
		ann:       newAnnounced(readers),
		committed: make([]atomic.Uint32, keys),
	}
	type result struct {
		seen
		err error
	}
	results := make(chan result)
	started := make(chan bool)
	for i := range readers {
		go func() {
			var r result
			started <- true
			r.err = g.read(i, &r.seen)
			results <- r
		}()
	}
	for range readers {
		<-started
	}
	start := time.Now()
	if err := g.write(); err != nil {
		t.Error(err)
	}
	took := time.Since(start)
	var sum seen
	for range readers {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
		}
		sum.hits += r.hits
		sum.misses += r.misses
		sum.again += r.again
		sum.newer += r.newer
	}
	if g.x.Len() != keys {
		t.Errorf("Len %d, want %d", g.x.Len(), keys)
	}
	for key := range keys {
		var s seen
		var c Cursor
		if v, ok := g.lookup(&c, key, &s); !ok || v != uint64(g.committed[key].Load()) {
			t.Fatalf("key %d: version %d, %v, want %d", key, v, ok, g.committed[key].Load())
		}
	}
	if sum.hits == 0 {
		t.Error("no reader read anything")
	}
	u := g.x.Usage()
	t.Logf("%d keys in %v under %d readers: %d hits (%d newer than known before), %d misses, %d sought again; %.1f bytes per key, %+v",
		keys, took.Round(time.Millisecond), readers, sum.hits, sum.newer, sum.misses, sum.again,
		float64(u.Pages*pageBytes)/float64(keys), u)
	if u.Waiting > pagesFree/2 && !raceEnabled {
		t.Errorf("%d pages wait for readers", u.Waiting)
	}
}

func TestGrowthUnderReaders(t *testing.T) {
	keys := uint64(4_000_000)
	switch {
	case planted:
		keys = 20_000
	case raceEnabled:
		keys = 100_000
	}
	readers := max(1, runtime.GOMAXPROCS(0)-1) // the writer keeps a processor
	for _, n := range []uint64{1000, keys} {
		grow(t, n, min(readers, 4))
	}
}

// TestNoAllocation with values that change from call to call.
func TestNoAllocation(t *testing.T) {
	x := mustCreate(t, 200_000)
	var c Cursor
	key, splits := uint64(0), 0
	// AllocsPerRun rounds down to whole allocations per run: many calls per run.
	got := testing.AllocsPerRun(10, func() {
		for range 15_000 {
			hash := keyHash(key)
			x.Seek(&c, hash)
			if c.Next() && !c.Valid() {
				t.Fatal("found what was never put")
			}
			if err := x.Insert(hash, MakeWord(hash, posOf(key, 1), false), hashAt); err != nil {
				t.Fatal(err)
			}
			x.Reload(&c)
			if !c.Next() {
				t.Fatal("lost", key)
			}
			x.Store(&c, c.Word().WithLock(true))
			if n := x.Retired(); n > 0 {
				x.Release()
				splits += n
			}
			key++
		}
	})
	if got != 0 {
		t.Fatalf("%v allocations per 15 000 inserts", got)
	}
	if splits == 0 {
		t.Fatal("no split")
	}
	t.Logf("%d inserts with %d splits, no allocation", key, splits)
}

// TestCursorKnowsWhatMoved: what a reader must notice between Next and Valid.
func TestCursorKnowsWhatMoved(t *testing.T) {
	x := mustCreate(t, 100_000)
	if err := put(x, 0, 1, false); err != nil {
		t.Fatal(err)
	}
	var hit, miss, other Cursor
	seek := func() {
		t.Helper()
		if !find(x, &hit, 0) || !hit.Valid() || find(x, &miss, 1<<40-1) || !miss.SameDirectory() {
			t.Fatal("key 0 or the missing key")
		}
	}
	seek()
	find(x, &other, 0)
	x.Store(&other, other.Word().WithLock(true))
	if hit.Valid() || !hit.SameDirectory() || !other.Valid() {
		t.Fatal("a changed word was not noticed")
	}
	splits, doublings := 0, 0
	seek()
	for key := uint64(1); doublings < 4; key++ {
		depth, page := x.Usage().Depth, entry(hit.entry).page()
		if err := put(x, key, 1, false); err != nil {
			t.Fatal(err)
		}
		e := x.entryAt(x.Usage().Depth, int(keyHash(0)>>(64-x.Usage().Depth)))
		moved, doubled := e.page() != page, x.Usage().Depth != depth
		if hit.Valid() == (moved || doubled) {
			t.Fatalf("key 0 moved %v, doubled %v, Valid %v", moved, doubled, hit.Valid())
		}
		if doubled && miss.SameDirectory() {
			t.Fatal("doubling was not noticed by a miss")
		}
		if moved {
			splits++
			func() {
				defer func() {
					if recover() == nil {
						t.Fatal("a store into a page that was split")
					}
				}()
				x.Store(&hit, hit.Word())
			}()
		}
		if doubled {
			doublings++
		}
		if moved || doubled {
			x.Reload(&hit)
			if !hit.Next() || keyAt(hit.Word().Pos()) != 0 || !hit.Word().Locked() {
				t.Fatal("key 0 lost")
			}
			seek()
		}
	}
	t.Logf("%d splits of the key's page, %d doublings noticed", splits, doublings)
}
