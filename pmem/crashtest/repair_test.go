package crashtest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"healkv/bench/tally"
	"healkv/pmem"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

// healing is a pool that was damaged at rest, is opened, repaired from what a
// member holds, scrubbed and written to, while the power may go at any moment.
type healing struct {
	medium, probe pmem.HeapMedium
	rec           Recorder
	image         []byte
	good          [keys][]byte // what a member holds, at TS 1 to keys
	promised      bool         // what was repaired is durable: no state may refuse it
	states        int
	refused       int
	doubtful      int
	broken        error
}

const (
	healSegment  = 1024
	healSegments = 16
)

// hurts damage a pool's memory; log finds places.
var hurts = []struct {
	name string
	hit  func(arena []byte, at func(key int) int)
	sure bool // a body alone: nothing is in doubt, the repair is final
}{
	{"a value", func(a []byte, at func(int) int) { a[at(3)+record.HeaderBytes+10] ^= 1 }, true},
	{"two values", func(a []byte, at func(int) int) {
		a[at(1)+record.HeaderBytes+10] ^= 1
		clear(a[at(5)+record.HeaderBytes+8:][:40])
	}, true},
	{"a key", func(a []byte, at func(int) int) { a[at(3)+record.HeaderBytes+1] ^= 1 }, true},
	{"a record header", func(a []byte, at func(int) int) { a[at(4)+9] ^= 1 }, false},
	{"a segment header", func(a []byte, at func(int) int) { clear(a[at(2)/healSegment*healSegment:][:64]) }, false},
	{"a seal", func(a []byte, at func(int) int) {
		a[at(2)/healSegment*healSegment+33] ^= 1
		a[at(2)/healSegment*healSegment+57] ^= 1
	}, false},
	{"a copy of a segment header", func(a []byte, at func(int) int) { a[at(2)/healSegment*healSegment+9] ^= 1 }, true},
	{"a segment's begin", func(a []byte, at func(int) int) { clear(a[at(2)/healSegment*healSegment:][:256]) }, false},
}

func (x *healing) make(t *testing.T) (arena []byte, at func(key int) int) {
	x.medium = pmem.HeapMedium{PoolID: [16]byte{4}, BootID: [16]byte{1}, SuperEvery: 1}
	size := int64(pmem.DataOffset + healSegment*healSegments)
	if err := pmem.FormatHeap(pmem.FormatOptions{Identity: identity, SizeBytes: size, SegmentBytes: healSegment, MaxKeys: keys}, &x.medium); err != nil {
		t.Fatal(err)
	}
	p, err := x.medium.Open(identity)
	if err == nil {
		err = p.Begin(1)
	}
	if err != nil {
		t.Fatal(err)
	}
	for k := range keys {
		x.good[k] = append([]byte(nil), fill(make([]byte, 150), k, uint64(k+1))...)
		if err := x.write(p, k, uint64(k+1), x.good[k]); err != nil {
			t.Fatal(err)
		}
	}
	p.SetStable(p.Store().Tail())
	if err := errors.Join(p.Flush(), p.WriteSuperblock(func(*pmem.Super) {})); err != nil {
		t.Fatal(err)
	}
	x.probe = x.medium
	x.probe.Pool, x.probe.Index = make([]byte, len(x.medium.Pool)), make([]byte, len(x.medium.Index))
	x.probe.BootID = [16]byte{9}
	x.image = make([]byte, Compact(len(x.medium.Pool)))
	s := p.Store()
	return x.medium.Pool[pmem.DataOffset:], func(key int) int {
		var e store.Entry
		s.Find(&e, s.Hash(keyNames[key]), keyNames[key])
		off, _ := s.Log().ArenaOffset(e.Pos)
		return int(off)
	}
}

func (x *healing) write(p *pmem.Pool, k int, ts uint64, value []byte) error {
	s := p.Store()
	var e store.Entry
	s.Find(&e, s.Hash(keyNames[k]), keyNames[k])
	if s.Put(&e, &record.Header{Kind: record.Put, TS: ts, OwnerNode: 1}, keyNames[k], value, false) == 0 {
		return errors.New("the index is full")
	}
	return nil
}

// look opens every state that a power loss could leave now.
func (x *healing) look(w *Window) {
	if x.broken != nil {
		return
	}
	w.Each(newRand(uint64(x.states)), Limits{Exhaustive: 200, Samples: 40}, x.image, func(image []byte) bool {
		x.states++
		Expand(x.probe.Pool, image)
		x.broken = x.check()
		return x.broken == nil
	})
}

func (x *healing) check() error {
	p, err := x.probe.Open(identity)
	if err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	doubt := p.Recovered().Doubtful != ""
	if doubt {
		x.doubtful++
	}
	s := p.Store()
	rd := s.NewReader()
	defer rd.Close()
	for k := range keys {
		value, ts, st := rd.Get(s.Hash(keyNames[k]), keyNames[k], nil)
		switch {
		case st == store.Found && ts == uint64(k+1) && bytes.Equal(value, x.good[k]), st == store.Locked && ts >= uint64(k+1):
		case st == store.Damaged && !x.promised:
			x.refused++
		case doubt && (st == store.Missing || st == store.Damaged):
		default:
			return fmt.Errorf("key %d: %v at %d, %x; promised %v, doubtful %v", k, st, ts, value, x.promised, p.Recovered().Doubtful)
		}
	}
	return nil
}

// run opens and repairs the damaged pool; the recorder looks at every drain.
func (x *healing) run(sure bool) error {
	x.rec.Start(x.medium.Pool)
	x.rec.Visit = x.look
	x.medium.Watch, x.medium.BootID = x.rec.Watch, [16]byte{2}
	p, err := x.medium.Open(identity)
	if err != nil {
		return err
	}
	x.rec.Look()
	if err := p.Begin(2); err != nil {
		return err
	}
	s := p.Store()
	scrub := s.NewScrubber()
	for lap := false; !lap; {
		if lap, err = scrub.Step(1 << 10); err != nil {
			return err
		}
	}
	scrub.Close()
	s.Clean(1<<20, store.Upto(0), s.Flushed())
	x.rec.Look()
	for k := range keys { // lookups queue what the scrubber could not name
		rd := s.NewReader()
		rd.Get(s.Hash(keyNames[k]), keyNames[k], nil)
		rd.Close()
	}
	for _, h := range s.TakeDamaged(nil, 100) {
		for k := range keys {
			if (s.Hash(keyNames[k])^h.Hash)&h.Mask != 0 {
				continue
			}
			if _, err := s.Repair(record.Header{Kind: record.Put, TS: uint64(k + 1), OwnerNode: 1}, keyNames[k], x.good[k]); err != nil {
				return err
			}
			x.rec.Look()
		}
		if !s.Settle(&h) {
			return fmt.Errorf("%+v is not settled", h)
		}
	}
	p.SetStable(s.Tail())
	if err := p.Flush(); err != nil {
		return err
	}
	x.promised = sure
	x.rec.Look()
	if err := p.Flush(); err != nil {
		return err
	}
	// The superblock says that what was repaired is stable, then durable.
	if err := p.WriteSuperblock(func(*pmem.Super) {}); err != nil {
		return err
	}
	x.rec.Look()
	return x.broken
}

// The power may go while damage is fenced off, a header written again, a record
// repaired: what is read afterwards is right, refused or in doubt, and what was
// repaired and flushed is right.
func TestCrashesInARepair(t *testing.T) {
	states := 0
	for _, h := range hurts {
		var x healing
		arena, at := x.make(t)
		h.hit(arena, at)
		if err := x.run(h.sure); err != nil || x.broken != nil {
			t.Errorf("%s: %v, %v", h.name, err, x.broken)
		}
		t.Logf("%-28s %4d states, %d keys refused, %d doubtful", h.name, x.states, x.refused, x.doubtful)
		states += x.states
	}
	if states == 0 {
		t.Error("no states")
	}
	tally.Add("crash states", "states of repairs", states)
}

// A flush or drain lost in a repair must be noticed: what was repaired would be
// damaged once more.
func TestLostFlushesOfARepair(t *testing.T) {
	noticed, tried := 0, 0
	for _, h := range hurts {
		if !h.sure || h.name == "a copy of a segment header" { // its other copy serves
			continue
		}
		var x healing
		arena, at := x.make(t)
		h.hit(arena, at)
		off := -1
		x.rec.LoseFlush = func(_, from, n int) bool {
			// The records put by the repair are the last bytes of the log so far.
			return off >= 0 && from >= pmem.DataOffset
		}
		x.rec.Effective = func(int, int, []int) { off = 0 } // after the opening's own
		tried++
		if err := x.run(h.sure); err != nil || x.broken != nil {
			noticed++
		}
	}
	if tried == 0 || noticed != tried {
		t.Errorf("%d of %d noticed", noticed, tried)
	}
	t.Logf("%d of %d noticed", noticed, tried)
}
