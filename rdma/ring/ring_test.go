package ring

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

const size = 4096

func panics(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", what)
		}
	}()
	f()
}

func TestNewOutSizes(t *testing.T) {
	for _, n := range []int{0, 1, 2048, 4095, 4097, 6000, 3 * 4096} {
		panics(t, "size", func() { NewOut(make([]byte, n)) })
	}
	for _, n := range []int{4096, 8192, 1 << 20} {
		if o := NewOut(make([]byte, n)); o.Size() != uint64(n) || o.Room() != uint64(n) || o.Tail() != 0 || o.Reclaimed() != 0 {
			t.Errorf("size %d: %+v", n, o)
		}
	}
	panics(t, "mirror size", func() { NewMirror(make([]byte, 5000), 0) })
}

func TestFullChangesNothing(t *testing.T) {
	o := NewOut(make([]byte, size))
	for i := range 4 {
		if _, end, ok := o.Next(1024); !ok || end != uint64(i+1)*1024 {
			t.Fatalf("entry %d: %d %v", i, end, ok)
		}
	}
	before := *o
	for _, n := range []int{16, 1024, size} {
		if dst, end, ok := o.Next(n); ok || dst != nil || end != 0 {
			t.Fatalf("%d bytes in a full ring", n)
		}
	}
	if o.Tail() != before.tail || o.Reclaimed() != before.reclaimed || o.Room() != 0 {
		t.Fatal("a refusal changed something")
	}
	o.Reclaim(16)
	o.Reclaim(8) // lower: ignored
	if o.Reclaimed() != 16 || o.Room() != 16 {
		t.Fatalf("reclaimed %d, room %d", o.Reclaimed(), o.Room())
	}
	if _, _, ok := o.Next(16); !ok {
		t.Fatal("no room after Reclaim")
	}
	panics(t, "reclaim beyond the tail", func() { o.Reclaim(o.Tail() + 16) })
}

// A skip costs room too: an entry that fits only without it is refused, and
// no skip mark is left behind.
func TestSkipNeedsRoom(t *testing.T) {
	buf := make([]byte, size)
	o := NewOut(buf)
	o.Next(size - 64)
	o.Reclaim(64)
	if _, _, ok := o.Next(128); ok { // 64 to skip + 128 > 128 of room
		t.Fatal("accepted")
	}
	if binary.LittleEndian.Uint64(buf[size-64:]) == skipMark || o.Tail() != size-64 {
		t.Fatal("a refusal wrote a skip mark")
	}
	o.Reclaim(128)
	dst, end, ok := o.Next(128)
	if !ok || end != size+128 || &dst[0] != &buf[0] || cap(dst) != 128 {
		t.Fatalf("%v %d", ok, end)
	}
	m := NewMirror(buf, size-64)
	m.SetLimit(end)
	if w, err := m.Window(); err != nil || len(w) != 128 || m.Cursor() != size {
		t.Fatalf("%d bytes at %d, %v", len(w), m.Cursor(), err)
	}
}

func TestExactEndNeedsNoSkip(t *testing.T) {
	buf := make([]byte, size)
	o := NewOut(buf)
	o.Next(size / 2)
	if dst, end, ok := o.Next(size / 2); !ok || end != size || &dst[0] != &buf[size/2] {
		t.Fatal("an entry that ends at the ring's end")
	}
	m := NewMirror(buf, 0)
	m.SetLimit(size)
	if w, _ := m.Window(); len(w) != size {
		t.Fatalf("window of %d", len(w))
	}
	m.Advance(size)
	if w, err := m.Window(); w != nil || err != nil {
		t.Fatal("a window of nothing")
	}
}

// A window may reach over entries to a skip mark: it begins with an entry, and
// the mark is only passed by the next call.
func TestSkipInsideWindow(t *testing.T) {
	buf := make([]byte, size)
	o := NewOut(buf)
	o.Next(size - 32)
	o.Reclaim(size - 32)
	_, end, _ := o.Next(64)
	m := NewMirror(buf, 0)
	m.SetLimit(size)
	w, _ := m.Window()
	if len(w) != size || binary.LittleEndian.Uint64(w[size-32:]) != skipMark {
		t.Fatal("no skip mark where the entry did not fit")
	}
	m.Advance(size - 32)
	if !m.SetLimit(end) {
		t.Fatal("limit refused")
	}
	if w, err := m.Window(); err != nil || len(w) != 64 {
		t.Fatalf("%d %v", len(w), err)
	}
}

func TestLimits(t *testing.T) {
	m := NewMirror(make([]byte, size), 1<<40)
	for _, bad := range []uint64{0, 1<<40 - 16, 1<<40 + 8, 1<<40 + size + 16, 1<<64 - 16} {
		if m.SetLimit(bad) {
			t.Errorf("limit %d taken", bad)
		}
	}
	if m.Limit() != 1<<40 || m.Cursor() != 1<<40 {
		t.Fatal("a refused limit changed something")
	}
	for _, good := range []uint64{1 << 40, 1<<40 + 16, 1<<40 + size} {
		if !m.SetLimit(good) {
			t.Errorf("limit %d refused", good)
		}
	}
	if m.SetLimit(1<<40 + 16) {
		t.Error("limit stepped back")
	}
	panics(t, "advance beyond", func() { m.Advance(size + 16) })
	panics(t, "advance unaligned", func() { m.Advance(8) })
	panics(t, "advance back", func() { m.Advance(-16) })
}

func TestMalformed(t *testing.T) {
	mark := func(at int) []byte {
		buf := make([]byte, size)
		binary.LittleEndian.PutUint64(buf[at:], skipMark)
		return buf
	}
	for _, c := range []struct {
		name        string
		buf         []byte
		from, limit uint64
	}{
		{"skip at the ring's start", mark(0), 0, 64},
		{"skip with nothing after it in sight", mark(64), 64, 128},
		{"skip, then skip", func() []byte {
			b := mark(64)
			binary.LittleEndian.PutUint64(b, skipMark)
			return b
		}(), 64, size + 32},
	} {
		m := NewMirror(c.buf, c.from)
		if !m.SetLimit(c.limit) {
			t.Fatalf("%s: limit refused", c.name)
		}
		if w, err := m.Window(); !errors.Is(err, ErrSkip) || w != nil {
			t.Errorf("%s: %d bytes, %v", c.name, len(w), err)
		}
	}
}

func TestBytes(t *testing.T) {
	buf := make([]byte, size)
	for i := range buf {
		buf[i] = byte(i / 16)
	}
	o := NewOut(buf)
	o.Next(size)
	o.Reclaim(256)
	o.Next(256)
	a, b := o.Bytes(256, size+256)
	if len(a) != size-256 || len(b) != 256 || &a[0] != &buf[256] || &b[0] != &buf[0] {
		t.Fatalf("%d and %d bytes", len(a), len(b))
	}
	if a, b := o.Bytes(256, 512); len(a) != 256 || b != nil {
		t.Fatalf("%d and %d bytes", len(a), len(b))
	}
	panics(t, "longer than the ring", func() { o.Bytes(0, size+16) })
	panics(t, "beyond the tail", func() { o.Bytes(size, size+512) })
}

// Against the obvious version: a queue of entries.
func TestAgainstQueue(t *testing.T) {
	type entry struct {
		number, end uint64
		n           int
	}
	total := 0
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		buf := make([]byte, size)
		o, m := NewOut(buf), NewMirror(buf, 0)
		var queue []entry
		number := uint64(0)
		for range 5000 {
			switch rng.IntN(4) {
			case 0, 1:
				n := 16 * (1 + rng.IntN(60))
				dst, end, ok := o.Next(n)
				used := o.Tail() - o.Reclaimed()
				if ok != (dst != nil) || used > size {
					t.Fatalf("seed %d: %d bytes used, ok %v", seed, used, ok)
				}
				if !ok {
					if used+uint64(n) <= size/2 {
						t.Fatalf("seed %d: refused %d bytes with %d used", seed, n, used)
					}
					continue
				}
				for i := 0; i < n; i += 8 {
					binary.LittleEndian.PutUint64(dst[i:], number)
				}
				queue = append(queue, entry{number, end, n})
				number++
			case 2:
				if !m.SetLimit(o.Tail()) {
					t.Fatalf("seed %d: limit %d refused at %d", seed, o.Tail(), m.Cursor())
				}
			case 3:
				w, err := m.Window()
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if w == nil {
					continue
				}
				e := queue[0]
				queue = queue[1:]
				for i := 0; i < e.n; i += 8 {
					if got := binary.LittleEndian.Uint64(w[i:]); got != e.number {
						t.Fatalf("seed %d: entry %d where %d was due", seed, got, e.number)
					}
				}
				m.Advance(e.n)
				if m.Cursor() != e.end {
					t.Fatalf("seed %d: at %d after an entry that ends at %d", seed, m.Cursor(), e.end)
				}
				o.Reclaim(m.Cursor())
				total++
			}
		}
	}
	if total < 50*500 {
		t.Fatalf("only %d entries passed", total)
	}
	t.Logf("%d entries passed", total)
}

// FuzzMirror: whatever a peer's ring and tails hold, nothing but ErrSkip
// happens, and every window lies within what was published.
func FuzzMirror(f *testing.F) {
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, uint64(0), uint64(64), uint16(16))
	f.Add([]byte{1, 2, 3}, uint64(4080), uint64(4096), uint16(32))
	f.Add([]byte{}, uint64(8), uint64(1<<63), uint16(0))
	f.Fuzz(func(t *testing.T, ringBytes []byte, from, limit uint64, step uint16) {
		buf := make([]byte, size)
		for i := range buf {
			if len(ringBytes) > 0 {
				buf[i] = ringBytes[i%len(ringBytes)]
			}
		}
		m := NewMirror(buf, from&^(Align-1))
		for range 100 {
			m.SetLimit(limit)
			w, err := m.Window()
			if err != nil || w == nil {
				return
			}
			if m.Cursor()+uint64(len(w)) > m.Limit() || len(w) > size {
				t.Fatalf("window of %d at %d beyond %d", len(w), m.Cursor(), m.Limit())
			}
			n := min(int(step)&^(Align-1), len(w)&^(Align-1))
			if n == 0 {
				return
			}
			m.Advance(n)
			limit += uint64(n)
		}
	})
}

func BenchmarkNextWindowAdvance(b *testing.B) {
	buf := make([]byte, 1<<20)
	o, m := NewOut(buf), NewMirror(buf, 0)
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		dst, end, _ := o.Next(192)
		binary.LittleEndian.PutUint64(dst, n)
		n++
		m.SetLimit(end)
		w, _ := m.Window()
		_ = w
		m.Advance(192)
		o.Reclaim(m.Cursor())
	}
}
