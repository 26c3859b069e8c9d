package seglog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"healkv/pmem/record"
)

func config(segments, segmentBytes int, inc uint32) Config {
	return Config{Arena: make([]byte, segments*segmentBytes), SegmentBytes: segmentBytes, PoolTag: 0xfeed, Incarnation: inc}
}

// written remembers what was appended where.
type written struct {
	pos  uint64
	body []byte
	kind record.Kind
}

// writer appends records of varying sizes, each different from all others.
type writer struct {
	r   *rand.Rand
	l   *Log
	n   uint64
	all []written
}

func (w *writer) one(valueMax int) written {
	w.n++
	key := fmt.Appendf(nil, "key-%d", w.n)
	value := bytes.Repeat([]byte{byte(w.n)}, w.r.IntN(valueMax+1))
	for i := range min(8, len(value)) {
		value[i] = byte(w.n >> (8 * i))
	}
	h := record.Header{Kind: record.Put, TS: w.n}
	pos := w.l.Append(&h, key, value)
	rec := written{pos, append(key, value...), record.Put}
	w.all = append(w.all, rec)
	return rec
}

// same compares what a scan finds in [from, tail) with `want`, in order.
func same(l *Log, want []written) error {
	i := 0
	var bad error
	err := l.Scan(0, l.Tail(), func(pos uint64, h *record.Header, img []byte) bool {
		if i >= len(want) || want[i].pos != pos || !bytes.Equal(record.Body(img), want[i].body) || len(img) != h.Bytes() {
			bad = fmt.Errorf("record %d at %d is not what was written", i, pos)
			return false
		}
		i++
		return true
	})
	if err == nil {
		err = bad
	}
	if err == nil && i != len(want) {
		err = fmt.Errorf("%d records, want %d", i, len(want))
	}
	return err
}

func TestScanReturnsWhatWasAppended(t *testing.T) {
	c := config(64, 4096, 3)
	l := Format(c)
	w := &writer{r: rand.New(rand.NewPCG(1, 1)), l: l}
	last := uint64(0)
	for l.Fits(record.Bytes(32, 700)) {
		rec := w.one(700)
		if rec.pos <= last || rec.pos%record.Align != 0 || rec.pos == 0 {
			t.Fatalf("position %d after %d", rec.pos, last)
		}
		last = rec.pos
		if off, ok := l.ArenaOffset(rec.pos); !ok || !bytes.Equal(record.Body(c.Arena[off:]), rec.body) {
			t.Fatalf("position %d is not at arena offset %d", rec.pos, off)
		}
		if !bytes.Equal(record.Body(l.Record(rec.pos)), rec.body) {
			t.Fatalf("Record(%d) differs", rec.pos)
		}
		if inc, ok := l.IncarnationOf(rec.pos); !ok || inc != 3 {
			t.Fatalf("incarnation %d", inc)
		}
	}
	if err := same(l, w.all); err != nil {
		t.Fatal(err)
	}
	// From the middle, and in parallel pieces by segment.
	mid := len(w.all) / 2
	n := 0
	if err := l.Scan(w.all[mid].pos, w.all[mid+10].pos, func(pos uint64, _ *record.Header, _ []byte) bool {
		if pos != w.all[mid+n].pos {
			t.Fatalf("record %d at %d", n, pos)
		}
		n++
		return true
	}); err != nil || n != 10 {
		t.Fatalf("%d records, %v", n, err)
	}
	n = 0
	for _, s := range l.Segments() {
		if err := l.Scan(s.Start, s.End, func(uint64, *record.Header, []byte) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
	}
	if n != len(w.all) {
		t.Fatalf("%d records by segment, want %d", n, len(w.all))
	}
	if l.Record(1<<40) != nil {
		t.Fatal("a record where none is")
	}
	t.Logf("%d records in %d segments", len(w.all), len(l.Segments()))
}

// FreeBytes is a promise: that many bytes of records no larger than the
// largest so far fit, whatever their sizes.
func TestFreeBytesIsKept(t *testing.T) {
	n := 0
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		l := Format(config(8, 4096, 1))
		w := &writer{r: r, l: l}
		h := record.Header{Kind: record.Put}
		l.Append(&h, []byte("k"), make([]byte, 900)) // the largest
		for range r.IntN(20) {
			w.one(800)
		}
		left := int(l.FreeBytes())
		for {
			size := r.IntN(860)
			b := record.Bytes(1, size)
			if b > left {
				break
			}
			if !l.Fits(b) {
				t.Fatalf("seed %d: %d bytes promised, %d do not fit", seed, left, b)
			}
			l.Append(&h, []byte("k"), make([]byte, size))
			left -= b
			n++
		}
	}
	t.Logf("%d records", n)
}

// A process killed between two stores: the arena as it stands at every record
// boundary, and at every word of an append, recovers to exactly the prefix.
func TestProcessCrashAtEveryStore(t *testing.T) {
	c := config(16, 1024, 5)
	l := Format(c)
	w := &writer{r: rand.New(rand.NewPCG(7, 7)), l: l}
	var before []byte
	crashes := 0
	for l.Fits(record.Bytes(16, 200)) {
		before = bytes.Clone(c.Arena)
		l.SetFlushed(l.Tail())
		rec := w.one(200)
		off, _ := l.ArenaOffset(rec.pos)
		n := record.Bytes(0, len(rec.body))
		// Stores of one append in their order: blank behind, body, header.
		order := []int{}
		for _, part := range [][2]int{{n, n + 64}, {64, n}, {0, 64}} {
			for at := part[0]; at < part[1] && int(off)%1024+at+8 <= 1024; at += 8 {
				order = append(order, int(off)+at)
			}
		}
		state := bytes.Clone(c.Arena)
		for _, at := range order {
			copy(state[at:at+8], before[at:at+8])
		}
		for i := -1; i < len(order); i++ {
			if i >= 0 {
				copy(state[order[i]:order[i]+8], c.Arena[order[i]:order[i]+8])
			}
			d := c
			d.Arena = bytes.Clone(state)
			d.Incarnation = 6
			g, info, err := Recover(d, 0, 0)
			if err != nil {
				t.Fatalf("crash in record %d after store %d: %v", len(w.all), i, err)
			}
			want := w.all
			if i < len(order)-1 && !bytes.Equal(state, c.Arena) {
				want = want[:len(want)-1]
			}
			if err := same(g, want); err != nil {
				t.Fatalf("crash in record %d after store %d of %d: %v (%+v)", len(w.all), i, len(order), err, info)
			}
			crashes++
		}
		d := c
		d.Arena = bytes.Clone(c.Arena)
		d.Incarnation = 6
		g, info, err := Recover(d, l.Flushed(), 0)
		if err != nil || info.Tail != l.Tail() {
			t.Fatalf("crash behind record %d: tail %d, want %d, %v", len(w.all), info.Tail, l.Tail(), err)
		}
		if err := same(g, w.all); err != nil {
			t.Fatal(err)
		}
		// It goes on in a segment of its own.
		if !g.Fits(64) {
			continue
		}
		h := record.Header{Kind: record.Put}
		if pos := g.Append(&h, []byte("next life"), nil); pos>>10 <= info.Tail>>10 {
			t.Fatalf("position %d in the segment of the tail %d", pos, info.Tail)
		}
	}
	t.Logf("%d records, %d crashes", len(w.all), crashes)
}

// media is the crashable region: bytes reach it by flush, or by chance.
type media struct {
	arena, drained []byte
}

func (m *media) flush(rs []Range) {
	for _, r := range rs {
		// Whole lines, as a processor would.
		from, to := r.Off&^63, min((r.Off+r.Len+63)&^63, len(m.arena))
		copy(m.drained[from:to], m.arena[from:to])
	}
}

// crash is one state a power loss can leave: of the words that differ from
// what was drained, any may have reached the media; torn at 8 bytes.
func (m *media) crash(r *rand.Rand) []byte {
	state := bytes.Clone(m.drained)
	mode := r.IntN(4)
	for line := 0; line < len(state); line += 64 {
		if bytes.Equal(state[line:line+64], m.arena[line:line+64]) {
			continue
		}
		keep := r.IntN(2) == 0
		for at := line; at < line+64; at += 8 {
			switch {
			case mode == 0 && r.IntN(2) == 0, mode == 1 && keep, mode == 2, mode == 3 && r.IntN(8) == 0:
				copy(state[at:at+8], m.arena[at:at+8])
			}
		}
	}
	return state
}

// powerRun appends, flushes, gives whole segments back and loses power at
// random, or only its process: then what it wrote is still there, flushed or not.
// Every recovery must keep what was durable and invent nothing. skip
// drops flushes of 64-byte ranges, which must be noticed.
func powerRun(seed uint64, crashes int, skip func(Range) bool) (recovered int, err error) {
	r := rand.New(rand.NewPCG(seed, 11))
	c := config(8, 1024, 1)
	m := &media{c.Arena, make([]byte, len(c.Arena))}
	l := Format(c)
	m.flush(l.HeaderRanges(nil))
	w := &writer{r: r, l: l}
	durable := uint64(0)
	gone := uint64(0) // records below were given up: their segments were retired
	flush := func() {
		to := w.l.Tail()
		var rs []Range
		for _, x := range w.l.Ranges(nil, w.l.Flushed(), to) {
			if skip == nil || !skip(x) {
				rs = append(rs, x)
			}
		}
		m.flush(rs)
		w.l.SetFlushed(to)
		durable = to
	}
	for range crashes {
		for range r.IntN(60) {
			switch r.IntN(5) {
			case 0:
				flush()
			case 1: // the oldest sealed segment has no use any more
				if s := w.l.Segments(); len(s) > 4 {
					number := s[0].Start >> 10
					flush() // H25
					w.l.Retire(number)
					w.l.Release(number)
					gone = max(gone, s[1].Start)
				}
			default:
				if !w.l.Fits(record.Bytes(24, 160)) {
					flush()
					if !w.l.Pad() {
						continue
					}
					flush()
					continue
				}
				w.one(160)
			}
		}
		state := m.crash(r)
		known := durable
		if r.IntN(2) == 0 {
			known = 0 // the superblock lags behind
		}
		drained := bytes.Clone(state)
		if r.IntN(3) == 0 { // a kill
			state, drained = m.arena, m.drained
		}
		c.Arena, c.Incarnation = bytes.Clone(state), c.Incarnation+1
		m = &media{c.Arena, drained}
		g, info, err := Recover(c, known, 0)
		if err != nil {
			return recovered, fmt.Errorf("durable through %d (known %d): %w", durable, known, err)
		}
		if info.Tail < durable {
			return recovered, fmt.Errorf("tail %d below durable %d", info.Tail, durable)
		}
		m.flush(info.Repaired)
		i := 0
		var bad error
		if err := g.Scan(0, g.Tail(), func(pos uint64, h *record.Header, img []byte) bool {
			for i < len(w.all) && w.all[i].pos < pos {
				if p := w.all[i].pos; p >= gone {
					bad = fmt.Errorf("record at %d missing, durable %d, gone %d, next found %d", p, durable, gone, pos)
					return false
				}
				i++
			}
			if i == len(w.all) || w.all[i].pos != pos || !bytes.Equal(w.all[i].body, record.Body(img)) {
				bad = fmt.Errorf("record at %d was never written", pos)
				return false
			}
			i++
			recovered++
			return true
		}); err != nil || bad != nil {
			return recovered, errors.Join(err, bad)
		}
		for _, lost := range w.all[i:] {
			if lost.pos < durable && lost.pos >= gone {
				return recovered, fmt.Errorf("durable record at %d lost (durable %d)", lost.pos, durable)
			}
		}
		w.all = w.all[:i]
		w.l = g
		flush() // H21
		m.flush(g.Unflushed(nil))
		m.flush(g.ClearReleased(nil))
	}
	return recovered, nil
}

func TestPowerLoss(t *testing.T) {
	total, seeds := 0, uint64(400)
	if testing.Short() {
		seeds = 200
	}
	for seed := range seeds {
		n, err := powerRun(seed, 12, nil)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		total += n
	}
	t.Logf("%d seeds of 12 power losses, %d records recovered", seeds, total)
}

// Leaving out the flush of the segment headers must be noticed, else the test
// above proves nothing.
func TestPowerLossNoticesMissingHeaderFlush(t *testing.T) {
	caught := 0
	for seed := range uint64(50) {
		if _, err := powerRun(seed, 12, func(r Range) bool { return r.Off%1024 == 0 && r.Len == SegmentHeaderBytes }); err != nil {
			caught++
		}
	}
	if caught == 0 {
		t.Fatal("a missing header flush is never noticed")
	}
	t.Logf("noticed in %d of 50 runs", caught)
}

// build fills a log, seals some segments, gives one back and reuses it.
func build(t testing.TB, c Config) (*Log, *writer) {
	l := Format(c)
	w := &writer{r: rand.New(rand.NewPCG(21, 21)), l: l}
	for len(l.Segments()) < len(c.Arena)/c.SegmentBytes-1 {
		w.one(120)
		l.SetFlushed(l.Tail())
	}
	first := l.Segments()[0]
	l.Retire(first.Start / uint64(c.SegmentBytes))
	l.Release(first.Start / uint64(c.SegmentBytes))
	for range 2 {
		w.one(120)
		l.SetFlushed(l.Tail())
		l.Collect()
	}
	for l.Fits(record.Bytes(16, 120)) && len(l.Segments()) < len(c.Arena)/c.SegmentBytes {
		w.one(120)
		l.SetFlushed(l.Tail())
	}
	for len(w.all) > 0 && w.all[0].pos < first.End {
		w.all = w.all[1:]
	}
	if err := same(l, w.all); err != nil {
		t.Fatal(err)
	}
	return l, w
}

// Any flipped bit below the durable position ends in an error or in all
// records, never in a wrong or a missing one (storage.md, "Damage").
func TestEveryFlippedBit(t *testing.T) {
	c := config(4, 1024, 9)
	l, w := build(t, c)
	durable := l.Tail()
	var refused, repaired, unseen int
	for bit := range len(c.Arena) * 8 {
		d := c
		d.Arena = bytes.Clone(c.Arena)
		d.Arena[bit/8] ^= 1 << (bit % 8)
		g, info, err := Recover(d, durable, 0)
		if err == nil {
			err = same(g, w.all)
			if err != nil && !errors.Is(err, ErrDamaged) {
				t.Fatalf("bit %d (segment %d offset %d): %v %+v", bit, bit/8/1024, bit/8%1024, err, info)
			}
		}
		switch {
		case err != nil:
			refused++
		case len(info.Repaired) > 2: // two are the last segment's seal and blank
			repaired++
		default:
			unseen++ // unused bytes and padding
		}
	}
	if refused == 0 || repaired == 0 {
		t.Fatalf("refused %d, repaired %d", refused, repaired)
	}
	t.Logf("%d bits: %d refused, %d repaired, %d in unused bytes; %d records", len(c.Arena)*8, refused, repaired, unseen, len(w.all))
}

func TestRecoverRefuses(t *testing.T) {
	c := config(4, 1024, 9)
	l, w := build(t, c)
	cases := []struct {
		name    string
		change  func(c *Config)
		durable uint64
		want    error
	}{
		{"another pool", func(c *Config) { c.PoolTag++ }, 0, ErrAlien},
		{"odd segment size", func(c *Config) { c.SegmentBytes = 1500 }, 0, ErrConfig},
		{"arena cut short", func(c *Config) { c.Arena = c.Arena[:1024] }, 0, ErrConfig},
		{"durable beyond the end", func(*Config) {}, l.Tail() + 64, ErrDamaged},
		{"zeroed page in the middle", func(c *Config) { clear(c.Arena[1024+200 : 1024+400]) }, l.Tail(), ErrDamaged},
		{"zeroed page, old superblock", func(c *Config) { clear(c.Arena[1024+200 : 1024+400]) }, 0, ErrDamaged},
		{"all zero", func(c *Config) { clear(c.Arena) }, l.Tail(), ErrDamaged},
	}
	for _, k := range cases {
		d := c
		d.Arena = bytes.Clone(c.Arena)
		k.change(&d)
		g, _, err := Recover(d, k.durable, 0)
		if err == nil {
			err = same(g, w.all)
		}
		if !errors.Is(err, k.want) {
			t.Errorf("%s: %v, want %v", k.name, err, k.want)
		}
	}
	t.Logf("%d cases", len(cases))
}

// After Discard nothing old comes back and no position is used again.
func TestDiscard(t *testing.T) {
	c := config(8, 1024, 1)
	l := Format(c)
	w := &writer{r: rand.New(rand.NewPCG(1, 5)), l: l}
	for range 30 {
		w.one(100)
	}
	tail := l.Tail()
	l.Discard(nil)
	if l.Tail() != tail || l.Oldest() != tail || len(l.Segments()) != 0 || l.Record(w.all[0].pos) != nil {
		t.Fatalf("tail %d, want %d", l.Tail(), tail)
	}
	d := c
	d.Arena, d.Incarnation = bytes.Clone(c.Arena), 2
	g, info, err := Recover(d, tail, tail)
	if err != nil || info.Tail != tail || info.Segments != 0 {
		t.Fatalf("%+v, %v", info, err)
	}
	l.SetIncarnation(2)
	// Cut off before it wrote anything: Recover finishes it.
	e := config(8, 1024, 1)
	old := Format(e)
	(&writer{r: rand.New(rand.NewPCG(1, 5)), l: old}).one(100)
	floor := (old.Tail() + 1023) &^ 1023
	cut, info, err := Recover(e, old.Tail(), floor)
	if err != nil || info.Segments != 0 || info.Dropped != 1 || cut.Tail() != floor {
		t.Fatalf("%+v, %v", info, err)
	}
	for _, x := range []*Log{l, g} {
		h := record.Header{Kind: record.Put}
		if pos := x.Append(&h, []byte("k"), nil); pos < tail {
			t.Fatalf("position %d below %d given out again", pos, tail)
		}
	}
}

// A body that changed on its way leaves no trace in the log.
func TestStage(t *testing.T) {
	l := Format(config(8, 1024, 1))
	img := make([]byte, record.Bytes(3, 100))
	h := record.Header{Kind: record.Put}
	record.Encode(img, &h, []byte("key"), make([]byte, 100), 1)
	own, pos, err := l.Stage(&h, img)
	if err != nil {
		t.Fatal(err)
	}
	l.Commit(own)
	tail := l.Tail()
	img[80] ^= 1
	if _, _, err := l.Stage(&h, img); err != record.ErrBody || l.Tail() != tail {
		t.Fatalf("%v, tail %d, want %d", err, l.Tail(), tail)
	}
	n := 0
	if err := l.Scan(0, l.Tail(), func(p uint64, _ *record.Header, _ []byte) bool { n++; return p == pos }); err != nil || n != 1 {
		t.Fatalf("%d records, %v", n, err)
	}
}

func TestVictims(t *testing.T) {
	c := config(16, 1024, 1)
	l := Format(c)
	w := &writer{r: rand.New(rand.NewPCG(1, 5)), l: l}
	for len(l.Segments()) < 14 {
		w.one(100)
	}
	if n, ok := l.Victim(l.Tail()); ok {
		t.Fatalf("victim %d without a dead byte", n)
	}
	kill := func(number uint64, part int) {
		for i, rec := range w.all {
			if rec.pos>>10 == number && i%part == 0 {
				l.Dead(rec.pos, record.Bytes(0, len(rec.body)))
			}
		}
	}
	kill(3, 3)
	kill(5, 1)
	kill(7, 2)
	for _, k := range []struct{ below, want uint64 }{{l.Tail(), 5}, {6 << 10, 5}, {6<<10 - 1, 3}, {4 << 10, 3}, {3 << 10, 0}} {
		if n, ok := l.Victim(k.below); n != k.want || ok != (k.want != 0) {
			t.Errorf("below %d: %d %v, want %d", k.below, n, ok, k.want)
		}
	}
	if live := l.Live(5); live != 0 {
		t.Errorf("%d live bytes in a dead segment", live)
	}
	l.Postpone(5)
	if n, _ := l.Victim(l.Tail()); n != 3 {
		t.Errorf("victim %d, want 3: it is older", n)
	}
	l.ByDead(true)
	if n, _ := l.Victim(l.Tail()); n != 7 {
		t.Errorf("victim %d, want 7: most in it is dead", n)
	}
	l.ByDead(false)
	l.SetFlushed(l.Tail())
	l.Retire(5)
	l.Release(5)
	free := l.FreeSegments()
	if before := len(l.free); before == free {
		t.Fatal("free before the flush (L4)")
	}
	for range 2 { // the magic, then the rest
		if !l.Pad() {
			t.Fatal("no room for a pad")
		}
		l.SetFlushed(l.Tail())
		l.Collect()
	}
	if l.Pending() || len(l.free) != free {
		t.Fatalf("not free after two flushes: %d of %d", len(l.free), free)
	}
	w.all = append(w.all[:0:0], w.all...)
	rest := w.all[:0]
	for _, rec := range w.all {
		if rec.pos>>10 != 5 {
			rest = append(rest, rec)
		}
	}
	if err := same(l, rest); err != nil { // pads are not seen
		t.Fatal(err)
	}
}

// Recover on any bytes: no panic, and no record that was not written.
func FuzzRecover(f *testing.F) {
	c := config(4, 1024, 9)
	l, w := build(f, c)
	bodies := make(map[uint64][]byte)
	for _, rec := range w.all {
		bodies[rec.pos] = rec.body
	}
	durable := l.Tail()
	f.Add([]byte{0, 1, 200, 3}, true)
	f.Add([]byte{4, 0, 8, 255, 4, 40, 9, 1}, false)
	f.Fuzz(func(t *testing.T, edits []byte, known bool) {
		d := c
		d.Arena = bytes.Clone(c.Arena)
		for ; len(edits) >= 4; edits = edits[4:] {
			at := int(binary.LittleEndian.Uint16(edits)) % len(d.Arena)
			switch edits[2] % 3 {
			case 0:
				d.Arena[at] = edits[3]
			case 1: // a piece of the log elsewhere
				to := int(edits[3]) * 16 % len(d.Arena)
				copy(d.Arena[to:], d.Arena[at&^15:min(at&^15+256, len(d.Arena))])
			case 2:
				clear(d.Arena[at&^15 : min(at&^15+int(edits[3])*4, len(d.Arena))])
			}
		}
		floor := uint64(0)
		if known {
			floor = durable
		}
		g, info, err := Recover(d, floor, 0)
		if err != nil {
			return
		}
		if info.Tail < floor {
			t.Fatalf("tail %d below what was durable", info.Tail)
		}
		_ = g.Scan(0, g.Tail(), func(pos uint64, h *record.Header, img []byte) bool {
			if !bytes.Equal(bodies[pos], record.Body(img)) {
				t.Fatalf("record at %d was never written", pos)
			}
			return true
		})
		for g.Fits(64) {
			h := record.Header{Kind: record.Put}
			g.Append(&h, []byte("x"), nil)
		}
	})
}

func TestAppendAllocatesNothing(t *testing.T) {
	l := Format(config(64, 1<<16, 1))
	h := record.Header{Kind: record.Put}
	key, value := []byte("0123456789abcdef"), make([]byte, 150)
	img := make([]byte, record.Bytes(16, 150))
	record.Encode(img, &h, key, value, 1)
	rs := make([]Range, 0, 64)
	if n := testing.AllocsPerRun(2000, func() {
		value[0]++
		h.Seq++
		pos := l.Append(&h, key, value)
		record.Decode(img, &h)
		l.AppendCopy(&h, img)
		rs = l.Ranges(rs[:0], pos, l.Tail())
		l.SetFlushed(l.Tail())
		record.Decode(img, &h)
		own, _, err := l.Stage(&h, img)
		if err != nil {
			t.Fatal(err)
		}
		l.Commit(own)
		if l.FreeBytes() == 0 || record.TS(l.Record(pos)) != 0 {
			t.Fatal("no room")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// Estimate: 90 ns (encode 65, blank, two atomic operations).
func BenchmarkAppend(b *testing.B) {
	c := config(64, 1<<20, 1)
	for i := range c.Arena {
		c.Arena[i] = 1 // touched: page faults are not what is measured
	}
	l := Format(c)
	h := record.Header{Kind: record.Put}
	key, value := []byte("0123456789abcdef"), make([]byte, 150)
	b.ReportAllocs()
	b.SetBytes(int64(record.Bytes(16, 150)))
	b.ResetTimer()
	for i := range b.N {
		if !l.Fits(240) {
			l.Discard(nil)
		}
		h.Seq = uint64(i)
		l.Append(&h, key, value)
	}
}

func BenchmarkScan(b *testing.B) {
	l := Format(config(64, 1<<20, 1))
	h := record.Header{Kind: record.Put}
	key, value := []byte("0123456789abcdef"), make([]byte, 150)
	for l.Fits(240) {
		l.Append(&h, key, value)
	}
	b.ReportAllocs()
	b.SetBytes(int64(record.Bytes(16, 150)))
	b.ResetTimer()
	for n := 0; n < b.N; {
		if err := l.Scan(0, l.Tail(), func(uint64, *record.Header, []byte) bool { n++; return n < b.N }); err != nil {
			b.Fatal(err)
		}
	}
}
