package pmem

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"healkv/pmem/ckpt"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

var ckptSeeds = flag.Int("pmem.checkpoints", 30, "seeds of TestCheckpointAgainstTheLog")

// memFile is a file and what its media hold: what was synced. A power loss
// leaves of the rest any sectors.
type memFile struct {
	now, media []byte
	dirty      []span // of now, since the last sync
	stopAt     int    // operations until the process dies; 0: it does not
	visit      func() // before every operation
	fail       error
	writes     int
	syncs      int
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(f.now)) {
		return 0, io.EOF
	}
	n := copy(b, f.now[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) operation() {
	if f.visit != nil {
		f.visit()
	}
	if f.stopAt > 0 {
		if f.stopAt--; f.stopAt == 0 {
			panic(stopped{})
		}
	}
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	f.operation()
	if f.fail != nil {
		return 0, f.fail
	}
	end := int(off) + len(b)
	if end > len(f.now) {
		f.now = append(f.now, make([]byte, end-len(f.now))...)
	}
	copy(f.now[off:], b)
	f.dirty = append(f.dirty, span{uint64(off), uint64(end)})
	f.writes++
	return len(b), nil
}

func (f *memFile) Sync() error {
	f.operation()
	if f.fail != nil {
		return f.fail
	}
	f.media = append(f.media[:0], f.now...)
	f.dirty = f.dirty[:0]
	f.syncs++
	return nil
}

// powerLoss leaves what was synced and any sectors of what was not.
func (f *memFile) powerLoss(rng *rand.Rand) {
	likely := rng.IntN(5)
	for len(f.media) < len(f.now) && rng.IntN(2) == 0 {
		f.media = append(f.media, make([]byte, len(f.now)-len(f.media))...)
	}
	for _, d := range f.dirty {
		for at := d.from; at < d.to; at += 512 {
			if end := min(at+512, d.to); rng.IntN(4) < likely && int(end) <= len(f.media) {
				copy(f.media[at:end], f.now[at:end])
			}
		}
	}
	f.processDeath()
	f.now = append(f.now[:0], f.media...)
}

func (f *memFile) processDeath() { f.dirty, f.stopAt, f.fail = f.dirty[:0], 0, nil }

// ckptLives is a pool in memory with a checkpoint file that dies again and again.
type ckptLives struct {
	t      *testing.T
	rng    *rand.Rand
	medium HeapMedium
	m      *media
	file   *memFile
	id     Identity
	keys   int
	ts     uint64
	boot   byte
	ahead  bool // much was not flushed when the last life ended

	counts struct{ restored, rebuilt, kept, stops, taken, pages, moved, mended, torn int }
}

func newCkptLives(t *testing.T, seed uint64, keys int) *ckptLives {
	l := &ckptLives{t: t, rng: rand.New(rand.NewPCG(seed, 11)), m: &media{}, file: &memFile{}, keys: keys, boot: 1}
	o := testFormat("", "", DomainMemory)
	o.SegmentBytes, o.SizeBytes, o.MaxKeys = 32<<10, dataOffset+64*(32<<10), uint64(2*keys)
	l.id = o.Identity
	l.medium = HeapMedium{BootID: [16]byte{1}, PoolID: [16]byte{5, 8: 6}, SuperEvery: 16 << 10, Checkpoint: l.file, CheckpointBytes: 48 << 10}
	l.medium.Watch = func(r *Region) { l.m.watch(r) }
	if err := FormatHeap(o, &l.medium); err != nil {
		t.Fatal(err)
	}
	return l
}

// open opens the pool, and if its index is one of a checkpoint compares it with
// what the log alone says.
func (l *ckptLives) open() (*Pool, error) {
	var want []uint64
	oracle := l.medium
	oracle.Pool, oracle.Index = bytes.Clone(l.medium.Pool), make([]byte, len(l.medium.Index))
	oracle.Watch, oracle.Checkpoint, oracle.BootID = nil, nil, [16]byte{0xff}
	q, err := oracle.Open(l.id)
	if err != nil {
		return nil, err
	}
	want = words(q)
	p, err := l.medium.Open(l.id)
	if err != nil {
		return nil, err
	}
	r := p.Recovered()
	switch {
	case r.Restored:
		l.counts.restored++
		l.counts.mended += p.index.Damaged()
		if p.index.Damaged() > 0 {
			l.counts.torn++
		}
		if got := words(p); !slices.Equal(got, want) {
			return nil, errors.New(r.How() + ": " + difference(got, want))
		}
		if r.Stable != q.Recovered().Stable || r.LastMarker != q.Recovered().LastMarker {
			return nil, errors.New(r.How() + ": stable position or marker is not the log's")
		}
		if p.index.Len() != uint64(len(want)) {
			return nil, errors.New(r.How() + ": wrong number of keys")
		}
		var a, b []uint64
		_ = p.Leftovers(func(_, pos, _ uint64) { a = append(a, pos) })
		_ = q.Leftovers(func(_, pos, _ uint64) { b = append(b, pos) })
		slices.Sort(a)
		slices.Sort(b)
		if !slices.Equal(a, b) {
			return nil, errors.New(r.How() + ": other leftovers than the log's")
		}
	case r.Kept:
		l.counts.kept++
	default:
		l.counts.rebuilt++
	}
	return p, nil
}

func difference(got, want []uint64) string {
	less, more := 0, 0
	first := uint64(0)
	for _, w := range want {
		if _, ok := slices.BinarySearch(got, w); !ok {
			if less++; first == 0 {
				first = w
			}
		}
	}
	for _, w := range got {
		if _, ok := slices.BinarySearch(want, w); !ok {
			more++
		}
	}
	return strings.Join([]string{"words lacking", itoa(less), "too many", itoa(more), "the first lacking is of position", itoa(int(first >> 1)), "lock", itoa(int(first & 1))}, " ")
}

func itoa(n int) string { return string(appendInt(nil, n)) }

func appendInt(b []byte, n int) []byte {
	if n >= 10 {
		b = appendInt(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

// live works until the end of a life or until the process dies in the file.
func (l *ckptLives) live(p *Pool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(stopped); !ok {
				panic(r)
			}
			l.counts.stops++
		}
	}()
	rng := l.rng
	l.ahead = false
	defer func() { l.counts.taken += int(p.ckpt.stats.Taken); l.counts.pages += int(p.ckpt.stats.Pages) }()
	if err := p.Begin(p.Recovered().PreviousIncarnation + 1); err != nil {
		return err
	}
	if rng.IntN(2) == 0 {
		l.file.stopAt = 1 + rng.IntN(60)
	}
	if rng.IntN(3) == 0 {
		l.m.stopAt = l.m.drains + 1 + rng.IntN(60)
	}
	var locked []uint64
	_ = p.Leftovers(func(hash, pos, _ uint64) { p.Store().Unlock(hash, pos) })
	p.SetStable(p.Store().Tail())
	for range 20 + rng.IntN(80) {
		hot := rng.IntN(2) == 0
		for range 1 + rng.IntN(60) {
			if p.Store().FreeBytes() < 4096 {
				break
			}
			l.ts++
			i := rng.IntN(l.keys)
			if hot {
				i = rng.IntN(40)
			}
			lock := rng.IntN(3) == 0
			pos := put(p, i, l.ts, lock)
			if lock {
				locked = append(locked, pos)
			}
			if rng.IntN(3) == 0 {
				p.Tend()
			}
		}
		if rng.IntN(6) == 0 && p.Store().FreeBytes() > 4096 {
			marker(p, 1)
		}
		for range rng.IntN(12) {
			p.Tend()
		}
		if rng.IntN(3) != 0 {
			// As the worker does: unlock, say stable, flush.
			if rng.IntN(3) == 0 {
				for _, pos := range locked {
					if img := p.Store().Record(pos); img != nil {
						p.Store().Unlock(record.Hash(img), pos)
					}
				}
				locked = locked[:0]
				p.SetStable(p.Store().Flushed())
			}
			if err := p.Flush(); err != nil {
				return err
			}
		}
		for range rng.IntN(4) {
			r := p.Store().Clean(32<<10, store.Upto(p.Stable()), p.Store().Flushed())
			l.counts.moved += r.MovedRecords
		}
		if rng.IntN(200) == 0 {
			if err := p.Discard(p.Super().Incarnation); err != nil {
				return err
			}
			locked = locked[:0]
		}
	}
	if l.ahead = rng.IntN(3) == 0; l.ahead { // an end of several segments that is not flushed
		every := rng.IntN(3) * 4
		for i := range 200 + rng.IntN(900) {
			if p.Store().FreeBytes() < 4096 {
				break
			}
			l.ts++
			put(p, i%l.keys, l.ts, false)
			if every > 0 && i%every == 0 {
				p.Tend()
			}
		}
		for range rng.IntN(50) {
			p.Tend()
		}
	}
	return nil
}

// die ends a life: of the process alone, or by a power loss.
func (l *ckptLives) die(p *Pool) {
	l.m.stopAt = 0
	if !l.ahead && l.rng.IntN(4) == 0 { // only the process
		l.file.processDeath()
		return
	}
	if l.ahead && l.rng.IntN(4) != 0 {
		l.loseSegments()
	} else {
		l.m.powerLoss(l.medium.Pool, l.rng)
	}
	copy(l.medium.Pool, l.m.image)
	l.m.image = nil
	l.file.powerLoss(l.rng)
	l.boot++
	l.medium.BootID = [16]byte{l.boot, 1}
}

// loseSegments is a power loss after which segments are there as they stand, or
// as they were flushed.
func (l *ckptLives) loseSegments() {
	const segment = 32 << 10
	likely := 1 + l.rng.IntN(7)
	for at := dataOffset; at < len(l.m.image); at += segment {
		if l.rng.IntN(8) < likely {
			copy(l.m.image[at:at+segment], l.medium.Pool[at:])
		}
	}
}

func (l *ckptLives) run(lives int) error {
	for range lives {
		p, err := l.open()
		if err != nil {
			return err
		}
		if err := l.live(p); err != nil {
			return err
		}
		l.die(p)
	}
	_, err := l.open()
	return err
}

// TestCheckpointAgainstTheLog: whatever a death leaves of pool and checkpoint,
// the index that is made of them says what the log alone says.
func TestCheckpointAgainstTheLog(t *testing.T) {
	total := ckptLives{}
	seeds := *ckptSeeds
	for seed := range uint64(seeds) {
		l := newCkptLives(t, seed, []int{60, 3000, 7000}[seed%3])
		if err := l.run(12); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		a, b := &total.counts, &l.counts
		a.restored, a.rebuilt, a.kept, a.stops = a.restored+b.restored, a.rebuilt+b.rebuilt, a.kept+b.kept, a.stops+b.stops
		a.taken, a.pages, a.moved, a.mended, a.torn = a.taken+b.taken, a.pages+b.pages, a.moved+b.moved, a.mended+b.mended, a.torn+b.torn
	}
	c := total.counts
	t.Logf("%d seeds: %d indexes of checkpoints, %d kept, %d rebuilt; %d deaths amid the file; %d checkpoints of %d pages; %d records moved by the cleaner; %d pages mended in %d openings",
		seeds, c.restored, c.kept, c.rebuilt, c.stops, c.taken, c.pages, c.moved, c.mended, c.torn)
	if c.restored < 3*seeds || c.taken < 5*seeds || c.stops == 0 || c.moved == 0 || c.rebuilt == 0 {
		t.Fatal("too little of it happened")
	}
	if c.mended != 0 {
		t.Fatalf("%d pages of checkpoints in force did not verify: a slot or a table went out of order", c.mended)
	}
}

// states are what a power loss can leave of the file: of the writes since the
// last sync none, all, each alone, all but one, and of the last one a part.
func (f *memFile) states(fn func(what string, b []byte)) {
	try := func(what string, keep func(i int) bool) {
		b := append([]byte(nil), f.media...)
		if len(b) < len(f.now) {
			b = append(b, make([]byte, len(f.now)-len(b))...)
		}
		for i, d := range f.dirty {
			if keep(i) {
				copy(b[d.from:d.to], f.now[d.from:d.to])
			}
		}
		fn(what, b)
	}
	n := len(f.dirty)
	try("none", func(int) bool { return false })
	if n == 0 {
		return
	}
	try("all", func(int) bool { return true })
	for k := range n {
		if n > 1 {
			try("one", func(i int) bool { return i == k })
			try("all but one", func(i int) bool { return i != k })
		}
	}
	last := f.dirty[n-1]
	try("half of the last", func(i int) bool { return i != n-1 })
	fn("half of the last", func() []byte {
		b := append([]byte(nil), f.now...)
		half := last.from + (last.to-last.from)/2&^511
		clear(b[half:last.to])
		if int(last.to) <= len(f.media) {
			copy(b[half:last.to], f.media[half:last.to])
		}
		return b
	}())
}

// TestCheckpointFileStates: at every write and sync of a checkpoint, whatever a
// power loss leaves of the file, the newest checkpoint in force is whole, and
// the index made of it is the log's.
func TestCheckpointFileStates(t *testing.T) {
	l := newCkptLives(t, 4, 4000)
	l.medium.CheckpointBytes = 16 << 10
	p, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Begin(1); err != nil {
		t.Fatal(err)
	}
	write := func(n int) {
		for range n {
			l.ts++
			put(p, int(l.ts*7)%l.keys, l.ts, false)
		}
	}
	save := func() {
		flush(t, p)
		p.SetStable(p.Store().Flushed())
	}
	for range 100 {
		write(60)
		save()
		for range 40 {
			p.Tend()
		}
	}
	if p.Checkpoints().Taken < 3 {
		t.Fatalf("%+v", p.Checkpoints())
	}
	tried, restored, older := 0, 0, 0
	var image []byte
	var want []uint64
	oracle := l.medium
	oracle.Watch = nil
	l.file.visit = func() {
		if !bytes.Equal(image, l.m.image) {
			image = bytes.Clone(l.m.image)
			o := oracle
			o.Pool, o.Index, o.Checkpoint, o.BootID = bytes.Clone(image), make([]byte, len(l.medium.Index)), nil, [16]byte{0xfe}
			q, err := o.Open(l.id)
			if err != nil {
				t.Fatal(err)
			}
			want = words(q)
		}
		l.file.states(func(what string, b []byte) {
			o := oracle
			o.Pool, o.Index, o.Checkpoint, o.BootID = bytes.Clone(image), make([]byte, len(l.medium.Index)), &memFile{now: b}, [16]byte{0xfd}
			q, err := o.Open(l.id)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			r := q.Recovered()
			if got := words(q); !slices.Equal(got, want) {
				t.Fatalf("%s of %d writes: %s: %s", what, len(l.file.dirty), r.How(), difference(got, want))
			}
			if q.index.Damaged() > 0 {
				t.Fatalf("%s of %d writes: %d pages of the checkpoint in force are not whole: %s", what, len(l.file.dirty), q.index.Damaged(), r.How())
			}
			if !r.Restored {
				t.Fatalf("%s of %d writes: no checkpoint in force: %s", what, len(l.file.dirty), r.How())
			}
			tried++
			restored++
			if q.Checkpoints().Generation < p.Checkpoints().Generation {
				older++
			}
		})
	}
	// With the log flushed all the time; then with a log that is not flushed
	// while one checkpoint after the other is due.
	for round := range 4 {
		if round < 2 {
			for range 6 {
				write(40)
				save()
				for range 8 {
					p.Tend()
				}
			}
			continue
		}
		for range 6 {
			write(150)
			for range 40 {
				p.Tend()
			}
		}
		save()
	}
	if tried < 100 {
		t.Fatalf("only %d states", tried)
	}
	t.Logf("%d states of the file at %d checkpoints: all have a whole one in force; %d are of an older one", tried, p.Checkpoints().Taken, older)
}

// TestDamagedCheckpoint: whatever becomes of the file, the index that is made of
// it and the log says what the log says.
func TestDamagedCheckpoint(t *testing.T) {
	l := newCkptLives(t, 4, 5000)
	p, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Begin(1); err != nil {
		t.Fatal(err)
	}
	write := func(n int) {
		for range n {
			l.ts++
			put(p, int(l.ts)%l.keys, l.ts, false)
			if l.ts%64 == 0 {
				flush(t, p)
				p.SetStable(p.Store().Flushed())
				p.Tend()
			}
		}
	}
	write(5000)
	for taken := p.Checkpoints().Taken; p.Checkpoints().Taken == taken || p.Tending(); {
		write(64)
	}
	older := bytes.Clone(l.file.now)
	for taken := p.Checkpoints().Taken; p.Checkpoints().Taken < taken+2 || p.Tending(); {
		write(64)
	}
	write(100)
	flush(t, p)
	layout := p.ckpt.layout
	tables := layout.Read(l.file)
	if len(tables) != 2 {
		t.Fatalf("%d tables in the file", len(tables))
	}
	newest := tables[0]
	area := int(layout.SlotOffset(0)) / 2
	tableAt, tableEnd := newest.Place*area, newest.Place*area+4096+16*len(newest.Blocks)
	slotAt := func(i int) int { return int(layout.SlotOffset(newest.Blocks[i%len(newest.Blocks)].Slot)) }
	rng := rand.New(rand.NewPCG(8, 8))
	pool, file, boot := bytes.Clone(l.medium.Pool), bytes.Clone(l.file.now), byte(9)
	count := map[string]int{}
	try := func(name string, change func(b []byte) []byte) {
		t.Helper()
		copy(l.medium.Pool, pool)
		l.m.image = nil
		l.file.now = change(bytes.Clone(file))
		boot++
		l.medium.BootID = [16]byte{boot, 2}
		before := l.counts
		p, err := l.open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		switch r := p.Recovered(); {
		case r.Kept:
			t.Fatalf("%s: kept", name)
		case !r.Restored:
			count[name+": made anew from the log"]++
		case l.counts.mended > before.mended:
			count[name+": pages mended"]++
		case strings.Contains(r.How(), "checkpoint "+itoa(int(newest.Generation))+","):
			count[name+": without effect"]++
		default:
			count[name+": the checkpoint before"]++
		}
	}
	flip := func(from, to int) func([]byte) []byte {
		return func(b []byte) []byte { b[from+rng.IntN(to-from)] ^= 1 << rng.IntN(8); return b }
	}
	clearing := func(from, to int) func([]byte) []byte {
		return func(b []byte) []byte { clear(b[from:to]); return b }
	}
	try("nothing", func(b []byte) []byte { return b })
	for range 12 {
		try("bit flip in the table's head", flip(tableAt, tableAt+16+12*8+16))
		try("bit flip in the table", flip(tableAt+4096, tableEnd))
	}
	for i := range len(newest.Blocks) {
		try("bit flip in a page", flip(slotAt(i), slotAt(i)+ckpt.PageBytes))
	}
	try("zeroed table", clearing(tableAt, tableEnd))
	try("torn table", clearing(tableAt+4096, tableEnd))
	try("zeroed page", clearing(slotAt(1), slotAt(1)+ckpt.PageBytes))
	try("torn page", clearing(slotAt(1)+4096, slotAt(1)+8192))
	try("all pages zeroed", clearing(2*area, len(file)))
	try("older file", func([]byte) []byte { return older })
	try("older pages", func(b []byte) []byte { copy(b[2*area:], older[2*area:]); return b })
	try("older table", func(b []byte) []byte { copy(b[:2*area], older[:2*area]); return b })
	try("both tables zeroed", clearing(0, 2*area))
	try("cut off", func(b []byte) []byte { return b[:len(b)/2] })
	try("empty", func([]byte) []byte { return nil })
	try("misdirected page", func(b []byte) []byte {
		copy(b[slotAt(0):slotAt(0)+ckpt.PageBytes], b[slotAt(1):slotAt(1)+ckpt.PageBytes])
		return b
	})
	try("misdirected table", func(b []byte) []byte { copy(b[(1-newest.Place)*area:], b[tableAt:tableEnd]); return b })
	if count["nothing: without effect"] != 1 {
		t.Error("an undamaged checkpoint is not used")
	}
	for name, n := range count {
		t.Logf("%3d × %s", n, name)
	}
}

// TestCheckpointOverDamagedLog: where the log is damaged the index is made of
// all of it, which knows what is not known, also when a page of the checkpoint
// needs it.
func TestCheckpointOverDamagedLog(t *testing.T) {
	l := newCkptLives(t, 6, 3000)
	p, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Begin(1); err != nil {
		t.Fatal(err)
	}
	for range 6000 {
		l.ts++
		put(p, int(l.ts)%l.keys, l.ts, false)
		if l.ts%64 == 0 {
			flush(t, p)
			p.SetStable(p.Store().Flushed())
		}
		p.Tend()
	}
	flush(t, p)
	if p.Checkpoints().Taken == 0 {
		t.Fatalf("%+v", p.Checkpoints())
	}
	tail := p.Store().Tail()
	pool, file := bytes.Clone(l.medium.Pool), bytes.Clone(l.file.now)
	early, _ := p.log.ArenaOffset(p.log.Segments()[1].Start)
	late, _ := p.log.ArenaOffset(p.log.Segments()[len(p.log.Segments())-1].Start)
	for n, at := range []int64{late, late + 70} {
		copy(l.medium.Pool, pool)
		l.file.now = bytes.Clone(file)
		l.medium.Pool[int(dataOffset+at)] ^= 1 // in a header, in a body
		l.boot++
		l.medium.BootID = [16]byte{l.boot, 3}
		q, err := l.open()
		if err != nil {
			t.Fatal(err)
		}
		if r := q.Recovered(); r.Restored || r.Tail != tail {
			t.Fatalf("%d: damage at the log's end, and restored: %s", n, r.How())
		}
	}
	copy(l.medium.Pool, pool)
	l.file.now = bytes.Clone(file)
	l.medium.Pool[int(dataOffset+early)] ^= 1
	l.boot++
	l.medium.BootID = [16]byte{l.boot, 3}
	q, err := l.medium.Open(l.id)
	if err != nil {
		t.Fatal(err)
	}
	if r := q.Recovered(); !r.Restored {
		t.Fatalf("damage in a record that nobody needs to see: %s", r.How())
	}
}

// checkpointedFile is a pool in files, with checkpoints while its keys were
// written, all of it flushed and stable.
func checkpointedFile(t *testing.T, keys int) (*Pool, OpenOptions) {
	t.Helper()
	at := testPlace(t, DomainFile)
	at.format(t, DomainFile, 64<<20)
	o := at.options()
	o.CheckpointBytes = 256 << 10
	p, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	begin(t, p, 1)
	for i := range keys {
		put(p, i, 1, false)
		if i%500 == 0 {
			p.SetStable(p.Store().Flushed())
			flush(t, p)
		}
		p.Tend()
	}
	flush(t, p)
	p.SetStable(p.Store().Tail())
	for p.Tending() {
		p.Tend()
	}
	return p, o
}

// TestCheckpointFile: with files, on demand, and killed while pages are not
// loaded yet.
func TestCheckpointFile(t *testing.T) {
	const keys = 12000
	p, o := checkpointedFile(t, keys)
	if err := p.WriteSuperblock(func(*Super) {}); err != nil {
		t.Fatal(err)
	}
	if c := p.Checkpoints(); c.Taken == 0 || c.Failed != 0 {
		t.Fatalf("%+v", c)
	}
	closePool(t, p, false)

	var err error
	// As after a power loss: no index.
	for n := range 3 {
		if n != 1 {
			if err := os.Remove(p.indexPath); err != nil {
				t.Fatal(err)
			}
		} // else: killed before all pages were loaded
		if p, err = Open(o); err != nil {
			t.Fatal(err)
		}
		r := p.Recovered()
		if !r.Restored || r.Replayed > keys/2 {
			t.Fatalf("restored %t: %s", r.Restored, r.How())
		}
		begin(t, p, uint32(n+2))
		reader := p.Store().NewReader()
		unsure := 0
		for i := n; i < keys; i += 997 {
			k := key(i)
			if _, _, st := reader.Get(p.Store().Hash(k), k, nil); st == store.Locked {
				unsure++
			} else if st != store.Found {
				t.Fatalf("key %d is %s to a reader although it was written", i, st)
			}
			check(t, p, i, 1, false) // the worker loads
			if _, _, st := reader.Get(p.Store().Hash(k), k, nil); st != store.Found {
				t.Fatalf("key %d is %s to a reader after the worker has seen it", i, st)
			}
		}
		reader.Close()
		if unsure == 0 {
			t.Fatal("no page was loaded on demand")
		}
		if err := p.Store().ForEach(p.Store().NewReader(), nil); err != store.ErrUnsure && !p.index.Sure() {
			t.Fatal(err)
		}
		if n == 0 {
			if p.index.Sure() {
				t.Fatal("all pages are loaded")
			}
			closePool(t, p, false)
			continue
		}
		for !p.index.Sure() {
			p.Tend()
		}
		for i := range keys {
			check(t, p, i, 1, false)
		}
		if n == 1 {
			closePool(t, p, false)
		}
	}
	// And kept, it goes on with the checkpoint that is there.
	again := func() {
		for i := 0; p.Checkpoints().Taken == 0; i++ {
			put(p, 5, uint64(i+2), false)
			flush(t, p)
			p.SetStable(p.Store().Flushed())
			p.Tend()
		}
	}
	again()
	flush(t, p)
	closePool(t, p, false)
	if p, err = Open(o); err != nil {
		t.Fatal(err)
	}
	begin(t, p, 9)
	for p.Tending() { // its table is read after the opening
		p.Tend()
	}
	if r := p.Recovered(); !r.Kept || p.Checkpoints().Generation == 0 {
		t.Fatalf("%s, checkpoint %d in force", r.How(), p.Checkpoints().Generation)
	}
	pages := p.index.Usage().Pages
	again()
	if c := p.Checkpoints(); int(c.Pages) > pages/2 {
		t.Fatalf("%d of %d pages written again after one key changed", c.Pages, pages)
	}
	closePool(t, p, false)
}

// TestCheckpointFails: a file that cannot be written costs checkpoints, nothing
// else, and they come back by themselves.
func TestCheckpointFails(t *testing.T) {
	l := newCkptLives(t, 4, 3000)
	p, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Begin(1); err != nil {
		t.Fatal(err)
	}
	until := func(what string, ok func(CheckpointStats) bool) {
		t.Helper()
		for n := 0; !ok(p.Checkpoints()); n++ {
			if n > 1e6 {
				t.Fatalf("never: %s: %+v", what, p.Checkpoints())
			}
			l.ts++
			put(p, int(l.ts)%l.keys, l.ts, false)
			if n%16 == 0 {
				flush(t, p)
				p.SetStable(p.Store().Flushed())
			}
			p.Store().Clean(64<<10, store.Upto(p.Stable()), p.Store().Flushed())
			p.Tend()
		}
	}
	until("taken", func(c CheckpointStats) bool { return c.Taken > 0 })
	l.file.fail = errors.New("no space left on device")
	until("failed", func(c CheckpointStats) bool { return c.Failed > 1 && c.Err != "" })
	l.file.fail = nil
	taken := p.Checkpoints().Taken
	until("taken again", func(c CheckpointStats) bool { return c.Taken > taken })
}
