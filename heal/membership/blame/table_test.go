package blame

import (
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"healkv/dataplane/proto"
)

func TestTable(t *testing.T) {
	v, now := group(4), int64(100_000)
	var table Table
	count := func(what string, at, viewAt int64, want int) {
		t.Helper()
		edges, _ := table.Sees(nil, &v, viewAt, at, patience)
		if len(edges) != want {
			t.Errorf("%s: %v, want %d", what, edges, want)
		}
	}
	if n := table.Put(0, []Edge{by(0, 1), by(0, 2)}, 0b111, now); n != 0 {
		t.Errorf("%d refused", n)
	}
	table.Put(3, []Edge{by(3, 1)}, 0b1001, now)
	count("two nodes' complaints", now, 0, 3)
	count("said within the patience", now+patience, 0, 3)
	count("not said again", now+patience+1, 0, 0)
	count("a view that is too young", now, now-patience+1, 0)
	count("old enough", now, now-patience, 3)
	_, hears := table.Sees(nil, &v, 0, now, patience)
	if hears[0] != 0b111 || hears[3] != 0b1001 || hears[1] != 0 {
		t.Errorf("hears %v", hears)
	}
	table.Put(0, []Edge{by(0, 1)}, 0, now)
	count("one was taken back", now, 0, 2)
	v = v.Next(v.Live.Without(1), 0)
	count("the view is without it", now, 0, 0)
	v = v.Next(v.Live, v.Shadow.With(1))
	count("it is back", now, 0, 2)
	v.Incarnation[1]++
	count("in another life", now, 0, 0)
}

// TestOnlyOwnComplaints: nobody speaks for another, and nothing impossible
// counts.
func TestOnlyOwnComplaints(t *testing.T) {
	v := group(4)
	good := by(2, 1)
	for name, bad := range map[string]Edge{
		"of another node":        by(1, 2),
		"about itself":           by(2, 2),
		"of no life":             {By: proto.Member{Node: 2}, Of: member(1), Kind: Unapplied},
		"about no life":          {By: member(2), Of: proto.Member{Node: 1}, Kind: Unapplied},
		"about no node":          {By: member(2), Of: proto.Member{Node: 200, Incarnation: 7}, Kind: Unapplied},
		"of no kind":             {By: member(2), Of: member(1)},
		"of a kind to come":      {By: member(2), Of: member(1), Kind: Slow + 1},
		"of a shard beyond":      {By: member(2), Of: member(1), Kind: Unapplied, Shard: proto.ShardsMax},
		"from before it began":   {By: member(2), Of: member(1), Kind: Unapplied, For: -1},
		"of a node beyond, 0xff": {By: proto.Member{Node: 255, Incarnation: 7}, Of: member(1), Kind: Unapplied},
	} {
		var table Table
		if n := table.Put(2, []Edge{bad, good}, 0, 10); n != 1 {
			t.Errorf("%s: %d refused", name, n)
		}
		if edges, _ := table.Sees(nil, &v, -patience, 10, patience); len(edges) != 1 || edges[0] != good {
			t.Errorf("%s: %v", name, edges)
		}
	}
	var table Table
	if n := table.Put(proto.NodesMax, []Edge{good}, 0, 10); n != 1 {
		t.Errorf("from a node beyond: %d refused", n)
	}
}

// TestOrderOfComplaints: the same set of complaints is the same table (B1).
func TestOrderOfComplaints(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	v := group(4)
	for range 1000 {
		var edges []Edge
		for range 6 {
			e := by(2, r.IntN(4))
			e.Kind, e.Shard, e.For = Kind(1+r.IntN(3)), uint8(r.IntN(2)), int64(r.IntN(2))
			e.Of.Incarnation = proto.Incarnation(6 + r.IntN(2))
			edges = append(edges, e)
		}
		var a, b Table
		a.Put(2, edges, 0, 10)
		r.Shuffle(len(edges), func(i, j int) { edges[i], edges[j] = edges[j], edges[i] })
		b.Put(2, edges, 0, 10)
		x, _ := a.Sees(nil, &v, -patience, 10, patience)
		y, _ := b.Sees(nil, &v, -patience, 10, patience)
		if !slices.Equal(x, y) {
			t.Fatalf("%v and %v of %v", x, y, edges)
		}
	}
}

// FuzzComplaints: whatever peers send, the judge names a member with a
// complaint, or nobody.
func FuzzComplaints(f *testing.F) {
	one, _ := json.Marshal([]Edge{by(1, 2), by(1, 3)})
	f.Add(one, uint64(1), uint16(0b1111), uint16(0))
	f.Add([]byte(`[{"by":{"Node":3,"Incarnation":7},"of":{"Node":255,"Incarnation":7},"kind":9,"for":-1}]`), uint64(3), uint16(7), uint16(8))
	f.Add([]byte(`[]`), uint64(1<<60), uint16(0), uint16(0xffff))
	f.Fuzz(func(t *testing.T, body []byte, seed uint64, live, shadow uint16) {
		var edges []Edge
		if json.Unmarshal(body, &edges) != nil {
			// As bytes they are complaints all the same.
			for ; len(body) >= 8; body = body[8:] {
				x := binary.LittleEndian.Uint64(body)
				edges = append(edges, Edge{By: proto.Member{Node: proto.NodeID(x), Incarnation: proto.Incarnation(x >> 8 & 15)},
					Of: proto.Member{Node: proto.NodeID(x >> 16), Incarnation: proto.Incarnation(x >> 24 & 15)}, Kind: Kind(x >> 32), Shard: uint8(x >> 40), For: int64(x >> 48)})
			}
		}
		v := group(16)
		v.Live, v.Shadow = proto.NodeSet(live), proto.NodeSet(shadow&^live)
		var table Table
		for i := range proto.NodeID(proto.NodesMax) {
			table.Put(i, edges, proto.NodeSet(seed>>i), 10)
		}
		table.Put(proto.NodeID(seed), edges, 0, 10)
		got, hears := table.Sees(nil, &v, -patience, 10, patience)
		x := Judge(&v, got, &hears, proto.NodeSet(seed>>8))
		if x.Victim.Incarnation == 0 {
			return
		}
		found := false
		for _, e := range got {
			if !e.valid(e.By.Node) {
				t.Fatalf("%+v counts", e)
			}
			found = found || e.By == x.Victim || e.Of == x.Victim
		}
		if !found || !v.Has(x.Victim) || v.Live.Without(x.Victim.Node) == 0 || x.Degree < 1 {
			t.Fatalf("%+v of %v", x, got)
		}
	})
}
