package replica

import (
	"fmt"
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
	"healkv/pmem/store"
	"healkv/rdma"
	"healkv/rdma/ring"
)

// rig is a group of replicas in one goroutine. Nothing moves by itself: every
// delivery of stream bytes or watermarks, every flush and every Advance is a
// call, so a test decides who knows what when.
type rig struct {
	t     testing.TB
	model proto.Model
	view  proto.View
	sizes sizes
	nodes []*unit
}

type sizes struct{ ring, segment, segments, keys int }

var usual = sizes{ring: 1 << 16, segment: 1 << 16, segments: 16, keys: 4000}

// unit is one node's only shard.
type unit struct {
	*Shard
	rig     *rig
	mem     []byte // the ring
	out     *ring.Out
	mirrors [proto.NodesMax]*ring.Mirror // of the others' streams
	answers []Completion                 // everything Done gave, in order
	handles Handle
}

// newStore makes an empty shard on the heap.
func newStore(t testing.TB, z sizes, incarnation uint32) *store.Store {
	t.Helper()
	l := seglog.Format(seglog.Config{Arena: make([]byte, z.segment*z.segments), SegmentBytes: z.segment, PoolTag: 7, Incarnation: incarnation})
	// The allocator aligns what is longer than a page to pages.
	x, err := index.Create(make([]byte, index.Bytes(uint64(z.keys))), nil, 7)
	if err != nil {
		t.Fatal(err)
	}
	return store.New(l, x, 0x5eed)
}

func newUnit(r *rig, m proto.Member) *unit {
	st := newStore(r.t, r.sizes, uint32(m.Incarnation))
	u := &unit{rig: r, Shard: New(r.model.Gates(), st, 64), mem: make([]byte, r.sizes.ring)}
	u.out = ring.NewOut(u.mem)
	if err := u.Begin(m, u.out, 0, nil); err != nil {
		r.t.Fatal(err)
	}
	return u
}

// newRig makes n live nodes that have installed view 1 and settled it.
func newRig(t testing.TB, n int, model proto.Model) *rig {
	return newRigOf(t, n, model, usual)
}

func newRigOf(t testing.TB, n int, model proto.Model, z sizes) *rig {
	t.Helper()
	r := &rig{t: t, model: model, sizes: z}
	r.view = proto.View{Epoch: 1, Model: model, Shards: 1}
	for i := range proto.NodeID(n) {
		r.view.Configured, r.view.Live = r.view.Configured.With(i), r.view.Live.With(i)
		r.view.Incarnation[i], r.view.Issued[i] = 1, 1
		r.nodes = append(r.nodes, newUnit(r, proto.Member{Node: i, Incarnation: 1}))
	}
	for i := range r.nodes {
		r.install(i, r.view)
	}
	r.settle()
	return r
}

// install brings a view to one node and feeds it to the new members' mirrors.
func (r *rig) install(i int, v proto.View) {
	u := r.nodes[i]
	old := u.view
	for n := range proto.NodeID(proto.NodesMax) {
		if old.Members().Has(n) && !v.Has(old.Member(n)) {
			u.mirrors[n] = nil
			if int(n) < len(r.nodes) && r.nodes[n] != nil {
				r.nodes[n].mirrors[i] = nil // detached: it reads nothing more
			}
		}
	}
	u.Install(&v)
	for n := range proto.NodeID(len(r.nodes)) {
		to := r.nodes[n]
		if int(n) == i || to == nil || to.self != v.Member(n) || !v.Members().Has(n) || old.Has(v.Member(n)) {
			continue
		}
		to.mirrors[i] = ring.NewMirror(u.mem, u.FeedFrom(n))
	}
}

// stream delivers what from has appended to its stream.
func (r *rig) stream(from, to int) (bytes int, err error) {
	u, m := r.nodes[to], r.nodes[to].mirrors[from]
	if m == nil {
		return 0, nil
	}
	if !u.Following(proto.NodeID(from)) && !u.Fed(proto.NodeID(from), m.Cursor()) {
		return 0, nil
	}
	if !m.SetLimit(r.nodes[from].out.Tail()) {
		r.t.Fatalf("stream %d to %d: limit %d refused at %d", from, to, r.nodes[from].out.Tail(), m.Limit())
	}
	return u.OnStream(proto.NodeID(from), m, 1<<30)
}

// marks delivers from's line of watermarks.
func (r *rig) marks(from, to int) {
	var m rdma.Marks
	r.nodes[from].OutMarks(proto.NodeID(to), &m)
	if err := r.nodes[to].OnMarks(proto.NodeID(from), &m); err != nil {
		r.t.Fatalf("marks %d to %d: %v", from, to, err)
	}
}

// flush makes a node's log durable through its tail; Advance has to follow.
func (u *unit) flush() { u.st.SetFlushed(u.st.Tail()) }

// advance is Advance, with the answers kept.
func (u *unit) advance() bool {
	moved := u.Advance()
	u.answers = append(u.answers, u.Done()...)
	return moved
}

// members is who takes part: everybody in the view of the node.
func (r *rig) each(f func(from, to int)) {
	for i, u := range r.nodes {
		for j := range r.nodes {
			if i != j && u != nil && r.nodes[j] != nil && u.view.Has(r.nodes[j].self) && r.nodes[j].view.Has(u.self) {
				f(i, j)
			}
		}
	}
}

// settle delivers everything in turns until nothing moves.
func (r *rig) settle() {
	for range 100 {
		moved := false
		r.each(r.marks)
		r.each(func(from, to int) {
			n, err := r.stream(from, to)
			if err != nil {
				r.t.Fatalf("stream %d to %d: %v", from, to, err)
			}
			moved = moved || n > 0
		})
		for _, u := range r.nodes {
			if u != nil {
				if u.RollForward(1000) > 0 {
					moved = true
				}
				u.flush()
				moved = u.advance() || moved
			}
		}
		if !moved {
			return
		}
	}
	r.t.Fatal("the group does not come to rest")
}

// write offers a client's write; the handle grows by one with each.
func (u *unit) write(kind record.Kind, key, value string) (Admission, proto.TS) {
	a, ts, _ := u.Write(kind, u.st.Hash([]byte(key)), []byte(key), []byte(value), 0, true, u.handles)
	if a == Taken {
		u.handles++
	}
	return a, ts
}

func (u *unit) put(key, value string) proto.TS {
	u.rig.t.Helper()
	a, ts := u.write(record.Put, key, value)
	if a != Taken {
		u.rig.t.Fatalf("put %q at node %d: admission %d", key, u.self.Node, a)
	}
	return ts
}

// entry appends any entry to the node's stream, past all rules of a
// coordinator. change edits the header before it is sealed.
func (u *unit) entry(ts proto.TS, key, value string, change func(h *record.Header)) (img []byte, end uint64) {
	u.rig.t.Helper()
	n := record.Bytes(len(key), len(value))
	img, end, ok := u.out.Next(n)
	if !ok {
		u.rig.t.Fatal("ring full")
	}
	h := record.Header{TS: uint64(ts), Seq: end, Hash: u.st.Hash([]byte(key)), OwnerIncarnation: uint32(u.self.Incarnation),
		Epoch: uint32(u.view.Epoch), OwnerNode: uint8(u.self.Node), Kind: record.Put}
	if change != nil {
		change(&h)
	}
	record.Encode(img, &h, []byte(key), []byte(value), record.Seed(end-uint64(n), uint32(u.self.Incarnation)))
	return img, end
}

// held is what the store says of a key.
type held struct {
	TS     proto.TS
	Value  string
	Locked bool
	Owner  proto.Member
	pos    uint64
}

func (u *unit) find(key string) (x held, ok bool) {
	var e store.Entry
	u.st.Find(&e, u.st.Hash([]byte(key)), []byte(key))
	if !e.OK {
		return held{}, false
	}
	var h record.Header
	img := u.st.Record(e.Pos)
	record.Decode(img, &h)
	return held{proto.TS(e.TS), string(record.Value(img)), e.Locked, proto.Member{Node: proto.NodeID(h.OwnerNode), Incarnation: proto.Incarnation(h.OwnerIncarnation)}, e.Pos}, true
}

// want compares a key's record, the position aside.
func (u *unit) want(what, key string, ts proto.TS, value string, locked bool) {
	u.rig.t.Helper()
	x, ok := u.find(key)
	if !ok || x.TS != ts || x.Value != value || x.Locked != locked {
		u.rig.t.Errorf("%s: node %d holds %q: %v %q locked %v (known %v), want %v %q locked %v",
			what, u.self.Node, key, x.TS, x.Value, x.Locked, ok, ts, value, locked)
	}
}

func (u *unit) read(key string) (value string, ts proto.TS, state ReadState) {
	pos, ts, state := u.Read(u.st.Hash([]byte(key)), []byte(key), true, u.handles)
	u.handles++
	if state == ReadNow {
		value = string(record.Value(u.st.Record(pos)))
	}
	return value, ts, state
}

func ts(epoch proto.Epoch, version uint64, node proto.NodeID) proto.TS {
	return proto.MakeTS(epoch, version, node)
}

// same requires that all nodes in the view hold the same readable records.
func (r *rig) same(keys ...string) {
	r.t.Helper()
	for _, k := range keys {
		var first held
		seen := false
		for _, u := range r.nodes {
			if u == nil || !r.view.Has(u.self) {
				continue
			}
			x, ok := u.find(k)
			x.pos, x.Owner = 0, proto.Member{}
			if !seen {
				first, seen = x, true
			}
			if !ok || x != first || x.Locked {
				r.t.Errorf("key %q at node %d: %+v (known %v), elsewhere %+v", k, u.self.Node, x, ok, first)
			}
		}
	}
}

func name(what string, i int) string { return fmt.Sprintf("%s-%d", what, i) }
