package shm

import (
	"testing"

	"healkv/rdma"
)

// A peer whose tail or feed make no sense is cut and counted; nothing of it is
// read any more, and nobody else is disturbed.
func TestMalformedPeers(t *testing.T) {
	const size = 1 << 16
	cases := map[string]func(p *page){
		"tail beyond the ring": func(p *page) { p.tail.Store(64 + size + 16) },
		"tail steps back":      func(p *page) { p.tail.Store(48) },
		"tail at zero":         func(p *page) { p.tail.Store(0) },
		"tail not aligned":     func(p *page) { p.tail.Store(72) },
		"tail at the end":      func(p *page) { p.tail.Store(^uint64(0)) },
	}
	bothDirs(t, func(t *testing.T, d *Dir) {
		inc := uint32(0)
		for name, spoil := range cases {
			inc++
			a, b, c := newEnd(t, d, 0, inc), newEnd(t, d, 1, inc), newEnd(t, d, 2, inc)
			pairUp(t, a, b)
			pairUp(t, a, c)
			for _, e := range []*Endpoint{b, c} {
				e.Feed(0, 0)
				e.Out().Next(64)
				e.Publish()
			}
			a.Poll()
			spoil(b.page)
			c.Out().Next(64)
			c.Publish()
			a.Poll()
			a.Poll()
			if a.Mirror(1) != nil || a.Malformed() != 1<<1 || a.Counters().Malformed != 1 {
				t.Errorf("%s: mirror %v, malformed %#x", name, a.Mirror(1), a.Malformed())
			}
			if m := a.Mirror(2); m == nil || m.Limit() != 128 {
				t.Errorf("%s: the other peer was disturbed", name)
			}
			if l := a.Detach(1); l == nil || l.Close() != nil || a.Malformed() != 0 {
				t.Errorf("%s: not detached", name)
			}
		}
		inc++
		a, b := newEnd(t, d, 0, inc), newEnd(t, d, 1, inc)
		pairUp(t, a, b)
		b.page.pairs[0].feed.Store(9) // position 8
		a.Poll()
		if a.Mirror(1) != nil || a.Counters().Malformed != 1 {
			t.Error("an unaligned feed was taken")
		}
	})
}

// A line and a pair line that change owner under a reader: it takes nothing of
// the new pair (S2). The states are those between the stores of Attach.
func TestLineChangesOwner(t *testing.T) {
	d := Heap()
	a, b := newEnd(t, d, 0, 1), newEnd(t, d, 1, 1)
	pairUp(t, a, b)
	b.Feed(0, 0)
	b.Out().Next(64)
	b.Publish()
	known := rdma.Marks{Epoch: 1, Applied: 5}
	b.PublishMarks(0, &known)
	a.Poll()
	var m rdma.Marks
	a.Marks(1, &m)

	pair, line := &b.page.pairs[0], &b.page.marks[0]
	for _, step := range []func(){
		func() { pair.tag.Store(0) },
		func() { line.store(&rdma.Marks{}) },
		func() { pair.feed.Store(0) },
		func() { pair.tag.Store(9<<32 | 2) }, // our next life
		func() { line.store(&rdma.Marks{Epoch: 9, Applied: 1 << 40}) },
		func() { pair.feed.Store(1) },
	} {
		step()
		a.Poll()
		if a.Mirror(1) != nil {
			t.Fatal("a mirror of another pair's stream")
		}
		if a.Marks(1, &m); m != known {
			t.Fatalf("%+v, want what was known: %+v", m, known)
		}
	}
	if a.Counters().Malformed != 0 {
		t.Fatal("counted as malformed")
	}
}

func TestMistakesPanic(t *testing.T) {
	d := Heap()
	a, b, c := newEnd(t, d, 0, 1), newEnd(t, d, 1, 1), newEnd(t, d, 2, 1)
	link := func(e, p *Endpoint) rdma.Link {
		l, err := e.Prepare(p.self, 1)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	pairUp(t, a, b)
	attached := link(a, c)
	a.Attach(attached)
	closed := link(a, c)
	closed.Close()
	foreign := link(b, c)
	defer foreign.Close()
	if err := attached.Close(); err == nil {
		t.Error("an attached link was closed")
	}
	a.Feed(1, 0)
	for name, f := range map[string]func(){
		"another endpoint's link": func() { a.Attach(foreign) },
		"a closed link":           func() { a.Attach(closed) },
		"an attached link":        func() { a.Attach(attached) },
		"feed twice":              func() { a.Feed(1, 0) },
		"feed beyond the tail":    func() { a.Feed(2, 16) },
		"feed not aligned":        func() { a.Feed(2, 8) },
		"feed of nobody":          func() { c.Feed(0, 0) },
		"sleep unprepared":        func() { a.Sleep(0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
