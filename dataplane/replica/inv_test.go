package replica

import (
	"errors"
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// The table of INV handling: what the follower holds × what arrives
// (protocol.md, "INV from c at follower f"). Node 0 coordinates, node 1
// follows; the record before comes from node 2, which had the key last.
func TestINVCells(t *testing.T) {
	base := ts(1, 5, 2)
	states := []struct {
		name          string
		known, locked bool
	}{{"missing", false, false}, {"readable", true, false}, {"locked", true, true}}
	events := []struct {
		name string
		ts   proto.TS
	}{
		{"newer by version", ts(1, 6, 0)},
		{"newer by node, which breaks the tie", ts(1, 5, 3)},
		{"equal: a replay", base},
		{"older by node", ts(1, 5, 0)},
		{"older by version", ts(1, 4, 3)},
		{"far older", ts(1, 1, 0)},
	}
	cells := 0
	for _, st := range states {
		for _, ev := range events {
			for _, kind := range []record.Kind{record.Put, record.Delete} {
				what := st.name + ", " + ev.name + ", " + kind.String()
				r := newRig(t, 4, proto.Synchronous)
				c, f, before := r.nodes[0], r.nodes[1], r.nodes[2]
				if st.known {
					before.entry(base, "k", "old", nil)
					r.stream(2, 1)
					if !st.locked {
						x, _ := f.find("k")
						f.st.Unlock(f.st.Hash([]byte("k")), x.pos)
						f.streams[2].entries.reset()
					}
				}
				tail := f.st.Tail()
				value := "new"
				if ev.ts == base {
					value = "old" // one TS, one value (I2)
				}
				if kind == record.Delete {
					value = ""
				}
				_, end := c.entry(ev.ts, "k", value, func(h *record.Header) { h.Kind = kind })
				n, err := r.stream(0, 1)
				if err != nil || uint64(n) != end || f.Applied(0) != end {
					t.Fatalf("%s: %d bytes applied through %d, %v; want all %d", what, n, f.Applied(0), err, end)
				}
				loses := st.known && ev.ts < base
				switch {
				case loses:
					f.want(what, "k", base, "old", st.locked)
					if f.st.Tail() != tail || f.Counters.Superseded != 1 {
						t.Errorf("%s: a loser was appended (tail %d after %d) or not counted", what, f.st.Tail(), tail)
					}
					if f.streams[0].entries.len() != 0 {
						t.Errorf("%s: a loser waits for its VAL", what)
					}
				case st.known && ev.ts == base:
					f.want(what, "k", base, value, st.locked) // readable stays readable
					x, _ := f.find("k")
					if x.Owner != c.self || f.st.Tail() == tail || f.Counters.Confirmed != 1 {
						t.Errorf("%s: owner %v, want %v; appended %v", what, x.Owner, c.self, f.st.Tail() != tail)
					}
				default:
					f.want(what, "k", ev.ts, value, true)
					if x, _ := f.find("k"); x.Owner != c.self {
						t.Errorf("%s: owner %v, want %v", what, x.Owner, c.self)
					}
				}
				// Lost or not, it is durable only when the log is flushed through
				// where its tail stood (H11).
				f.advance()
				if f.streams[0].durable == end && !(loses && f.st.Flushed() == tail) {
					t.Errorf("%s: durable %d before a flush", what, end)
				}
				f.flush()
				f.advance()
				if f.streams[0].durable != end {
					t.Errorf("%s: durable %d after the flush, want %d", what, f.streams[0].durable, end)
				}
				cells++
			}
		}
	}
	t.Logf("%d cells", cells)
}

// H11: a loser is not durable before the record that beat it is.
func TestLoserIsDurableOnlyWithItsWinner(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	f := r.nodes[1]
	r.nodes[2].entry(ts(1, 9, 2), "k", "winner", nil)
	_, end := r.nodes[0].entry(ts(1, 1, 0), "k", "loser", nil)
	r.stream(2, 1)
	r.stream(0, 1)
	f.advance()
	if f.streams[0].durable != 0 {
		t.Fatalf("durable %d while the winner at the log's end is not flushed", f.streams[0].durable)
	}
	f.flush()
	f.advance()
	if f.streams[0].durable != end {
		t.Fatalf("durable %d after the flush, want %d", f.streams[0].durable, end)
	}
}

// Entries of another view: of an older one they are taken (the stream is the
// same life's), of a newer one they wait, and everything behind them (H4).
func TestINVOfAnotherView(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	c, f := r.nodes[0], r.nodes[1]
	v2 := r.view.Next(r.view.Live, 0)
	v3 := v2.Next(v2.Live, 0)
	r.install(1, v2)

	_, past := c.entry(ts(1, 1, 0), "past", "v", func(h *record.Header) { h.Epoch = 1 })
	_, current := c.entry(ts(2, 1, 0), "current", "v", func(h *record.Header) { h.Epoch = 2 })
	c.entry(ts(2, 1, 0), "future", "v", func(h *record.Header) { h.Epoch = 3 })
	c.entry(ts(1, 1, 0), "behind", "v", func(h *record.Header) { h.Epoch = 1 })
	for range 3 {
		if _, err := r.stream(0, 1); err != nil {
			t.Fatal(err)
		}
	}
	if f.Applied(0) != current || past >= current {
		t.Fatalf("applied %d, want %d", f.Applied(0), current)
	}
	for key, want := range map[string]bool{"past": true, "current": true, "future": false, "behind": false} {
		if _, ok := f.find(key); ok != want {
			t.Errorf("%q known: %v, want %v", key, ok, want)
		}
	}
	if f.Counters.WaitedForView != 3 {
		t.Errorf("waited %d times for the view, want 3", f.Counters.WaitedForView)
	}
	r.install(1, v3)
	if _, err := r.stream(0, 1); err != nil || f.Applied(0) != c.out.Tail() {
		t.Fatalf("after the install: applied %d of %d, %v", f.Applied(0), c.out.Tail(), err)
	}
}

// What no coordinator sends: nothing of it takes effect, nothing panics, and
// the good entry before it stays applied.
func TestMalformedINVs(t *testing.T) {
	cases := []struct {
		name   string
		change func(h *record.Header)
		spoil  func(img []byte)
	}{
		{"key changed", nil, func(img []byte) { img[record.HeaderBytes+1] ^= 1 }},
		{"value changed", nil, func(img []byte) { img[record.HeaderBytes+len("bad")+1] ^= 1 }},
		{"header changed", nil, func(img []byte) { img[9] ^= 1 }},
		{"checksum changed", nil, func(img []byte) { img[0] ^= 1 }},
		{"no header at all", nil, func(img []byte) { clear(img[:record.HeaderBytes]) }},
		{"another life's", func(h *record.Header) { h.OwnerIncarnation++ }, nil},
		{"another node's", func(h *record.Header) { h.OwnerNode = 2 }, nil},
		{"sequence number too high", func(h *record.Header) { h.Seq += 16 }, nil},
		{"sequence number too low", func(h *record.Header) { h.Seq -= 16 }, nil},
		{"a marker", func(h *record.Header) { h.Kind = record.Marker }, nil},
		{"unknown kind", func(h *record.Header) { h.Kind = 77 }, nil},
		{"timestamp of a view to come", func(h *record.Header) { h.TS = uint64(ts(9, 1, 0)) }, nil},
		{"empty key", nil, func(img []byte) { img[44], img[45] = 0, 0 }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 3, proto.Synchronous)
			f := r.nodes[1]
			_, good := r.nodes[0].entry(ts(1, 1, 0), "good", "v", nil)
			img, _ := r.nodes[0].entry(ts(1, 1, 0), "bad", "value", c.change)
			if c.spoil != nil {
				c.spoil(img)
			}
			for range 2 {
				if _, err := r.stream(0, 1); err == nil {
					t.Fatal("no error")
				}
			}
			if f.Applied(0) != good {
				t.Errorf("applied %d, want %d", f.Applied(0), good)
			}
			if _, ok := f.find("bad"); ok {
				t.Error("the bad entry took effect")
			}
			f.want("before it", "good", ts(1, 1, 0), "v", true)
			if f.Counters.BadEntries != 2 {
				t.Errorf("%d bad entries counted, want 2", f.Counters.BadEntries)
			}
			f.flush()
			f.advance() // goes on
			if x, _ := f.find("good"); f.StablePos() > x.pos {
				t.Errorf("stable position %d passed the good entry at %d, which is not stable (R5)", f.StablePos(), x.pos)
			}
		})
	}
	t.Logf("%d kinds of bad entries", len(cases))
}

// A damaged key that is another one with a newer record: the entry is no loser,
// it is refused. Taken for one, it would count as applied and be lost.
func TestDamagedKeyIsNoLoser(t *testing.T) {
	for _, newer := range []proto.TS{ts(1, 9, 2), ts(1, 1, 2)} {
		r := newRig(t, 3, proto.Synchronous)
		c, f := r.nodes[0], r.nodes[1]
		r.nodes[2].entry(newer, "kez", "other", nil)
		if _, err := r.stream(2, 1); err != nil {
			t.Fatal(err)
		}
		img, end := c.entry(ts(1, 1, 0), "key", "value", nil)
		img[record.HeaderBytes+2] ^= 'y' ^ 'z'
		if n, err := r.stream(0, 1); n != 0 || !errors.Is(err, record.ErrBody) || f.Applied(0) != 0 || f.Counters.Superseded != 0 {
			t.Fatalf("a damaged key: %d bytes of %d applied, %v, %d superseded", n, end, err, f.Counters.Superseded)
		}
		f.want("the other key", "kez", newer, "other", true)
		img[record.HeaderBytes+2] ^= 'y' ^ 'z'
		if n, err := r.stream(0, 1); uint64(n) != end || err != nil {
			t.Fatalf("mended: %d bytes of %d, %v", n, end, err)
		}
		f.want("mended", "key", ts(1, 1, 0), "value", true)
	}
}

// A window shorter than its entry's header says.
func TestCutOffEntry(t *testing.T) {
	r := newRig(t, 2, proto.Synchronous)
	f := r.nodes[1]
	_, end := r.nodes[0].entry(ts(1, 1, 0), "key", "some value or other", nil)
	m := f.mirrors[0]
	f.Fed(0, 0)
	for limit := uint64(16); limit < end; limit += 16 {
		if !m.SetLimit(limit) {
			t.Fatal("limit refused")
		}
		if n, err := f.OnStream(0, m, 1<<20); n != 0 || !errors.Is(err, ErrEntry) {
			t.Fatalf("limit %d of %d: %d bytes, %v", limit, end, n, err)
		}
	}
	if n, err := r.stream(0, 1); uint64(n) != end || err != nil {
		t.Fatalf("the whole entry: %d bytes, %v", n, err)
	}
}

// FuzzOnStream: whatever a peer's ring holds, the follower neither panics nor
// takes anything that does not verify.
func FuzzOnStream(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint16(0), uint16(16))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint16(0), uint16(64))
	f.Add([]byte("zz"), uint16(96), uint16(200))
	small := usual
	small.ring, small.segments = 4096, 8
	f.Fuzz(func(t *testing.T, spoil []byte, at, limit uint16) {
		r := newRigOf(t, 2, proto.Synchronous, small)
		for i := range 4 {
			r.nodes[0].entry(ts(1, uint64(i+1), 0), name("key", i), "value", nil)
		}
		u := r.nodes[0]
		clean := append([]byte(nil), u.mem...)
		for i, b := range spoil {
			u.mem[(int(at)+i)%len(u.mem)] ^= b
		}
		n := r.nodes[1]
		m := n.mirrors[0]
		n.Fed(0, 0)
		m.SetLimit(uint64(limit) &^ 15)
		for range 3 {
			if _, err := n.OnStream(0, m, 1<<20); err != nil {
				break
			}
		}
		n.flush()
		n.advance()
		for i := range 4 {
			if x, ok := n.find(name("key", i)); ok && x.Value != "value" {
				t.Fatalf("took %+v from spoilt bytes (clean ring %x…)", x, clean[:16])
			}
		}
	})
}
