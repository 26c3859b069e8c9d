package index

import "testing"

// openSure is Open and a look at every page.
func openSure(mem []byte, tag uint64) (*Index, error) {
	x, err := Open(mem, nil, tag)
	if err != nil {
		return nil, err
	}
	x.WarmSome(1 << 30)
	if !x.Sure() {
		return nil, ErrPage
	}
	return x, nil
}

// model is a keeper whose log is the key itself: what a page should hold it
// knows from the words of before.
type model struct {
	t      *testing.T
	want   map[uint64]Word // by key
	mends  int
	spans  int
	warmed int
	images map[uint32][]byte // of cold pages
}

func (m *model) Load(p uint32, image []byte) { copy(image, m.images[p]) }
func (m *model) Warmed(Span, uint32)         { m.warmed++ }
func (m *model) HashOf(pos uint64) uint64    { return hashAt(pos) }
func (m *model) Refers(pos uint64) bool      { return m.want[keyAt(pos)].Pos() == pos }

func (m *model) Mend(spans []Span, fn func(int, uint64, Word)) {
	m.mends++
	m.spans += len(spans)
	for key, w := range m.want {
		for i, s := range spans {
			if s.Holds(keyHash(key)) {
				fn(i, keyHash(key), w)
			}
		}
	}
}

// What may become of a page; old is its state some changes ago, other another page.
var damages = []struct {
	name string
	do   func(pg, old, other *page)
}{
	{"bit flip", func(pg, _, _ *page) { pg[777] ^= 1 << 33 }},
	{"lock bit", func(pg, _, _ *page) { pg[someWord(pg)] ^= lockMask }},
	{"zeroed", func(pg, _, _ *page) { clear(pg[:]) }},
	{"torn", func(pg, old, _ *page) { copy(pg[pageWords/2:], old[pageWords/2:]) }},
	{"stale copy", func(pg, old, _ *page) { *pg = *old }},
	{"misdirected write", func(pg, _, other *page) { *pg = *other }},
}

func someWord(pg *page) int {
	for i, w := range pg {
		if live(w) {
			return i
		}
	}
	return 0
}

// TestDamagedPageIsMended: a page that is not what it was is noticed by whoever
// comes first, a reader learns nothing from it, and it is filled anew.
func TestDamagedPageIsMended(t *testing.T) {
	mem := make([]byte, Bytes(20_000))
	x, err := Create(mem, nil, 7)
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint64]Word{}
	add := func(from, to, version uint64) {
		for key := from; key < to; key++ {
			if err := put(x, key, version, false); err != nil {
				t.Fatal(err)
			}
			want[key] = MakeWord(keyHash(key), posOf(key, version), false)
			if x.Retired() > 0 {
				x.Release()
			}
		}
	}
	add(0, 9000, 1)
	old := append([]byte(nil), mem...)
	add(0, 9000, 2) // no page splits: every page is the older one's successor
	depth := int(x.mem.get(headDepth))
	victims := []int{0, 1<<depth - 1, 1 << depth / 3}
	tried, work := 0, make([]byte, len(mem))
	for _, d := range damages {
		for n := 1; n <= len(victims); n++ {
			for _, byWalk := range [...]bool{false, true} {
				copy(work, mem)
				y, err := Open(work, nil, 7)
				if err != nil {
					t.Fatal(err)
				}
				m := &model{t: t, want: want}
				y.SetKeeper(m)
				for _, v := range victims[:n] {
					p := y.entryAt(depth, v).page()
					o := newMemory(old, y.geo.pagesOff)
					d.do(y.mem.page(p), o.page(p), o.page(y.entryAt(depth, 1<<depth/2).page()))
				}
				var c Cursor
				for key := range uint64(3) {
					if y.Seek(&c, keyHash(key)); !c.Unsure() || c.Next() {
						t.Fatal("a reader goes into a page that nobody has verified")
					}
				}
				if byWalk {
					for !y.Sure() {
						y.WarmSome(2)
					}
				} else {
					for key := range want {
						y.Own(&c, keyHash(key))
					}
				}
				if m.spans != n || y.Damaged() != n {
					t.Fatalf("%s of %d pages: %d spans mended, %d pages counted", d.name, n, m.spans, y.Damaged())
				}
				if m.mends > 2 {
					t.Fatalf("%s of %d pages: the keeper was asked %d times", d.name, n, m.mends)
				}
				checkContents(t, y, want)
				checkSums(t, y, d.name)
				tried++
			}
		}
	}
	t.Logf("%d kinds of damage, %d cases mended", len(damages), tried)
}

// TestEveryBitOfAPage: no flip is left unnoticed.
func TestEveryBitOfAPage(t *testing.T) {
	mem := make([]byte, Bytes(1000))
	x, err := Create(mem, nil, 7)
	if err != nil {
		t.Fatal(err)
	}
	for key := range uint64(1000) {
		if err := put(x, key, 1, key%3 == 0); err != nil {
			t.Fatal(err)
		}
	}
	e := x.entryAt(int(x.mem.get(headDepth)), 0)
	step, n := 1, 0
	if raceEnabled {
		step = 41 // one goroutine: nothing for the race detector
	}
	for bit := 0; bit < pageBytes*8; bit += step {
		x.mem.page(e.page())[bit/64] ^= 1 << (bit % 64)
		if x.check(e) {
			t.Fatalf("bit %d is not noticed", bit)
		}
		x.mem.page(e.page())[bit/64] ^= 1 << (bit % 64)
		n++
	}
	for bit := range 64 {
		*x.mem.at(x.geo.sumOffset(e.page())) ^= 1 << bit
		if x.check(e) {
			t.Fatalf("bit %d of the sum is not noticed", bit)
		}
		*x.mem.at(x.geo.sumOffset(e.page())) ^= 1 << bit
		n++
	}
	t.Logf("%d bits flipped, all noticed", n)
}
