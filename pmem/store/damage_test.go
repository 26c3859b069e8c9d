package store

import (
	"math/rand/v2"
	"slices"
	"testing"

	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

// hurt flips a bit of key n's record, in its header, key or value.
func (m *made) hurt(t *testing.T, n, byteAt int) (pos uint64, mend func()) {
	t.Helper()
	var e Entry
	m.Find(&e, m.Hash(keyOf(n)), keyOf(n))
	if !e.OK {
		t.Fatalf("key %d is not there", n)
	}
	off, _ := m.log.ArenaOffset(e.Pos)
	at := &m.arena[int(off)+byteAt]
	*at ^= 4
	return e.Pos, func() { *at ^= 4 }
}

const (
	inTS    = 9
	inHash  = 57
	inKey   = record.HeaderBytes + 6
	inValue = record.HeaderBytes + 30
)

// member is another node's store with the same records.
func (m *made) member(t *testing.T) *made {
	x := makeStore(t, 16, 4096, 1000)
	err := m.ForEach(m.NewReader(), func(_ uint64, locked bool, img []byte) bool {
		var e Entry
		var h record.Header
		record.Decode(img, &h)
		x.Find(&e, h.Hash, record.Key(img))
		return x.PutCopy(&e, &h, img, locked) != 0
	})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// heal carries out what the peers' part does, with one member.
func (m *made) heal(t *testing.T, from *made) (settled, refused int) {
	t.Helper()
	for _, h := range m.TakeDamaged(nil, 100) {
		damaged, err := from.Alike(h.Hash, h.Mask, func(locked bool, hd *record.Header, key, value []byte) bool {
			if locked {
				t.Fatal("locked")
			}
			if _, err := m.Repair(*hd, append([]byte(nil), key...), append([]byte(nil), value...)); err != nil && err != ErrRepairOlder {
				t.Fatal(err)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if !damaged && m.Settle(&h) {
			settled++
			continue
		}
		m.Refuse(&h)
		refused++
	}
	return settled, refused
}

// Every flipped bit of a record is met, refused, fetched from a member, and
// nobody else's record goes with it.
func TestRepair(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 1))
	m := makeStore(t, 16, 4096, 1000)
	model := map[int]known{}
	for i := range 60 {
		m.put(r, model, i, 40, i%7 == 0)
	}
	from := m.member(t)
	rd := m.NewReader()
	defer rd.Close()
	flips := 0
	for bit := range (record.HeaderBytes + 10 + 40) * 8 {
		n := 1 + bit%6
		var e Entry
		m.Find(&e, m.Hash(keyOf(n)), keyOf(n))
		off, _ := m.log.ArenaOffset(e.Pos)
		m.arena[int(off)+bit/8] ^= 1 << (bit % 8)
		if _, _, st := rd.Get(m.Hash(keyOf(n)), keyOf(n), nil); st != Damaged {
			t.Fatalf("bit %d: %v", bit, st)
		}
		if s, f := m.heal(t, from); s != 1 || f != 0 {
			t.Fatalf("bit %d: %d settled, %d refused", bit, s, f)
		}
		if err := m.compare(model); err != nil {
			t.Fatalf("bit %d: %v", bit, err)
		}
		flips++
		for tries := 0; !m.Fits(400); tries++ {
			m.SetFlushed(m.Tail())
			r := m.Clean(1<<20, Upto(m.Tail()), m.Flushed())
			if tries == 200 {
				n, ok := m.log.Victim(m.Tail())
				t.Fatalf("bit %d: no room: %+v, holes %+v, victim %d %v, free %d, %+v, %+v", bit, r, m.holes.all, n, ok, m.log.FreeSegments(), m.Damage(), m.clean)
			}
		}
	}
	c := m.Damage()
	if c.Found != uint64(flips) || c.Repaired != uint64(flips) || c.Open != 0 || flips == 0 {
		t.Fatalf("%d flips: %+v", flips, c)
	}
	t.Logf("%d flips: %+v", flips, c)
}

// What is damaged decides nothing: an older write does not win over a record
// whose timestamp cannot be read, and no timestamp is chosen over it.
func TestDamagedRecordsDecideNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		at    int
		floor uint64 // known timestamp
		ok    bool   // key and timestamp are certain
	}{
		{"timestamp", inTS, TSUnknown, false},
		{"hash", inHash, TSUnknown, false},
		{"key", inKey, 5, false},
		{"value", inValue, 0, true},
	} {
		r := rand.New(rand.NewPCG(7, 2))
		m := makeStore(t, 16, 4096, 1000)
		model := map[int]known{}
		for range 5 {
			m.put(r, model, 1, 60, false)
		}
		from := m.member(t)
		m.hurt(t, 1, c.at)
		key, hash := keyOf(1), m.Hash(keyOf(1))
		var e Entry
		m.Find(&e, hash, key)
		if e.OK != c.ok || e.Damaged != (c.floor != 0) || e.Floor != c.floor || c.ok && e.TS != 5 {
			t.Fatalf("%s: %+v", c.name, e)
		}
		// A follower applies what its coordinator sends, beside the damaged one.
		ts := uint64(3)
		if c.ok {
			ts = 6
		}
		h := record.Header{Kind: record.Put, TS: ts}
		if m.Put(&e, &h, key, valueOf(nil, 1, ts, 60), false) == 0 {
			t.Fatal("full")
		}
		rd := m.NewReader()
		_, got, st := rd.Get(hash, key, nil)
		if c.ok && (st != Found || got != 6) || !c.ok && st != Damaged {
			t.Fatalf("%s: after a write at %d: %v at %d", c.name, ts, st, got)
		}
		if !c.ok {
			if s, f := m.heal(t, from); s != 1 || f != 0 {
				t.Fatalf("%s: %d settled, %d refused", c.name, s, f)
			}
			if v, got, st := rd.Get(hash, key, nil); st != Found || got != 5 || checkValue(v, 1, 5) != nil {
				t.Fatalf("%s: after the repair: %v at %d", c.name, st, got)
			}
		}
		rd.Close()
	}
}

// A member that holds less than what was damaged does not bring it back, and a
// newer write cures.
func TestOlderCopyIsRefused(t *testing.T) {
	for _, at := range []int{inKey, inValue} {
		r := rand.New(rand.NewPCG(7, 3))
		m := makeStore(t, 16, 4096, 1000)
		model := map[int]known{}
		m.put(r, model, 1, 60, false)
		from := m.member(t)
		m.put(r, model, 1, 60, false)
		m.hurt(t, 1, at)
		rd := m.NewReader()
		key, hash := keyOf(1), m.Hash(keyOf(1))
		if _, _, st := rd.Get(hash, key, nil); st != Damaged {
			t.Fatal(st)
		}
		if s, f := m.heal(t, from); s != 0 || f != 1 || m.Damage().Refused != 1 {
			t.Fatalf("%d settled, %d refused, %+v", s, f, m.Damage())
		}
		if _, _, st := rd.Get(hash, key, nil); st != Damaged {
			t.Fatalf("after a refusal: %v", st)
		}
		var e Entry
		m.Find(&e, hash, key)
		h := record.Header{Kind: record.Put, TS: max(e.TS, e.Floor) + 1}
		m.Put(&e, &h, key, valueOf(nil, 1, h.TS, 60), false)
		if v, ts, st := rd.Get(hash, key, nil); st != Found || ts != 3 || checkValue(v, 1, 3) != nil {
			t.Fatalf("after a write: %v at %d", st, ts)
		}
		rd.Close()
	}
}

// Keys that share all that the index knows of a hash: damage to one of them
// neither hides the other nor is settled by it.
func TestRepairLeavesNeighboursAlone(t *testing.T) {
	m := makeStore(t, 16, 4096, 1000)
	from := makeStore(t, 16, 4096, 1000)
	mine, other, hash := []byte("mine"), []byte("other"), m.Hash([]byte("mine"))
	for _, s := range []*made{m, from} {
		for i, key := range [][]byte{mine, other} {
			// Of one hash altogether, which no two keys have in truth.
			e := Entry{hash: hash, inserts: s.inserts}
			h := record.Header{Kind: record.Put, TS: uint64(5 - i)}
			if s.Put(&e, &h, key, valueOf(nil, i, 1, 60), false) == 0 {
				t.Fatal("full")
			}
		}
	}
	rd := m.NewReader()
	defer rd.Close()
	tried := 0
	for _, at := range []int{inTS, inHash, record.HeaderBytes + 1, record.HeaderBytes + 8} {
		for _, key := range [][]byte{mine, other} {
			var e Entry
			m.Find(&e, hash, key)
			off, _ := m.log.ArenaOffset(e.Pos)
			m.arena[int(off)+at] ^= 1
			if _, _, st := rd.Get(hash, key, nil); st != Damaged {
				t.Fatalf("byte %d of %s: %v", at, key, st)
			}
			for _, h := range m.TakeDamaged(nil, 10) {
				// As Repair, but for the hash, which these two only pretend to have.
				damaged, _ := from.Alike(h.Hash, h.Mask, func(_ bool, hd *record.Header, k, v []byte) bool {
					var e Entry
					m.Find(&e, hash, k)
					if e.OK && m.Whole(e.Pos) {
						return true
					}
					h := *hd
					return m.Put(&e, &h, k, v, false) != 0
				})
				if damaged || !m.Settle(&h) {
					t.Fatal("not settled")
				}
			}
			for i, k := range [][]byte{mine, other} {
				if v, ts, st := rd.Get(hash, k, nil); st != Found || ts != uint64(5-i) || checkValue(v, i, 1) != nil {
					t.Fatalf("byte %d of %s: %s is %v at %d", at, key, k, st, ts)
				}
			}
			tried++
		}
	}
	if m.Damage().Open != 0 || m.x.Len() != 2 {
		t.Fatalf("%+v, %d words", m.Damage(), m.x.Len())
	}
	t.Logf("%d repairs beside a key of the same hash", tried)
}

// Index pages divide while records are damaged: no lookup may take that for a
// miss.
func TestDamageOutlivesSplits(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 4))
	m := makeStore(t, 64, 1<<16, 60_000)
	model := map[int]known{}
	const keys = 1000
	for i := range keys {
		m.put(r, model, i, 8, false)
	}
	from := makeStore(t, 64, 1<<16, 60_000)
	if err := m.ForEach(m.NewReader(), func(_ uint64, _ bool, img []byte) bool {
		var e Entry
		var h record.Header
		record.Decode(img, &h)
		from.Find(&e, h.Hash, record.Key(img))
		return from.PutCopy(&e, &h, img, false) != 0
	}); err != nil {
		t.Fatal(err)
	}
	hurt := map[int]bool{}
	for i := 0; i < keys; i += 13 {
		m.hurt(t, i, []int{inTS, inHash}[i%2])
		hurt[i] = true
	}
	pages := m.x.Usage().Pages
	for i := keys; i < 12*keys; i++ {
		m.put(r, model, i, 8, false)
	}
	if now := m.x.Usage().Pages; now < 2*pages {
		t.Fatalf("%d pages, %d before", now, pages)
	}
	rd := m.NewReader()
	defer rd.Close()
	see := func() (refused int) {
		for i := range 12 * keys {
			v, _, st := rd.Get(m.Hash(keyOf(i)), keyOf(i), nil)
			switch {
			case st == Damaged:
				refused++
			case st != Found || hurt[i] || checkValue(v, i, 1) != nil:
				t.Fatalf("key %d, damaged %v: %v", i, hurt[i], st)
			}
		}
		return refused
	}
	refused := see()
	if refused < len(hurt) || refused > len(hurt)+2 {
		t.Fatalf("%d refused, %d damaged", refused, len(hurt))
	}
	s, f := m.heal(t, from)
	clear(hurt)
	if more := see(); f != 0 || more != 0 {
		t.Fatalf("%d settled, %d refused by the members, %d keys refused after it", s, f, more)
	}
	t.Logf("%d damaged records through %d page splits, %d keys refused", s, m.x.Usage().Pages-pages, refused)
}

// The scrubber finds what nobody reads: damaged bodies and headers of current
// records, and segment headers, which the worker writes again.
func TestScrub(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 5))
	m := makeStore(t, 32, 4096, 1000)
	model := map[int]known{}
	for i := range 200 {
		m.put(r, model, i%120, 60, false)
	}
	from := m.member(t)
	x := m.NewScrubber()
	defer x.Close()
	lap := func() {
		t.Helper()
		for range 1000 {
			done, err := x.Step(1000)
			if err != nil {
				t.Fatal(err)
			}
			if done {
				return
			}
		}
		t.Fatal("no lap in 1000 steps")
	}
	lap()
	if c := m.Scrubbed(); c.Hurt != 0 || c.Headers != 0 || c.Bytes < 200*128 || m.Damage().Found != 0 {
		t.Fatalf("%+v, %+v", c, m.Damage())
	}
	for i, at := range []int{inTS, inKey, inValue, inHash} {
		m.hurt(t, 10+20*i, at)
	}
	hurtHeader := m.log.Oldest()
	off, _ := m.log.ArenaOffset(hurtHeader)
	m.arena[off+9] ^= 1
	lap()
	m.log.Ranges(nil, m.Tail(), m.Tail())
	m.SetFlushed(m.Tail())
	m.Clean(1<<20, Upto(m.Tail()), 0) // goes through the index for the damaged headers
	goesOut := slices.Contains(m.log.Ranges(nil, m.log.Flushed(), m.Tail()), seglog.Range{Off: int(off), Len: seglog.SegmentHeaderBytes})
	if m.Tail() == m.log.Flushed() || !goesOut {
		t.Errorf("nobody writes: the mended header waits for a flush that does not come (tail %d, flushed %d, to go out %v)", m.Tail(), m.log.Flushed(), goesOut)
	}
	c := m.Scrubbed()
	if c.Hurt != 4 || c.Headers != 1 || c.Mended != 1 || m.Damage().Found != 4 {
		t.Fatalf("%+v, %+v", c, m.Damage())
	}
	if !m.log.HeaderWhole(hurtHeader / 4096) {
		t.Fatal("the segment's header is as it was")
	}
	if s, f := m.heal(t, from); s != 4 || f != 0 {
		t.Fatalf("%d settled, %d refused", s, f)
	}
	if err := m.compare(model); err != nil {
		t.Fatal(err)
	}
	lap()
	if now := m.Scrubbed(); m.Damage().Found != 4 {
		t.Fatalf("found again: %+v, %+v", now, m.Damage())
	}
}

// A segment with a damaged current record stays until the record was settled,
// whatever is dead in it.
func TestCleanerKeepsDamage(t *testing.T) {
	for _, at := range []int{inTS, inValue} {
		r := rand.New(rand.NewPCG(7, 6))
		m := makeStore(t, 16, 4096, 1000)
		model := map[int]known{}
		m.put(r, model, 1, 60, false)
		from := m.member(t)
		pos, _ := m.hurt(t, 1, at)
		fill := func() {
			for range 1000 {
				if m.Fits(400) {
					m.put(r, model, 2+r.IntN(3), 200, false)
				}
				m.SetFlushed(m.Tail())
				m.Clean(8192, Upto(m.Tail()), m.Flushed())
			}
		}
		fill()
		if _, live := m.log.ArenaOffset(pos); !live {
			t.Fatalf("byte %d: the segment of a damaged record went", at)
		}
		if s, f := m.heal(t, from); s != 1 || f != 0 {
			t.Fatalf("byte %d: %d settled, %d refused: the cleaner has not reported it", at, s, f)
		}
		fill()
		if _, live := m.log.ArenaOffset(pos); live {
			t.Fatalf("byte %d: the segment stays for ever", at)
		}
		if err := m.compare(model); err != nil {
			t.Fatal(err)
		}
	}
}
