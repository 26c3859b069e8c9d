package mending

import (
	"testing"

	"healkv/dataplane/proto"
)

const key, other = 0xabc, 0xdef

func member(n proto.NodeID) proto.Member {
	return proto.Member{Node: n, Incarnation: proto.Incarnation(n) + 10}
}

// view of epoch 7: 0, 1, 2 live, 3 shadow.
func view() *proto.View {
	v := &proto.View{Epoch: 7, Live: 0b0111, Shadow: 0b1000}
	for n := range proto.NodeID(4) {
		v.Incarnation[n] = member(n).Incarnation
	}
	return v
}

func from(n proto.NodeID, held ...Held) Answer {
	return Answer{From: member(n), Epoch: 7, Live: n < 3, Held: held}
}

func damaged(a Answer) Answer {
	a.Damaged = true
	return a
}

func has(ts uint64) Held    { return Held{Hash: key, TS: ts} }
func locked(ts uint64) Held { return Held{Hash: key, TS: ts, Locked: true} }

// Node 0 has a damaged record of the key, at times with timestamp 50.
func TestDecide(t *testing.T) {
	older := from(1, has(90))
	older.Epoch = 6
	gone := from(1, has(90))
	gone.From.Incarnation--
	cases := []struct {
		name    string
		answers []Answer
		ts      uint64 // of the damaged record; 0: not known
		own     uint64 // a sound record of the key beside it
		do      Do
		put     uint64 // 0: nothing
		from    proto.NodeID
	}{
		{"all hold the same", []Answer{from(1, has(50)), from(2, has(50))}, 50, 0, Settle, 50, 1},
		{"the newest counts, whoever comes first", []Answer{from(1, has(50)), from(2, has(60))}, 0, 0, Settle, 60, 2},
		{"the newest counts, whoever comes last", []Answer{from(1, has(60)), from(2, has(50))}, 0, 0, Settle, 60, 1},
		{"one has not answered", []Answer{from(1, has(50))}, 50, 0, Wait, 0, 0},
		{"one answers from an older view", []Answer{older, from(2, has(50))}, 0, 0, Wait, 0, 0},
		{"one answers from an earlier life", []Answer{gone, from(2, has(50))}, 0, 0, Wait, 0, 0},
		{"a shadow has more, and does not count", []Answer{from(1, has(50)), from(2, has(50)), from(3, has(90))}, 0, 0, Settle, 50, 1},
		{"a shadow answers instead of a live one", []Answer{from(1, has(50)), from(3, has(50))}, 0, 0, Wait, 0, 0},
		{"one is damaged too", []Answer{damaged(from(1)), from(2, has(50))}, 0, 0, Settle, 50, 2},
		{"both are damaged, nothing is known", []Answer{damaged(from(1)), damaged(from(2))}, 0, 0, Refuse, 0, 0},
		{"both are damaged, the key is known", []Answer{damaged(from(1)), damaged(from(2))}, 50, 0, Refuse, 0, 0},
		{"both are damaged elsewhere, the key is known and held", []Answer{damaged(from(1, has(50))), damaged(from(2))}, 50, 0, Settle, 50, 1},
		{"both are damaged, somebody holds one that may be another's", []Answer{damaged(from(1, has(50))), damaged(from(2))}, 0, 0, Refuse, 50, 1},
		{"damaged at both, but a newer write is here", []Answer{damaged(from(1)), damaged(from(2))}, 50, 60, Settle, 0, 0},
		{"nobody has ever had it", []Answer{from(1), from(2)}, 0, 0, Settle, 0, 0},
		{"a newer one is under way", []Answer{from(1, locked(60)), from(2, has(50))}, 0, 0, Wait, 0, 0},
		{"a newer one is under way, and has come here", []Answer{from(1, locked(60)), from(2, has(50))}, 0, 60, Settle, 0, 0},
		{"locked at one, readable at the other", []Answer{from(1, locked(60)), from(2, has(60))}, 0, 0, Settle, 60, 2},
	}
	for _, c := range cases {
		v := Decide(view(), 0, c.answers, key, c.ts, c.ts != 0, func(hash uint64) uint64 {
			if hash == key {
				return c.own
			}
			return 0
		})
		put, who := uint64(0), proto.NodeID(0)
		for _, x := range v.Wanted {
			put, who = x.TS, x.From.Node
			if x.Locked {
				t.Errorf("%s: a locked record is put", c.name)
			}
		}
		if v.Do != c.do || v.Do != Wait && (put != c.put || who != c.from || len(v.Wanted) > 1) {
			t.Errorf("%s: %v with %v (%s), want %v with %d of node %d", c.name, v.Do, v.Wanted, v.Why, c.do, c.put, c.from)
		}
	}
	t.Logf("%d cases", len(cases))
}

func TestSeveralKeysMayBeMeant(t *testing.T) {
	both := []Held{{Hash: key, TS: 5}, {Hash: other, TS: 9}}
	v := Decide(view(), 0, []Answer{from(1, both...), from(2, both...)}, key, 0, false, func(hash uint64) uint64 {
		if hash == other {
			return 9
		}
		return 0
	})
	if v.Do != Settle || len(v.Wanted) != 1 || v.Wanted[0].Hash != key {
		t.Errorf("%v with %v", v.Do, v.Wanted)
	}
	alone := &proto.View{Epoch: 7, Live: 1}
	if v := Decide(alone, 0, nil, key, 5, true, func(uint64) uint64 { return 0 }); v.Do != Refuse {
		t.Errorf("alone: %v", v.Do)
	}
}
