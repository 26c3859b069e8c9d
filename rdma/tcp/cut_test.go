package tcp

import (
	"crypto/tls"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"healkv/rdma"
)

// put appends an entry that says its number and size.
func put(e *Endpoint, number uint64, n int) bool {
	dst, _, ok := e.Out().Next(n)
	if !ok {
		return false
	}
	binary.LittleEndian.PutUint64(dst, number)
	binary.LittleEndian.PutUint64(dst[8:], uint64(n))
	for i := 16; i < n; i++ {
		dst[i] = byte(number) + byte(i)
	}
	return true
}

// take checks and passes the entries that have come, from the number on.
func take(t testing.TB, e *Endpoint, from int, number uint64) uint64 {
	t.Helper()
	e.Poll()
	m := e.Mirror(from)
	if m == nil {
		return number
	}
	for {
		w, err := m.Window()
		if err != nil {
			t.Fatal(err)
		}
		if w == nil {
			return number
		}
		got, n := binary.LittleEndian.Uint64(w), int(binary.LittleEndian.Uint64(w[8:]))
		if got != number || n > len(w) {
			t.Fatalf("entry %d of %d bytes where %d was due", got, n, number)
		}
		for i := 16; i < n; i++ {
			if w[i] != byte(number)+byte(i) {
				t.Fatalf("entry %d: byte %d is %#x", number, i, w[i])
			}
		}
		m.Advance(n)
		number++
	}
}

// A connection is cut after each byte of a frame and its entry, and of what the
// receiver says on the next one; then a bit of each byte is changed. Every
// entry arrives once, every watermark line whole.
func TestCutAtEveryByte(t *testing.T) {
	for name, c := range map[string]*tls.Config{"plain": nil, "tls": mutual()} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, c)
			proxies := proxied(t, n)
			a, b := n.end(0, 1), n.end(1, 1)
			n.pair(a, b)
			a.Feed(1, 0)
			n.settle()
			const entry = 48
			frame, back := frameBytes+entry, len(admitted)+frameBytes
			step := 1
			if raceEnabled && testing.Short() {
				step = 5
			}
			if c != nil {
				frame, back = frame+2*22, back+3*22+1500 // records, and the handshake
				step = 7
				if raceEnabled || testing.Short() {
					step = 29
				}
			}
			number := uint64(0)
			once := func(disturb func()) {
				t.Helper()
				disturb()
				if !put(a, number, entry) {
					t.Fatal("ring full")
				}
				a.Publish()
				m := rdma.Marks{Epoch: number + 1, Visible: number, Applied: 3 * number}
				a.PublishMarks(1, &m)
				a.WakePeers()
				n.settle()
				if got := take(t, b, 0, number); got != number+1 {
					t.Fatalf("took up to %d, want %d", got, number+1)
				}
				number++
				var in rdma.Marks
				if b.Marks(0, &in); in != m {
					t.Fatalf("watermarks %+v, want %+v", in, m)
				}
				a.Out().Reclaim(b.Mirror(0).Cursor())
				proxies[1].calm()
				n.settle() // over what a late cut has broken
			}
			for k := 0; k <= frame; k += step {
				once(func() { proxies[1].cutAfter(int64(k), 0) })
			}
			for k := 0; k <= back; k += step {
				once(func() {
					proxies[1].cut()
					proxies[1].cutAfter(int64(k), 1)
				})
			}
			cuts, _ := proxies[1].counts()
			for k := range frameBytes + entry {
				if k%step == 0 {
					once(func() { proxies[1].flipAfter(int64(k)) })
				}
			}
			_, flips := proxies[1].counts()
			s, r := a.Stats(), b.Stats()
			if cuts < (frame+back)/step/2 || flips < (frameBytes+entry)/step || s.Resumed < uint64(cuts+flips) || s.Lost != 0 || b.Malformed() != 0 {
				t.Errorf("%d cuts, %d changed bits; %+v; %+v", cuts, flips, s, r)
			}
			if c == nil && r.Corrupt != uint64(flips) {
				t.Errorf("%d changed bits, %d frames counted", flips, r.Corrupt)
			}
			t.Logf("%d entries, %d cuts, %d changed bits, %d resumed, %d torn", number, cuts, flips, s.Resumed, r.Torn)
		})
	}
}

// Two nodes send each other streams of their own while connections are cut and
// bits are changed at random: nothing is lost, nothing comes twice, no number
// steps back.
func TestSeededCuts(t *testing.T) {
	rounds := 1500
	if raceEnabled || testing.Short() {
		rounds = 400
	}
	for seed := range uint64(4) {
		var c *tls.Config
		if seed == 3 {
			c = mutual()
		}
		rng := rand.New(rand.NewPCG(seed, 7))
		n := newNetwork(t, c)
		proxies := proxied(t, n)
		ends := []*Endpoint{n.end(0, 1), n.end(1, 1)}
		n.pair(ends[0], ends[1])
		for i, e := range ends {
			e.Feed(1-i, 0)
		}
		var sent, got [2]uint64
		var applied [2]uint64
		look := func(i int) {
			t.Helper()
			e := ends[i]
			got[i] = take(t, e, 1-i, got[i])
			var m rdma.Marks
			if e.Marks(1-i, &m); m.Applied < applied[i] || m.Applied > e.Out().Tail() {
				t.Fatalf("seed %d: applied %d after %d, tail %d", seed, m.Applied, applied[i], e.Out().Tail())
			}
			applied[i] = m.Applied
			e.Out().Reclaim(m.Applied)
		}
		for range rounds {
			i := rng.IntN(2)
			e := ends[i]
			switch rng.IntN(9) {
			case 8:
				n.settle()
			case 0:
				switch rng.IntN(6) {
				case 0:
					proxies[i].cut()
				case 1:
					proxies[i].cutAfter(rng.Int64N(3000), 0)
				case 2:
					proxies[i].cutAfter(rng.Int64N(200), 1)
				case 3:
					proxies[i].flipAfter(rng.Int64N(3000))
				}
			case 1, 2:
				look(i)
			default:
				for range 1 + rng.IntN(5) {
					if put(e, sent[i], 16*(1+rng.IntN(60))) {
						sent[i]++
					}
				}
				e.Publish()
				m := rdma.Marks{Visible: sent[i]}
				if mirror := e.Mirror(1 - i); mirror != nil {
					m.Applied = mirror.Cursor()
				} else {
					m.Applied = e.peers[1-i].send.marks.Applied
				}
				e.PublishMarks(1-i, &m)
				e.WakePeers()
			}
		}
		for _, p := range proxies[:2] {
			p.calm()
		}
		n.settle()
		var s [2]Stats
		for i, e := range ends {
			look(i)
			if got[i] != sent[1-i] {
				t.Errorf("seed %d: node %d took %d entries of %d", seed, i, got[i], sent[1-i])
			}
			if s[i] = e.Stats(); s[i].Lost != 0 || e.Malformed() != 0 {
				t.Errorf("seed %d: %+v", seed, s[i])
			}
		}
		if s[0].Resumed+s[1].Resumed < 10 || got[0] < 100 || got[1] < 100 {
			t.Errorf("seed %d: only %d resumed, %d entries", seed, s[0].Resumed+s[1].Resumed, got[0]+got[1])
		}
		t.Logf("seed %d: %d entries, %d resumed, %d torn, %d corrupt", seed, got[0]+got[1], s[0].Resumed+s[1].Resumed, s[0].Torn+s[1].Torn, s[0].Corrupt+s[1].Corrupt)
		for _, e := range ends {
			e.Close()
		}
	}
}

// A peer that attaches us anew while its connection is broken could not say
// that it had detached us: the new attachment says it.
func TestAttachedAnewWhileBroken(t *testing.T) {
	n := newNetwork(t, nil)
	proxies := proxied(t, n)
	a, b := n.end(0, 1), n.end(1, 1)
	n.pair(a, b)
	a.Feed(1, 0)
	for i := range uint64(3) {
		put(a, i, 64)
	}
	a.Publish()
	a.PublishMarks(1, &rdma.Marks{Applied: 7})
	n.settle()
	if take(t, b, 0, 0) != 3 {
		t.Fatal("nothing came")
	}
	n.hub.Cut(0, 1)
	proxies[1].cut()
	awaitCount(t, "the break", func() bool { a.Poll(); b.Poll(); return a.peers[1].send.conn == nil && b.peers[0].from == nil })
	if err := a.Detach(1).Close(); err != nil {
		t.Fatal(err)
	}
	if b.Mirror(0) == nil {
		t.Fatal("a broken connection has taken the mirror away")
	}
	n.hub.Mend(0, 1)
	n.join(a, b)
	n.settle()
	var m rdma.Marks
	if b.Marks(0, &m); m != (rdma.Marks{}) || b.Mirror(0) != nil {
		t.Errorf("of the attachment before: %+v, mirror %v", m, b.Mirror(0))
	}
	a.Feed(1, 64)
	n.settle()
	if got := take(t, b, 0, 1); got != 3 || b.Stats().Corrupt != 0 {
		t.Errorf("took up to %d; %+v", got, b.Stats())
	}
}

// A stretch that is longer than any connection lasts arrives nevertheless, each
// part once.
func TestLongBurstOverShortConnections(t *testing.T) {
	n := newNetwork(t, nil)
	n.ring = 4 << 20
	proxies := proxied(t, n)
	a, b := n.end(0, 1), n.end(1, 1)
	n.pair(a, b)
	a.Feed(1, 0)
	n.settle()
	number := uint64(0)
	for put(a, number, 16*int(1+number%200)) {
		number++
	}
	tail := a.Out().Tail()
	a.Publish()
	proxies[1].gentle = true
	proxies[1].cutAfter(400<<10, 0)
	a.WakePeers()
	took := uint64(0)
	awaitCount(t, "the stretch", func() bool {
		a.Poll()
		cuts, _ := proxies[1].counts()
		proxies[1].mu.Lock()
		if proxies[1].left[0] < 0 && proxies[1].due == 0 {
			proxies[1].left[0] = 400 << 10
		}
		proxies[1].mu.Unlock()
		if cuts > 100 {
			t.Fatalf("%d cuts and no end", cuts)
		}
		took = take(t, b, 0, took)
		return took == number
	})
	cuts, _ := proxies[1].counts()
	if r := b.Stats(); cuts < 5 || r.BytesIn > 6*tail || b.Mirror(0).Cursor() != tail {
		t.Errorf("%d cuts, %d bytes received for %d; %+v", cuts, r.BytesIn, tail, r)
	}
	t.Logf("%d bytes over %d connections: %d received", tail, cuts+1, b.Stats().BytesIn)
}
