package crashtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"

	"github.com/zeebo/xxh3"

	"healkv/pmem"
	"healkv/pmem/index"
)

const depthMax = 3

// geometry of a pool, in bytes.
type geometry struct{ segment, segments int }

// counts of what a run did.
type counts struct {
	States, Distinct, Windows    int
	Words, Lines, Sampled        int              // windows by How
	First                        [Sampled + 1]int // of those, the sequence's own, of no later life
	Deep                         [depthMax]int
	Process, Damaged, Lives      int
	Freed, Moved, Refused, Empty int
	Dropped                      int // tombstones
	Taken, Restored              int // checkpoints, and states whose index was made of one
}

// run is one sequence with everything that is shared by its lives.
type run struct {
	geo    geometry
	rng    *rand.Rand
	limits Limits
	whole  int // if not 0: Limits.Exhaustive of the sequence's own windows
	deeper int // of so many states one begins another life
	budget int // states; 0: without a bound
	seen   map[uint64]struct{}
	levels [depthMax]*life
	probe  pmem.HeapMedium // for leaf checks
	image  []byte
	counts counts

	// Plants, in the lives of depth 0 only, or in all.
	loseFlush  func(number, off, n int) bool
	loseDrain  func(number int) bool
	effective  func(drain, writes int, flushes []int)
	everywhere bool
	sites      map[string]bool // if not nil: collects all that had an effect
	quiet      bool            // the sequence alone, no states
	damage     int             // of so many states one is opened with a damaged superblock as well
	sequence   []op            // of a later life; nil: by chance
	checkpoint bool            // the index is checkpointed
}

// life is a pool of one depth: 0 is the sequence itself, deeper ones begin from
// a state that a crash in the one above left.
type life struct {
	*run
	depth  int
	medium pmem.HeapMedium
	rec    Recorder
	file   *ckptFile // nil: none
	p      *pmem.Pool
	m      model
	begun  bool
	ts     uint64
	view   uint32
	lost   uint32
	failed bool
	job    func() // of the flush under way
	trace  []string
	image  []byte // states of this level's windows
	start  []byte // the state this level began with, to name it
	buf    [valueMax]byte
	img    [2 * valueMax]byte
}

// name is the operation's, without what it was given.
func name(o op) string {
	n := runtime.FuncForPC(reflect.ValueOf(o).Pointer()).Name()
	return strings.TrimSuffix(n[strings.LastIndex(n, "crashtest.")+len("crashtest."):], ".func1")
}

// broken carries a violation out of the hooks.
type broken struct{ err error }

// enough ends a run whose budget is used up.
type enough struct{}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 77)) }

func newRun(geo geometry) *run {
	r := &run{geo: geo, damage: 16, seen: map[uint64]struct{}{}}
	for d := range r.levels {
		r.levels[d] = &life{run: r, depth: d}
	}
	return r
}

// play runs a sequence from a new pool on; the error is the first broken
// promise.
func (r *run) play(seed uint64, seq []op) (err error) {
	r.rng = newRand(seed)
	defer func() {
		switch p := recover().(type) {
		case nil, enough:
		case broken:
			err = p.err
		default:
			panic(p)
		}
	}()
	l := r.levels[0]
	l.reset()
	if l.medium.Pool == nil {
		size := pmem.DataOffset + int64(r.geo.segment*r.geo.segments)
		o := pmem.FormatOptions{Identity: identity, SizeBytes: size, SegmentBytes: r.geo.segment, MaxKeys: keys}
		l.medium = pmem.HeapMedium{PoolID: [16]byte{9, 9, 9, 8: 3}, BootID: [16]byte{1}, SuperEvery: 1}
		if err := pmem.FormatHeap(o, &l.medium); err != nil {
			return err
		}
		for d, other := range r.levels[1:] {
			other.medium = l.medium
			other.medium.BootID = [16]byte{byte(3 + d)} // of no life above
			other.medium.Pool, other.medium.Index = make([]byte, size), make([]byte, index.Bytes(keys))
		}
		r.probe = l.medium
		r.probe.BootID = [16]byte{0xff} // nobody's
		r.probe.Pool, r.probe.Index = make([]byte, size), make([]byte, index.Bytes(keys))
		r.image = make([]byte, Compact(int(size)))
		Compress(r.image, l.medium.Pool)
		for _, other := range r.levels {
			other.image, other.start = make([]byte, len(r.image)), make([]byte, len(r.image))
		}
	} else {
		Expand(l.medium.Pool, r.image) // as formatted
	}
	l.medium.BootID = [16]byte{2}
	l.checkpoints(nil)
	l.m.clone(&model{})
	l.m.lookSuper(l.medium.Pool)
	l.m.gen = 2
	l.rec.Start(l.medium.Pool)
	l.open()
	return l.all(seq)
}

func (l *life) reset() {
	l.begun, l.failed, l.p, l.trace = false, false, nil, l.trace[:0]
	l.ts, l.view, l.lost = 0, 0, 0
	l.rec.Visit = l.visit
	l.rec.FailDrain = nil
	l.rec.LoseFlush, l.rec.LoseDrain, l.rec.Effective = nil, nil, nil
	if l.sites != nil {
		of := map[int]string{}
		l.rec.LoseFlush = func(number, off, n int) bool { of[number] = site(l.geo, off, n); return false }
		drain := ""
		l.rec.LoseDrain = func(int) bool { drain = site(l.geo, 0, 0); return false }
		l.rec.Effective = func(_, writes int, alone []int) {
			if writes > 0 {
				l.sites[drain] = true
			}
			for _, n := range alone {
				l.sites[of[n]] = true
			}
		}
	} else if l.depth == 0 || l.everywhere {
		l.rec.LoseFlush, l.rec.LoseDrain, l.rec.Effective = l.loseFlush, l.loseDrain, l.effective
	}
}

// all runs a sequence and looks at what is left in flight at its end.
func (l *life) all(seq []op) error {
	for _, o := range seq {
		if err := l.step(o); err != nil {
			return err
		}
	}
	l.rec.Look()
	return nil
}

// step is one operation and what follows from its end.
func (l *life) step(o op) error {
	if l.failed {
		return nil
	}
	l.m.holes = l.m.holes[:0]
	l.trace = append(l.trace, name(o))
	if err := o(l); err != nil {
		return err
	}
	l.tend()
	l.rec.Observe()
	return l.returned()
}

// returned: whatever the operation promised counts.
func (l *life) returned() error {
	l.m.lookSuper(l.medium.Pool)
	if err := l.m.look(l.p); err != nil {
		return err
	}
	if l.p != nil && l.begun && !l.failed && !l.p.Flushing() { // what a flush under way carries is no promise yet
		l.m.gen = max(l.m.gen, l.p.Super().Generation)
		l.m.both = claimsOf(l.p.Super())
	}
	if l.p != nil && l.begun && !l.failed {
		l.m.flushed = max(l.m.flushed, l.p.Store().Flushed())
	}
	return nil
}

func (l *life) fail(format string, args ...any) {
	how := ""
	for d := range l.depth + 1 {
		how += fmt.Sprintf("\n\tlife %d: %s", d, strings.Join(l.levels[d].trace, ", "))
	}
	panic(broken{fmt.Errorf("%w (life %d, drain %d)%s", fmt.Errorf(format, args...), l.depth, l.rec.Drains, how)})
}

// visit goes through the states of one window.
func (l *life) visit(w *Window) {
	l.m.lookSuper(l.medium.Pool)
	if err := l.m.look(l.p); err != nil {
		l.fail("%w", err)
	}
	r := l.run
	if r.quiet {
		return
	}
	r.counts.Windows++
	if w.Writes() == 0 {
		r.counts.Empty++
	}
	limits := l.limits
	for range l.depth {
		limits.Exhaustive, limits.Samples = limits.Exhaustive/8, limits.Samples/4
	}
	if l.depth == 0 && l.whole > 0 {
		limits.Exhaustive = l.whole
	}
	how := w.Each(r.rng, limits, l.image, func(image []byte) bool {
		l.state(image)
		return true
	})
	if l.depth == 0 {
		r.counts.First[how]++
	}
	switch how {
	case Words:
		r.counts.Words++
	case Lines:
		r.counts.Lines++
	default:
		r.counts.Sampled++
	}
	if r.rng.IntN(4) == 0 {
		l.processCrash()
	}
}

// state is what a power loss left.
func (l *life) state(image []byte) {
	r := l.run
	if r.budget != 0 && r.counts.States >= r.budget {
		panic(enough{})
	}
	r.counts.States++
	r.counts.Deep[l.depth]++
	r.seen[xxh3.Hash(image)] = struct{}{}
	Expand(r.probe.Pool, image)
	r.probe.Checkpoint = l.file.left(r.rng)
	at, err := l.m.check(&r.probe, false)
	if err != nil {
		l.fail("power loss: %w", err)
	}
	if at.restored {
		r.counts.Restored++
	}
	if r.rng.IntN(r.damage) == 0 {
		l.damagedCopy(image, at)
	}
	if l.depth+1 < depthMax && r.deeper > 0 && r.rng.IntN(r.deeper<<(2*l.depth)) == 0 {
		r.levels[l.depth+1].from(l, image)
	}
}

// damagedCopy: one copy of the superblock goes bad as well. As both are always
// written, what was told to WriteSuperblock is in the other.
func (l *life) damagedCopy(image []byte, at found) {
	r := l.run
	for i := range 2 {
		Expand(r.probe.Pool, image)
		r.probe.Pool[i*pmem.SuperBytes/2+100]++
		p, err := r.probe.Open(identity)
		if errors.Is(err, pmem.ErrSuperblock) || errors.Is(err, pmem.ErrDamaged) {
			r.counts.Refused++ // the other one was being written, or is of before a discard
			continue
		}
		if err != nil {
			l.fail("superblock copy %d damaged: %w", i, err)
		}
		r.counts.Damaged++
		got, want := claimsOf(p.Super()), l.m.both
		if got.gen < want.gen && (got.complete != want.complete || got.lost != want.lost || got.base != want.base || got.inc != want.inc || got.view != want.view) {
			l.fail("superblock copy %d damaged: %v is left, %v was durable", i, got, want)
		}
	}
}

// processCrash: memory stays, and the index with it.
func (l *life) processCrash() {
	if l.p == nil || !l.begun {
		return
	}
	r := l.run
	r.counts.Process++
	copy(r.probe.Pool[:pmem.SuperBytes], l.medium.Pool)
	copy(r.probe.Pool[pmem.DataOffset:], l.medium.Pool[pmem.DataOffset:])
	copy(r.probe.Index, l.medium.Index)
	boot := r.probe.BootID
	r.probe.BootID = l.medium.BootID
	r.probe.SuperEvery = 1
	r.probe.Checkpoint = l.file.left(nil)
	_, err := l.m.check(&r.probe, true)
	r.probe.BootID = boot
	if err != nil {
		l.fail("process crash: %w", err)
	}
}

// from begins a life with a state of the one above: recovery runs, and may
// crash as well.
func (l *life) from(above *life, image []byte) {
	l.reset()
	l.counts.Lives++
	l.m.clone(&above.m)
	l.ts, l.view, l.lost = above.ts, above.view, above.lost
	copy(l.start, image)
	Expand(l.medium.Pool, image)
	l.checkpoints(above.file)
	l.rec.Start(l.medium.Pool)
	l.open()
	seq := l.sequence
	if seq == nil {
		seq = randomOps(l.rng, 1+l.rng.IntN(6))
	}
	if err := l.all(append([]op{begin}, seq...)); err != nil {
		l.fail("%w", err)
	}
}

// open opens the pool and checks it, with the recorder listening.
func (l *life) open() {
	l.p, l.begun = nil, false
	l.medium.Watch, l.medium.Later = l.rec.Watch, l.later
	p, err := l.medium.Open(identity)
	if err != nil {
		l.fail("refused: %w", err)
	}
	at, err := l.m.compare(p, false)
	if err != nil {
		l.fail("%w", err)
	}
	l.p = p
	l.m.cut(at.tail)
	l.m.holes = l.m.holes[:0]
	// Open has flushed again what it found (H21).
	l.m.flushed, l.m.gen, l.m.scanned = max(l.m.flushed, at.tail), at.gen, at.tail
	l.m.said = max(l.m.said, at.stable) // not only at.stable: see cut
}
