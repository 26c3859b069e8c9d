package store

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

// sumsOf is the obvious way to a digest.
func sumsOf(t testing.TB, m *made) []Sum {
	t.Helper()
	sums := make([]Sum, DigestRanges)
	r := m.NewReader()
	defer r.Close()
	if err := m.ForEach(r, func(_ uint64, _ bool, img []byte) bool {
		sums[record.Hash(img)>>52].add(record.Hash(img), record.TS(img), record.BodyCRC(img), record.KindOf(img) == record.Delete)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return sums
}

// drop takes a key out of the index.
func (m *made) drop(n int) bool {
	var e Entry
	m.Find(&e, m.Hash(keyOf(n)), keyOf(n))
	return e.OK && m.Drop(m.Hash(keyOf(n)), e.Pos)
}

func differ(a, b []Sum) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// Whatever is written while the walk is anywhere, the sums are those of the
// records at its end and ever after.
func TestDigestFollows(t *testing.T) {
	const keys = 6000
	walks, between, full, dropped := 0, 0, 0, 0
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 3))
		m := makeStore(t, 48, 1<<16, 4*keys)
		model := map[int]known{}
		write := func(n int) {
			m.put(r, model, n, 8+r.IntN(60), r.IntN(5) == 0)
			m.SetFlushed(m.Tail())
			m.Clean(8192, Upto(m.Tail()), m.Flushed())
			if k := r.IntN(keys); model[k].deleted && m.drop(k) {
				dropped++
				delete(model, k)
			}
		}
		for n := range keys {
			write(n)
		}
		if !m.DigestReady() { // empty at New
			t.Fatal("a store that began empty has no digest")
		}
		got := make([]Sum, DigestRanges)
		if m.Digest(got); differ(got, sumsOf(t, m)) != 0 {
			t.Fatal("the digest of a store that began empty is not kept in step")
		}
		for range 3 { // as after an opening
			m.DigestAgain()
			for m.DigestWalk() {
				walks++
				for range r.IntN(400) {
					between++
					write(r.IntN(2 * keys)) // new keys split pages under the walk
				}
			}
			for range 500 {
				write(r.IntN(2 * keys))
			}
			if m.Digest(got); differ(got, sumsOf(t, m)) != 0 || m.DigestDamaged() != 0 {
				t.Fatalf("seed %d: %d of %d sums are wrong after a walk, %d records damaged", seed, differ(got, sumsOf(t, m)), len(got), m.DigestDamaged())
			}
			full++
		}
	}
	if walks < 4*full || between == 0 || dropped == 0 {
		t.Fatalf("%d walks of %d steps, %d writes between, %d tombstones dropped: too few", full, walks, between, dropped)
	}
	t.Logf("%d walks, %d steps, %d writes between steps, %d tombstones dropped", full, walks, between, dropped)
}

// A sum tells keys, timestamps, values and kinds apart, also where they are
// only exchanged among each other.
func TestDigestTellsApart(t *testing.T) {
	type rec struct {
		hash, ts uint64
		crc      uint32
		dead     bool
	}
	sum := func(all ...rec) (s Sum) {
		for _, x := range all {
			s.add(x.hash, x.ts, x.crc, x.dead)
		}
		return s
	}
	base := sum(rec{1, 5, 7, false}, rec{2, 6, 8, false})
	others := []Sum{
		sum(rec{1, 6, 7, false}, rec{2, 5, 8, false}), // timestamps exchanged
		sum(rec{1, 5, 8, false}, rec{2, 6, 7, false}), // values exchanged
		sum(rec{1, 5, 7, true}, rec{2, 6, 8, false}),  // deleted
		sum(rec{1, 5, 7, false}), sum(rec{2, 6, 8, false}), sum(),
		sum(rec{1, 5, 7, false}, rec{2, 6, 8, false}, rec{3, 7, 9, false}),
		sum(rec{1, 4, 7, false}, rec{2, 7, 8, false}), // one up, one down
	}
	for i, x := range others {
		if x == base {
			t.Errorf("set %d has the sum of another one", i)
		}
	}
	if x := sum(rec{2, 6, 8, false}, rec{1, 5, 7, false}); x != base {
		t.Error("the order matters")
	}
	back := base
	back.add(9, 9, 9, false)
	back.remove(9, 9, 9, false)
	if back != base {
		t.Error("adding and removing does not cancel out")
	}
	t.Logf("%d sets told apart", len(others))
}

// ListHashes gives every key of its span once, whatever the worker does beside.
func TestListHashes(t *testing.T) {
	const keys = 8000
	r := rand.New(rand.NewPCG(1, 4))
	m := makeStore(t, 48, 1<<16, 4*keys)
	model := map[int]known{}
	for n := range keys {
		m.put(r, model, n, 8+r.IntN(60), r.IntN(5) == 0)
		m.SetFlushed(m.Tail())
	}
	listed, written := 0, 0
	for range 40 {
		first, last := r.Uint64(), r.Uint64()
		if first > last {
			first, last = last, first
		}
		seen := map[uint64]uint64{}
		if err := m.ListHashes(first, last, nil, func(x *Listed) bool {
			if x.Hash < first || x.Hash > last || seen[x.Hash] != 0 {
				t.Fatalf("hash %#x listed twice or outside of [%#x, %#x]", x.Hash, first, last)
			}
			seen[x.Hash] = x.TS
			if written++; written%64 == 0 {
				m.put(r, model, r.IntN(keys), 8+r.IntN(60), false)
				m.put(r, model, keys+written, 8, false) // splits pages under the list
				m.SetFlushed(m.Tail())
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
		for n := range keys {
			if h := m.Hash(keyOf(n)); h >= first && h <= last {
				listed++
				if ts := seen[h]; ts == 0 || ts > model[n].ts {
					t.Fatalf("key %d, now with timestamp %d, is listed with %d", n, model[n].ts, ts)
				}
			}
		}
	}
	if listed < 40*keys/8 {
		t.Fatalf("%d keys listed: too few", listed)
	}
	t.Logf("%d keys in 40 lists", listed)
}

// A damaged header is in no sum and ends a list: its key must not be taken for
// one that is not there.
func TestDigestDamaged(t *testing.T) {
	m := makeStore(t, 8, 1<<16, 2000)
	r := rand.New(rand.NewPCG(1, 5))
	model := map[int]known{}
	var pos uint64
	for n := range 500 {
		pos = m.put(r, model, n, 20, false)
	}
	m.Record(pos)[9]++
	m.DigestAgain()
	for m.DigestWalk() {
	}
	if n := m.DigestDamaged(); n != 1 {
		t.Fatalf("%d damaged records counted, 1 is", n)
	}
	var d *seglog.Damage
	if err := m.ListHashes(0, ^uint64(0), nil, func(*Listed) bool { return true }); !errors.As(err, &d) || d.Pos != pos {
		t.Fatal(err)
	}
	bad, all := 0, 0
	if err := m.ListHashes(0, ^uint64(0), func(uint64) { bad++ }, func(*Listed) bool { all++; return true }); err != nil || bad != 1 || all != 499 {
		t.Fatal(err, bad, all)
	}
}

// Damaged records were summed when they were whole. When they go, settled by what
// a member has or given up by order, the sums are again those of the records.
func TestDigestOfWhatWasGivenUp(t *testing.T) {
	for _, order := range []bool{false, true} {
		for _, in := range []int{inTS, inValue} { // header, body
			m := makeStore(t, 16, 4096, 1000)
			r, model := rand.New(rand.NewPCG(11, 5)), map[int]known{}
			for n := range 60 {
				m.put(r, model, n, 40, false)
			}
			from := m.member(t)
			pos, _ := m.hurt(t, 7, in)
			rd := m.NewReader()
			if _, _, st := rd.Get(m.Hash(keyOf(7)), keyOf(7), nil); st != Damaged {
				t.Fatal(st)
			}
			rd.Close()
			if order {
				for _, h := range m.TakeDamaged(nil, 100) {
					m.Refuse(&h)
				}
				if n := m.GiveUp(); n != 1 {
					t.Fatalf("%d given up", n)
				}
			} else if settled, _ := m.heal(t, from); settled != 1 {
				t.Fatal("not settled")
			}
			for m.DigestWalk() {
			}
			got := make([]Sum, DigestRanges)
			if m.Digest(got); differ(got, sumsOf(t, m)) != 0 || m.DigestDamaged() != 0 || m.Damage().Open != 0 {
				t.Errorf("by order %v, hit at %d, record at %d: %d ranges differ, %d damaged, %+v", order, in, pos, differ(got, sumsOf(t, m)), m.DigestDamaged(), m.Damage())
			}
		}
	}
}

// What keeping the sums costs a Put: with and without, else equal, in one run.
func BenchmarkPutDigest(b *testing.B) {
	for _, with := range []bool{false, true} {
		name := map[bool]string{false: "without", true: "with"}[with]
		b.Run(name, func(b *testing.B) { benchmarkPutDigest(b, with) })
	}
}

func benchmarkPutDigest(b *testing.B, with bool) {
	m, all, hashes := benchStore(b, benchKeys/5)
	if !with {
		m.digest.walked = 0
	}
	value := make([]byte, 150)
	var e Entry
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		n := int(uint64(i) * 0x9e3779b97f4a7c15 >> 20 % uint64(len(all)))
		binary.LittleEndian.PutUint64(value, uint64(i))
		m.Find(&e, hashes[n], all[n])
		h := record.Header{Kind: record.Put, TS: uint64(i) + 2}
		m.Put(&e, &h, all[n], value, false)
		if i&31 == 0 {
			m.SetFlushed(m.Tail())
			if m.WantsCleaning() {
				m.Clean(1<<14, Upto(m.Tail()), m.Flushed())
			}
		}
	}
}

// Per key of a walk over an index that is larger than the caches.
func BenchmarkDigestWalk(b *testing.B) {
	m, _, _ := benchStore(b, benchKeys)
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for ; n < b.N; n += benchKeys {
		m.DigestAgain()
		for m.DigestWalk() {
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/key")
}
