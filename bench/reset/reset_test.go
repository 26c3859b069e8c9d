package reset

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"healkv/pmem"
	"healkv/pmem/crashtest"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

func TestJournal(t *testing.T) {
	j, err := ParseJournal([]byte(Begin() + Line(0, 1) + Line(3, 1) + Line(0, 2) + "3 1" + Begin() + Line(3, 90) + "0 7"))
	if err != nil {
		t.Fatal(err)
	}
	if j.Acked != 4 || j.last[0] != 2 || j.last[3] != 90 || j.newest[3][90%KeysPerWriter] != 90 || j.First(0) != 3+Unreported {
		t.Fatalf("%+v", j)
	}
	for _, bad := range []string{"x\n", "0 2\n0 2\n", "8 1\n", "-1 4\n", "3\n"} {
		if _, err := ParseJournal([]byte(bad)); !errors.Is(err, ErrJournal) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestJudge(t *testing.T) {
	j := &Journal{}
	for n := uint64(1); n <= 200; n++ {
		j.add(2, n)
	}
	have := map[string][]byte{}
	restore := func() {
		clear(have)
		for n := uint64(1); n <= 200; n++ {
			have[Key(2, n)] = Value(nil, 2, n)
		}
	}
	judge := func() (Judged, error) {
		return j.Judge(func(key string) ([]byte, error) { return have[key], nil })
	}
	restore()
	if d, err := judge(); err != nil || d != (Judged{Acknowledged: KeysPerWriter, Present: KeysPerWriter, Unwritten: Keys - KeysPerWriter}) {
		t.Fatal(d, err)
	}
	have[Key(2, 201)] = Value(nil, 2, 201) // under way
	have[Key(5, 1)] = Value(nil, 5, 1)
	if d, err := judge(); err != nil || d.Newer != 2 || d.Present != KeysPerWriter-1 || d.Acknowledged != KeysPerWriter {
		t.Fatal(d, err)
	}
	bad := map[string]func(){
		"the node has nothing":           func() { delete(have, Key(2, 190)) },
		"has the older 142":              func() { have[Key(2, 190)] = Value(nil, 2, 190-KeysPerWriter) },
		"bytes that nobody wrote":        func() { have[Key(2, 190)][12]++ },
		"bytes that nobody wrote (write": func() { have[Key(2, 190)] = Value(nil, 2, 191) },
		"was last seen at 200":           func() { have[Key(2, 200+2*KeysPerWriter)] = Value(nil, 2, 200+2*KeysPerWriter) },
		"holds 0 bytes":                  func() { have[Key(2, 190)] = []byte{} },
	}
	for text, spoil := range bad {
		restore()
		spoil()
		if _, err := judge(); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
	t.Logf("%d kinds of loss noticed", len(bad))
}

// TestRecordingRegion runs the workload on a pool whose lines can be lost, and
// loses them at random moments: nothing acknowledged may be missing. Without
// the flush instructions, or without the fence after them, it must be.
func TestRecordingRegion(t *testing.T) {
	const seeds = 3
	acked, states := uint64(0), 0
	for seed := range uint64(seeds) {
		r := recorded{}
		if err := r.run(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		acked, states = acked+r.journal.Acked, states+r.states
	}
	t.Logf("%d acknowledged writes present in each of %d states after %d resets", acked, states, seeds*resets)
	if acked == 0 || states == 0 {
		t.Error("nothing was looked at")
	}
	inLog := func(_, off, _ int) bool { return off >= pmem.DataOffset }
	for name, lose := range map[string]recorded{
		"flush instruction removed": {loseFlush: inLog},
		"fence removed":             {loseDrain: func(int) bool { return true }},
	} {
		err := lose.run(0)
		if lose.rec.Lost == 0 || err == nil {
			t.Errorf("%s: %d lost, and nobody noticed: %v", name, lose.rec.Lost, err)
			continue
		}
		t.Logf("%s: red after %d acknowledged writes: %v", name, lose.journal.Acked, err)
	}
}

const resets = 6

// recorded is the workload on a pool in a recording region.
type recorded struct {
	loseFlush func(number, off, n int) bool
	loseDrain func(number int) bool

	medium  pmem.HeapMedium
	rec     crashtest.Recorder
	journal Journal
	ts      uint64
	states  int
}

var identity = pmem.Identity{Cluster: [16]byte{1}, Node: 1, Shards: 1, HashSeed: 5}

func (r *recorded) run(seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 7))
	r.medium.PoolID = [16]byte{byte(seed + 1)}
	if err := pmem.FormatHeap(pmem.FormatOptions{Identity: identity, SizeBytes: pmem.DataOffset + 64<<16, SegmentBytes: 1 << 16, MaxKeys: Keys}, &r.medium); err != nil {
		return err
	}
	r.medium.Watch = func(region *pmem.Region) {
		r.rec.Start(region.Bytes())
		r.rec.LoseFlush, r.rec.LoseDrain = r.loseFlush, r.loseDrain
		r.rec.Watch(region)
	}
	for range resets {
		if err := r.life(rng); err != nil {
			return err
		}
		if err := r.reset(rng); err != nil {
			return err
		}
	}
	return nil
}

// life is bursts of one write of each writer, as the shard worker makes them:
// append, flush, acknowledge. The reset comes amid one.
func (r *recorded) life(rng *rand.Rand) error {
	p, err := r.medium.Open(identity)
	if err != nil {
		return err
	}
	if err := p.Begin(p.Recovered().PreviousIncarnation + 1); err != nil {
		return err
	}
	first := [Writers]uint64{}
	for w := range first {
		first[w] = r.journal.First(w)
	}
	bursts := uint64(5 + rng.IntN(25))
	for burst := range bursts {
		for w := range Writers {
			if burst == bursts-1 && rng.IntN(2) == 0 {
				continue
			}
			r.put(p.Store(), w, first[w]+burst)
		}
		if burst == bursts-1 {
			return nil
		}
		if err := p.Flush(); err != nil {
			return err
		}
		for w := range Writers {
			r.journal.add(w, first[w]+burst)
		}
	}
	return nil
}

func (r *recorded) put(s *store.Store, writer int, n uint64) {
	r.ts++
	key := []byte(Key(writer, n))
	var e store.Entry
	s.Find(&e, s.Hash(key), key)
	h := record.Header{Kind: record.Put, TS: r.ts, OwnerNode: 1, OwnerIncarnation: 1}
	s.Put(&e, &h, key, Value(nil, writer, n), true)
}

// reset judges some of what a power loss may leave, and goes on with one of
// them as the medium of the next life.
func (r *recorded) reset(rng *rand.Rand) (err error) {
	next := make([]byte, crashtest.Compact(len(r.medium.Pool)))
	pool := r.medium
	pool.Watch = nil
	scratch := append([]byte(nil), r.medium.Pool...)
	r.rec.Visit = func(w *crashtest.Window) {
		w.Each(rng, crashtest.Limits{Exhaustive: 1, Samples: 6}, next, func(image []byte) bool {
			r.states++
			pool.Pool = scratch
			crashtest.Expand(pool.Pool, image)
			pool.BootID[0]++
			err = r.judge(&pool)
			return err == nil
		})
	}
	r.rec.Look()
	r.rec.Visit = nil
	if err != nil {
		return err
	}
	crashtest.Expand(r.medium.Pool, next)
	r.medium.BootID[0]++
	return nil
}

func (r *recorded) judge(m *pmem.HeapMedium) error {
	p, err := m.Open(identity)
	if err != nil {
		return err
	}
	s := p.Store()
	_, err = r.journal.Judge(func(key string) ([]byte, error) {
		var e store.Entry
		s.Find(&e, s.Hash([]byte(key)), []byte(key))
		if !e.OK {
			return nil, nil
		}
		return record.Value(s.Record(e.Pos)), nil
	})
	return err
}
