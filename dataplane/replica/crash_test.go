package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"healkv/bench/tally"
	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/pmem/crashtest"
	"healkv/pmem/record"
	"healkv/pmem/store"
	"healkv/rdma/ring"
)

// crashRig is a group of replicas over pools whose media are recorded: at every
// drain the states that a power loss could leave are opened, and each must hold
// what the protocol has promised to anybody by then.
type crashRig struct {
	*rig
	rng     *rand.Rand
	pools   []*pmem.Pool
	media   []pmem.HeapMedium
	rec     []crashtest.Recorder
	probe   pmem.HeapMedium
	image   []byte
	entries []streamed
	keys    [][]byte
	limits  crashtest.Limits
	states  int
	stables uint64 // the sum of the stable positions found
	broken  error
	lose    func(off int) bool // plant: flushes of these offsets are lost
}

// streamed is an entry of a coordinator's stream.
type streamed struct {
	from     int
	seq      uint64
	key      int
	ts       proto.TS
	value    string
	handle   Handle
	answered bool
}

func newCrashRig(t testing.TB, model proto.Model, seed uint64, lose func(off int) bool) *crashRig {
	const nodes, segment, segments = 3, 8 << 10, 64 // each node sets 64 KiB aside for every member, twice
	c := &crashRig{rng: rand.New(rand.NewPCG(seed, uint64(model))), limits: crashtest.Limits{Exhaustive: 16, Samples: 6}, lose: lose}
	c.rig = &rig{t: t, model: model, sizes: sizes{ring: 1 << 14, segment: segment, segments: segments, keys: 100}}
	c.view = proto.View{Epoch: 1, Model: model, Shards: 1}
	for i := range 6 {
		c.keys = append(c.keys, []byte(name("k", i)))
	}
	c.media, c.rec, c.pools = make([]pmem.HeapMedium, nodes), make([]crashtest.Recorder, nodes), make([]*pmem.Pool, nodes)
	for i := range nodes {
		id := pmem.Identity{Node: uint8(i), Shards: 1, HashSeed: 5}
		c.media[i] = pmem.HeapMedium{PoolID: [16]byte{byte(i + 1)}, BootID: [16]byte{1}, SuperEvery: 256}
		m := &c.media[i]
		o := pmem.FormatOptions{Identity: id, SizeBytes: pmem.DataOffset + segment*segments, SegmentBytes: segment, MaxKeys: 100}
		if err := pmem.FormatHeap(o, m); err != nil {
			t.Fatal(err)
		}
		c.rec[i].Start(m.Pool)
		if lose != nil {
			c.rec[i].LoseFlush = func(_, off, _ int) bool { return lose(off) }
		}
		m.Watch = c.rec[i].Watch
		var err error
		if c.pools[i], err = m.Open(id); err != nil {
			t.Fatal(err)
		}
		if err := c.pools[i].Begin(1); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			c.probe = *m
			c.probe.Watch, c.probe.BootID = nil, [16]byte{9}
			c.probe.Pool, c.probe.Index = make([]byte, len(m.Pool)), make([]byte, len(m.Index))
			c.image = make([]byte, crashtest.Compact(len(m.Pool)))
		}
		n := proto.NodeID(i)
		c.view.Configured, c.view.Live = c.view.Configured.With(n), c.view.Live.With(n)
		c.view.Incarnation[n], c.view.Issued[n] = 1, 1
		u := &unit{rig: c.rig, Shard: New(model.Gates(), c.pools[i].Store(), 64), mem: make([]byte, c.sizes.ring)}
		u.out = ring.NewOut(u.mem)
		if err := u.Begin(proto.Member{Node: n, Incarnation: 1}, u.out, 0, nil); err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, u)
	}
	for i := range c.nodes {
		c.install(i, c.view)
		c.rec[i].Visit = func(w *crashtest.Window) { c.visit(i, w) }
	}
	return c
}

// required is the TS that every state of node f must have for a key, or a newer.
func (c *crashRig) required(f, key int) (ts proto.TS, why string) {
	g := c.model.Gates()
	for i := range c.entries {
		e := &c.entries[i]
		if e.key != key || e.ts <= ts {
			continue
		}
		u := c.nodes[e.from]
		switch {
		case e.from == f && e.seq <= u.durable, e.from != f && e.seq <= u.peers[f].durable:
			ts, why = e.ts, "its durable watermark covers it"
		case g.Answer == proto.Durable && e.answered:
			ts, why = e.ts, "its client was answered"
		case g.Read == proto.Durable && e.seq <= u.visible:
			ts, why = e.ts, "it may have been read"
		case e.seq <= u.stable:
			ts, why = e.ts, "it is stable"
		}
	}
	return ts, why
}

func (c *crashRig) visit(f int, w *crashtest.Window) {
	if w.Writes() == 0 {
		return
	}
	w.Each(c.rng, c.limits, c.image, func(image []byte) bool {
		c.states++
		crashtest.Expand(c.probe.Pool, image)
		if err := c.check(f); err != nil && c.broken == nil {
			c.broken = fmt.Errorf("node %d after a power loss: %w", f, err)
		}
		return c.broken == nil
	})
}

func (c *crashRig) check(f int) error {
	p, err := c.probe.Open(pmem.Identity{Node: uint8(f), Shards: 1, HashSeed: 5})
	if err != nil {
		return err
	}
	s := p.Store()
	for i, k := range c.keys {
		var e store.Entry
		s.Find(&e, s.Hash(k), k)
		want, why := c.required(f, i)
		if proto.TS(e.TS) < want {
			return fmt.Errorf("key %d has TS %v; %v is there for certain: %s", i, proto.TS(e.TS), want, why)
		}
		if e.OK {
			c.written(i, proto.TS(e.TS), string(record.Value(s.Record(e.Pos))), &err)
		}
	}
	if err != nil {
		return err
	}
	// Below the recovered stable position everything is durable everywhere.
	c.stables += p.Recovered().Stable
	scan := s.Log().Scan(0, p.Recovered().Stable, func(pos uint64, h *record.Header, img []byte) bool {
		if h.Kind != record.Marker {
			for g, u := range c.nodes {
				d := u.streams[h.OwnerNode].durable
				if g == int(h.OwnerNode) {
					d = u.durable
				}
				if h.Seq > d {
					err = fmt.Errorf("stable position %d covers the record at %d, which node %d has not flushed", p.Recovered().Stable, pos, g)
				}
			}
		}
		return err == nil
	})
	return errors.Join(err, scan)
}

func (c *crashRig) written(key int, ts proto.TS, value string, err *error) {
	for i := range c.entries {
		if e := &c.entries[i]; e.key == key && e.ts == ts {
			if e.value != value {
				*err = fmt.Errorf("key %d, TS %v has value %q, written was %q", key, ts, value, e.value)
			}
			return
		}
	}
	*err = fmt.Errorf("key %d has TS %v, which nobody wrote", key, ts)
}

// step does one random thing.
func (c *crashRig) step() {
	i, j := c.rng.IntN(3), c.rng.IntN(3)
	u := c.nodes[i]
	switch x := c.rng.IntN(20); {
	case x < 5:
		k := c.rng.IntN(len(c.keys))
		kind, value := record.Put, name("value", len(c.entries))
		if c.rng.IntN(6) == 0 {
			kind, value = record.Delete, ""
		}
		h := u.handles
		if a, ts := u.write(kind, string(c.keys[k]), value); a == Taken {
			c.entries = append(c.entries, streamed{i, u.out.Tail(), k, ts, value, h, false})
		}
	case x < 10 && i != j:
		if _, err := c.stream(i, j); err != nil {
			c.t.Fatal(err)
		}
	case x < 14 && i != j:
		c.marks(i, j)
	case x < 17:
		c.pools[i].SetStable(u.StablePos())
		if err := c.pools[i].Flush(); err != nil {
			c.t.Fatal(err)
		}
	case x < 18 && c.rng.IntN(20) == 0: // a new view of the same members: a marker
		c.view.Epoch++
		for n := range c.nodes {
			c.install(n, c.view)
		}
	case x < 19:
		c.rec[i].Look()
	default:
		u.advance()
	}
	if c.rng.IntN(3) == 0 {
		u.advance()
	}
	for _, a := range u.answers {
		for e := range c.entries {
			if x := &c.entries[e]; x.from == i && x.handle == a.Handle && x.ts == a.TS {
				x.answered = true
			}
		}
	}
	u.answers = u.answers[:0]
}

// TestCrashStatesKeepWhatIsPublished: whatever a node has told its peers to be
// durable, and whatever a model has answered or made readable on the strength
// of that, is in every state that a power loss can leave of it.
func TestCrashStatesKeepWhatIsPublished(t *testing.T) {
	steps, seeds := 400, uint64(2)
	if testing.Short() {
		steps, seeds = 150, 1
	}
	states, answered, stables := 0, 0, uint64(0)
	for _, m := range proto.Models() {
		for seed := range seeds {
			c := newCrashRig(t, m, seed, nil)
			for n := 0; n < steps && c.broken == nil; n++ {
				c.step()
			}
			if c.broken != nil {
				t.Fatalf("%v, seed %d: %v", m, seed, c.broken)
			}
			for _, e := range c.entries {
				if e.answered {
					answered++
				}
			}
			states += c.states
			stables += c.stables
		}
	}
	t.Logf("%d states, %d writes answered", states, answered)
	if states == 0 || answered == 0 || stables == 0 {
		t.Errorf("%d states, %d answers, stable positions %d", states, answered, stables)
	}
	tally.Add("crash states", "states", states)
	for _, m := range proto.Models() {
		found := false
		for seed := uint64(0); seed < 8 && !found; seed++ {
			c := newCrashRig(t, m, seed, func(off int) bool { return off >= pmem.DataOffset })
			for n := 0; n < steps && c.broken == nil; n++ {
				c.step()
			}
			found = c.broken != nil
		}
		if !found {
			t.Errorf("%v: losing the flushes of the log breaks no promise", m)
		}
	}
}
