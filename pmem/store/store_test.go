package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

// made is a store on the Go heap.
type made struct {
	*Store
	c     seglog.Config
	arena []byte
}

func makeStore(t testing.TB, segments, segmentBytes int, keysMax uint64) *made {
	c := seglog.Config{Arena: make([]byte, segments*segmentBytes), SegmentBytes: segmentBytes, PoolTag: 1, Incarnation: 1}
	return overLog(t, c, seglog.Format(c), keysMax)
}

func overLog(t testing.TB, c seglog.Config, l *seglog.Log, keysMax uint64) *made {
	t.Helper()
	mem := make([]byte, index.Bytes(keysMax)+64)
	x, err := index.Create(aligned(mem), nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	return &made{New(l, x, 77), c, c.Arena}
}

// rebuild fills the index from the log, as the pool does after a power loss.
func (m *made) rebuild() error {
	var ferr error
	err := m.log.Scan(0, m.log.Tail(), func(pos uint64, h *record.Header, img []byte) bool {
		if h.Kind == record.Marker {
			m.lastMarker = pos
			return true
		}
		if m.Hash(record.Key(img)) != h.Hash {
			ferr = fmt.Errorf("record at %d carries another key's hash", pos)
			return false
		}
		var e Entry
		m.Find(&e, h.Hash, record.Key(img))
		w := index.MakeWord(h.Hash, pos, false)
		if !e.OK {
			ferr = m.x.Insert(h.Hash, w, m.hashOf)
			m.inserts++
		} else if h.TS > e.TS || h.TS == e.TS && pos > e.Pos {
			m.x.Store(&e.cursor, w)
		}
		return ferr == nil
	})
	return errors.Join(err, ferr)
}

func keyOf(n int) []byte { return fmt.Appendf(nil, "key-%06d", n) }

// valueOf is recognisable: its key, its timestamp, and bytes that follow from both.
func valueOf(dst []byte, n int, ts uint64, size int) []byte {
	dst = binary.LittleEndian.AppendUint64(dst[:0], uint64(n))
	dst = binary.LittleEndian.AppendUint64(dst, ts)
	for len(dst) < size {
		dst = append(dst, byte(uint64(n)*7+ts*13+uint64(len(dst))))
	}
	return dst
}

func checkValue(v []byte, n int, ts uint64) error {
	if !bytes.Equal(v, valueOf(nil, n, ts, len(v))) {
		return fmt.Errorf("key %d: value is not the one written with timestamp %d", n, ts)
	}
	return nil
}

type known struct {
	ts      uint64
	deleted bool
	bytes   int
}

// put writes or deletes a key through one of the three ways in.
func (m *made) put(r *rand.Rand, model map[int]known, n int, size int, del bool) uint64 {
	key := keyOf(n)
	hash := m.Hash(key)
	was := model[n]
	var e Entry
	m.Find(&e, hash, key)
	assert(e.OK == (was.ts != 0) && e.TS == was.ts && e.Tombstone == was.deleted, "the store's key is not the model's")
	ts := was.ts + 1
	h := record.Header{Kind: record.Put, TS: ts}
	value := valueOf(nil, n, ts, size)
	if del {
		h.Kind, value = record.Delete, nil
	}
	var pos uint64
	switch r.IntN(3) {
	case 0:
		pos = m.Put(&e, &h, key, value, false)
	default:
		img := make([]byte, record.Bytes(len(key), len(value)))
		record.Encode(img, &h, key, value, 5)
		if r.IntN(2) == 0 {
			pos = m.PutCopy(&e, &h, img, false)
		} else {
			var err error
			if pos, err = m.PutVerified(&e, &h, img, false); err != nil {
				panic(err)
			}
		}
	}
	model[n] = known{ts, del, record.Bytes(len(key), len(value))}
	return pos
}

func (m *made) compare(model map[int]known) error {
	r := m.NewReader()
	defer r.Close()
	live := 0
	for n, k := range model {
		v, ts, st := r.Get(m.Hash(keyOf(n)), keyOf(n), nil)
		want := Found
		if k.deleted {
			want = Deleted
		} else {
			live++
		}
		if st != want || ts != k.ts {
			return fmt.Errorf("key %d: %v %d, want %v %d", n, st, ts, want, k.ts)
		}
		if st == Found {
			if err := checkValue(v, n, ts); err != nil {
				return err
			}
		}
	}
	if _, _, st := r.Get(m.Hash([]byte("nobody")), []byte("nobody"), nil); st != Missing {
		return fmt.Errorf("a key nobody wrote: %v", st)
	}
	seen := 0
	if err := m.ForEach(r, func(_ uint64, locked bool, img []byte) bool { seen++; return !locked }); err != nil || seen != len(model) {
		return fmt.Errorf("ForEach: %d records, want %d, %v", seen, len(model), err)
	}
	if !m.clean.uncounted && m.LiveKeys() != uint64(live) {
		return fmt.Errorf("%d live keys, want %d", m.LiveKeys(), live)
	}
	return nil
}

// deadMatches compares the log's account of live bytes with a count.
func (m *made) deadMatches() error {
	live := make(map[uint64]int)
	size := uint64(m.log.SegmentBytes())
	m.x.Words(func(w index.Word) bool {
		live[w.Pos()/size] += record.ImageBytes(m.log.Record(w.Pos()))
		return true
	})
	if m.lastMarker != 0 {
		live[m.lastMarker/size] += record.ImageBytes(m.log.Record(m.lastMarker))
	}
	for _, s := range m.log.Segments() {
		if got := m.log.Live(s.Start / size); got != live[s.Start/size] {
			return fmt.Errorf("segment %d: %d live bytes on account, %d counted", s.Start/size, got, live[s.Start/size])
		}
	}
	return nil
}

// Writes, deletes and cleaning against a model; then the index is built anew
// from the log and everything is compared again.
func TestModel(t *testing.T) {
	var moved, freed, writes int
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := makeStore(t, 24, 4096, 4000)
		model := make(map[int]known)
		for step := range 6000 {
			n := r.IntN(150)
			if r.IntN(4) == 0 {
				n = r.IntN(12) // hot
			}
			size := 16 + r.IntN(200)
			if r.IntN(200) == 0 && m.Fits(64+24) {
				h := record.Header{Kind: record.Marker, Epoch: uint32(step)}
				m.AppendMarker(&h, []byte("marker body"))
			}
			for tries := 0; !m.Fits(record.Bytes(10, size)); tries++ {
				m.SetFlushed(m.Tail())
				if res := m.Clean(2048, Upto(m.Tail()), m.Flushed()); res.Err != nil {
					t.Fatal(res.Err)
				} else if moved += res.MovedRecords; tries > 500 {
					t.Fatalf("seed %d step %d: no room after 500 steps of cleaning: %+v free %d", seed, step, res, m.FreeBytes())
				}
			}
			m.put(r, model, n, size, r.IntN(10) == 0)
			writes++
			if r.IntN(3) == 0 {
				m.SetFlushed(m.Tail())
			}
			told := m.FreeBytes()
			res := m.Clean(r.IntN(1024), Upto(m.Tail()), m.Flushed())
			if res.Err != nil {
				t.Fatal(res.Err)
			}
			if is := m.FreeBytes(); is+2*record.HeaderBytes < told { // a pad now and then
				t.Fatalf("seed %d step %d: cleaning took free space: %d, was %d; %+v debt %d waiting %d victim %d tail %d", seed, step, is, told, res, m.clean.debt, m.clean.waiting, m.clean.victim, m.Tail())
			}
			moved += res.MovedRecords
			freed += res.FreedSegments
			if step%500 == 0 {
				if err := errors.Join(m.compare(model), m.deadMatches()); err != nil {
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
			}
		}
		if err := errors.Join(m.compare(model), m.deadMatches()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if img := m.Record(m.LastMarker()); record.KindOf(img) != record.Marker || !bytes.Equal(record.Body(img), []byte("marker body")) {
			t.Fatalf("seed %d: the newest marker is gone", seed)
		}
		// Another life over the same log.
		marker := record.Epoch(m.Record(m.LastMarker()))
		again := m.anotherLife(t, 4000)
		for again.clean.uncounted {
			if res := again.Clean(1000, Upto(0), again.Tail()); res.Err != nil {
				t.Fatal(res.Err)
			}
			n := r.IntN(150) // while it counts
			if again.Fits(300) {
				again.put(r, model, n, 40, r.IntN(4) == 0)
			}
		}
		if err := errors.Join(again.compare(model), again.deadMatches()); err != nil {
			t.Fatalf("seed %d, second life: %v", seed, err)
		}
		if e := record.Epoch(again.Record(again.LastMarker())); e != marker {
			t.Fatalf("seed %d: newest marker of epoch %d, want %d", seed, e, marker)
		}
	}
	if moved == 0 || freed == 0 {
		t.Fatal("the cleaner did nothing")
	}
	t.Logf("%d writes, %d records moved, %d segments freed", writes, moved, freed)
}

// A log full of dead records, nobody appending: the cleaner gets it free
// again by itself, and then has nothing more to do.
func TestFullLogBecomesFree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	m := makeStore(t, 16, 4096, 100)
	model := make(map[int]known)
	n := 0
	for m.Fits(record.Bytes(10, 100)) {
		m.put(r, model, n%5, 100, false)
		n++
	}
	m.SetFlushed(m.Tail())
	steps := 0
	for m.WantsCleaning() {
		if steps++; steps > 2000 {
			t.Fatalf("still cleaning: free %d", m.FreeBytes())
		}
		m.Clean(4096, Upto(m.Tail()), m.Flushed())
		m.SetFlushed(m.Tail())
	}
	if free := m.FreeBytes(); free < 4096*6 {
		t.Fatalf("%d bytes free of %d", free, len(m.arena))
	}
	if err := m.compare(model); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records, free after %d steps", n, steps)
}

// A log full of live records: the cleaner finds nothing and says so, and moves
// nothing for ever.
func TestFullLogOfLiveRecords(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	m := makeStore(t, 16, 4096, 2000)
	model := make(map[int]known)
	for n := 0; m.Fits(record.Bytes(10, 100)); n++ {
		m.put(r, model, n, 100, false)
	}
	m.SetFlushed(m.Tail())
	moved, idle := 0, 0
	for range 500 {
		res := m.Clean(4096, Upto(m.Tail()), m.Flushed())
		m.SetFlushed(m.Tail())
		moved += res.MovedRecords
		if res.Idle {
			idle++
		}
	}
	if moved != 0 || idle < 490 || !m.SpaceShort() {
		t.Fatalf("moved %d records, idle in %d of 500 steps, short %v", moved, idle, m.SpaceShort())
	}
	if err := m.compare(model); err != nil {
		t.Fatal(err)
	}
}

// The bound is never crossed, a locked record never moved, and a reader that is
// inside keeps a segment.
func TestCleanerKeepsOff(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	m := makeStore(t, 16, 4096, 100)
	model := make(map[int]known)
	lockedPos := m.put(r, model, 1000, 100, false)
	if !m.Lock(m.Hash(keyOf(1000)), lockedPos) {
		t.Fatal("not locked")
	}
	for m.log.FreeSegments() > 4 {
		m.put(r, model, r.IntN(5), 100, false)
	}
	m.SetFlushed(m.Tail())
	all := m.log.Segments()
	bound := all[6].Start // a few bytes into the seventh segment
	m.Press(true)
	drain := func(bound uint64) (freed int) {
		for range 300 {
			res := m.Clean(4096, Upto(bound), m.Flushed())
			freed += res.FreedSegments
			m.SetFlushed(m.Tail())
		}
		return freed
	}
	if freed := drain(bound); freed != 5 { // six below the bound, one holds the locked record
		t.Fatalf("%d segments freed below the bound, want 5", freed)
	}
	for _, s := range all[6:] {
		if m.Record(s.Start) == nil {
			t.Fatalf("segment at %d, above the bound, was freed", s.Start)
		}
	}
	if current, locked := m.References(m.Hash(keyOf(1000)), lockedPos); !current || !locked {
		t.Fatal("the locked record moved")
	}
	if !m.Unlock(m.Hash(keyOf(1000)), lockedPos) || m.Unlock(m.Hash(keyOf(1000)), lockedPos+16) {
		t.Fatal("unlock")
	}
	for m.Fits(200) { // space is short again
		m.put(r, model, r.IntN(5), 100, false)
	}
	m.SetFlushed(m.Tail())
	inside := m.NewReader()
	if !inside.enter() {
		t.Fatal("shut")
	}
	if freed := drain(m.Tail()); freed != 0 {
		t.Fatalf("%d segments freed under a reader", freed)
	}
	inside.leave()
	if freed := drain(m.Tail()); freed == 0 {
		t.Fatal("nothing freed after the reader left")
	}
	if current, _ := m.References(m.Hash(keyOf(1000)), lockedPos); current {
		t.Fatal("the unlocked record was not moved")
	}
	if err := m.compare(model); err != nil {
		t.Fatal(err)
	}
}

// H25, by power loss: what was durable is there after the index is built anew
// from what reached the media, wherever the cleaner stood. Without the flush
// the same test must fail.
func TestCleanerLosesNothingByPowerLoss(t *testing.T) {
	crashes := 0
	for seed := range uint64(10) {
		n, err := cleanAndCrash(t, seed, true)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		crashes += n
	}
	caught := 0
	for seed := range uint64(10) {
		if _, err := cleanAndCrash(t, seed, false); err != nil {
			caught++
		}
	}
	if caught == 0 {
		t.Fatal("with flushes left out nothing is lost: the test proves nothing")
	}
	t.Logf("%d crashes; %d of 10 runs without flushes noticed", crashes, caught)
}

func cleanAndCrash(t *testing.T, seed uint64, honest bool) (crashes int, err error) {
	r := rand.New(rand.NewPCG(seed, 3))
	m := makeStore(t, 16, 1024, 200)
	media := make([]byte, len(m.arena))
	model := make(map[int]known)
	durable := make(map[int]known)
	floor := uint64(0)
	copyRange := func(x seglog.Range) {
		from, to := x.Off&^63, min((x.Off+x.Len+63)&^63, len(media))
		copy(media[from:to], m.arena[from:to])
	}
	flush := func() {
		to := m.Tail()
		for _, x := range m.log.Ranges(nil, m.Flushed(), to) {
			if honest || r.IntN(3) == 0 {
				copyRange(x)
			}
		}
		m.SetFlushed(to)
		floor = to
		clear(durable)
		for n, k := range model {
			durable[n] = k
		}
	}
	for step := range 1500 {
		n := r.IntN(30)
		size := 16 + r.IntN(60)
		for range 50 {
			if m.Fits(record.Bytes(10, size)) {
				break
			}
			flush()
			m.Clean(512, Upto(m.Tail()), m.Flushed())
		}
		if m.Fits(record.Bytes(10, size)) {
			m.put(r, model, n, size, r.IntN(8) == 0)
		}
		if r.IntN(6) == 0 {
			flush()
		}
		if res := m.Clean(r.IntN(600), Upto(m.Tail()), m.Flushed()); res.Err != nil {
			return crashes, res.Err
		}
		if step%10 != 0 {
			continue
		}
		// What a power loss now would leave; the run itself goes on.
		state := bytes.Clone(media)
		for line := 0; line < len(state); line += 64 {
			if r.IntN(2) == 0 {
				copy(state[line:line+64], m.arena[line:line+64])
			}
		}
		c := m.c
		c.Arena, c.Incarnation = state, 2
		l, _, err := seglog.Recover(c, floor, 0)
		if err != nil {
			return crashes, fmt.Errorf("step %d: %w", step, err)
		}
		after := overLog(t, c, l, 200)
		if err := after.rebuild(); err != nil {
			return crashes, fmt.Errorf("step %d: %w", step, err)
		}
		for n, k := range durable {
			var e Entry
			after.Find(&e, after.Hash(keyOf(n)), keyOf(n))
			if !e.OK || e.TS < k.ts {
				return crashes, fmt.Errorf("step %d: key %d was durable with timestamp %d, found %v %d", step, n, k.ts, e.OK, e.TS)
			}
			if e.TS == k.ts && e.Tombstone != k.deleted {
				return crashes, fmt.Errorf("step %d: key %d: another kind", step, n)
			}
		}
		crashes++
	}
	return crashes, m.compare(model)
}

func TestManifest(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	m := makeStore(t, 64, 4096, 1000)
	model := make(map[int]known)
	for range 200 {
		m.put(r, model, r.IntN(50), 100, false)
	}
	from := m.Tail()
	want := make(map[uint64]bool) // position: locked
	at := make(map[int]uint64)
	for i := range 400 {
		n := r.IntN(40)
		pos := m.put(r, model, n, 100, r.IntN(9) == 0)
		delete(want, at[n])
		at[n] = pos
		want[pos] = i > 300 && m.Lock(m.Hash(keyOf(n)), pos)
	}
	// A relocated copy does not belong to a missed range.
	var e Entry
	m.Find(&e, m.Hash(keyOf(49)), keyOf(49))
	if !e.OK {
		t.Fatal("key 49 was never written")
	}
	img := bytes.Clone(m.Record(e.Pos)[:e.bytes])
	var h record.Header
	record.Decode(img, &h)
	h.Flags = record.FlagRelocated
	m.PutCopy(&e, &h, img, false)
	to := m.Tail()
	for _, full := range []bool{false, true} {
		got, runs, bytesIn := 0, 0, 0
		begin := from
		if full {
			begin = 0
		}
		err := m.Manifest(begin, to, full, func(pos uint64, off int64, n int, inc uint32, locked bool) bool {
			runs++
			bytesIn += n
			for end := pos + uint64(n); pos < end; {
				var h record.Header
				img := m.arena[off : off+int64(n)]
				if err := record.VerifyHeader(img, record.Seed(pos, inc), &h); err != nil {
					t.Fatalf("run at %d: %v", pos, err)
				}
				if l, ok := want[pos]; !full && (!ok || l != locked) {
					t.Fatalf("record at %d, locked %v: not in the range", pos, locked)
				}
				b := h.Bytes()
				pos, off, n = pos+uint64(b), off+int64(b), n-b
				got++
			}
			return true
		})
		wanted := len(want)
		if full {
			wanted = len(model)
		}
		if err != nil || got != wanted {
			t.Fatalf("full %v: %d records, want %d, %v", full, got, wanted, err)
		}
		t.Logf("full %v: %d records, %d bytes in %d runs of %d bytes of log", full, got, bytesIn, runs, to-begin)
	}
}

// A flipped bit in a record is refused by the reads that verify, and no flip
// ends in a panic or in another key's value.
func TestFlippedBitsInRecords(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	m := makeStore(t, 8, 4096, 100)
	model := make(map[int]known)
	pos := m.put(r, model, 1, 40, false)
	n := model[1].bytes
	off, _ := m.log.ArenaOffset(pos)
	rd := m.NewReader()
	defer rd.Close()
	key := keyOf(1)
	damaged := 0
	for bit := range (record.HeaderBytes + 10 + 40) * 8 {
		m.arena[int(off)+bit/8] ^= 1 << (bit % 8)
		if _, _, st := rd.Get(m.Hash(key), key, nil); st != Damaged {
			t.Fatalf("bit %d of %d: not noticed: %v", bit, n*8, st)
		}
		damaged++
		var e Entry
		m.Find(&e, m.Hash(key), key)
		m.arena[int(off)+bit/8] ^= 1 << (bit % 8)
	}
	if err := m.compare(model); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d flips", damaged)
}

func TestPutVerifiedRefuses(t *testing.T) {
	m := makeStore(t, 8, 4096, 100)
	img := make([]byte, record.Bytes(10, 50))
	h := record.Header{Kind: record.Put, TS: 1}
	record.Encode(img, &h, keyOf(1), make([]byte, 50), 3)
	var e Entry
	m.Find(&e, m.Hash(keyOf(1)), keyOf(1))
	tail := m.Tail()
	img[90] ^= 1
	if _, err := m.PutVerified(&e, &h, img, true); err != record.ErrBody {
		t.Fatalf("changed value: %v", err)
	}
	img[90] ^= 1
	// The key changed after it was hashed, header and all.
	m.Find(&e, m.Hash(keyOf(2)), keyOf(2))
	if _, err := m.PutVerified(&e, &h, img, true); err != record.ErrBody {
		t.Fatalf("changed key: %v", err)
	}
	if m.Tail() > tail+seglog.SegmentHeaderBytes+4096 || m.x.Len() != 0 {
		t.Fatalf("something was appended: tail %d, %d keys", m.Tail(), m.x.Len())
	}
	m.Find(&e, m.Hash(keyOf(1)), keyOf(1))
	pos, err := m.PutVerified(&e, &h, img, true)
	if err != nil || pos == 0 {
		t.Fatal(err)
	}
	if current, locked := m.References(m.Hash(keyOf(1)), pos); !current || !locked {
		t.Fatal("not referred to")
	}
}

// An index that is full refuses the key and nothing else.
func TestFullIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	m := makeStore(t, 256, 1<<16, 1)
	model := make(map[int]known)
	for n := 0; ; n++ {
		var e Entry
		key := keyOf(n)
		m.Find(&e, m.Hash(key), key)
		h := record.Header{Kind: record.Put, TS: 1}
		if !m.Fits(100) {
			t.Fatal("the log is full before the index")
		}
		if m.Put(&e, &h, key, valueOf(nil, n, 1, 16), false) == 0 {
			break
		}
		model[n] = known{ts: 1}
	}
	m.put(r, model, 0, 20, false)
	m.put(r, model, 1, 20, true)
	if err := errors.Join(m.compare(model), m.deadMatches()); err != nil {
		t.Fatal(err)
	}
	t.Logf("full at %d keys", len(model))
}

func TestShut(t *testing.T) {
	m := makeStore(t, 8, 4096, 100)
	r := m.NewReader()
	m.Shut()
	if _, _, st := r.Get(1, []byte("k"), nil); st != Shut {
		t.Fatalf("%v after Shut", st)
	}
	if err := m.Manifest(0, 1<<40, true, nil); err != ErrShut {
		t.Fatal(err)
	}
	if err := m.ForEach(r, nil); err != ErrShut {
		t.Fatal(err)
	}
	r.Close()
	for range 10 {
		m.NewReader().Close()
	}
	n := 0
	for p := m.readers.Load(); p != nil; p = p.next {
		n++
	}
	if n != 2 { // r and Manifest's
		t.Fatalf("%d readers made, closed ones are not used again", n)
	}
}

// Cold records in one segment while the others are used over and over: before
// the segment table runs out, the cold ones are moved though nothing of their
// segment is dead.
func TestColdSegmentDoesNotExhaustTheTable(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	m := makeStore(t, 16, 4096, 100)
	model := make(map[int]known)
	cold := 0
	for m.log.FreeSegments() > 14 {
		m.put(r, model, 100+cold, 100, false)
		cold++
	}
	first := m.log.Oldest()
	moved := 0
	for i := range 16 * 20 * 20 {
		for tries := 0; !m.Fits(record.Bytes(10, 100)); tries++ {
			m.SetFlushed(m.Tail())
			m.Clean(4096, Upto(m.Tail()), m.Flushed())
			if tries > 500 {
				t.Fatalf("write %d: no room, oldest %d, tail %d", i, m.log.Oldest(), m.Tail())
			}
		}
		m.put(r, model, i%5, 100, false)
		if i%8 == 0 {
			m.SetFlushed(m.Tail())
			moved += m.Clean(1<<14, Upto(m.Tail()), m.Flushed()).MovedRecords
		}
	}
	if m.log.Oldest() == first || moved < cold {
		t.Fatalf("oldest segment still at %d, %d records moved", m.log.Oldest(), moved)
	}
	if laps := (m.Tail() - first) / uint64(len(m.arena)); laps < 15 {
		t.Fatalf("%d laps only", laps)
	}
	if err := errors.Join(m.compare(model), m.deadMatches()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d cold records, %d moved, %d laps", cold, moved, (m.Tail()-first)/uint64(len(m.arena)))
}
