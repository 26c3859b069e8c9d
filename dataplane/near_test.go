package dataplane

import (
	"fmt"
	"testing"

	"healkv/pmem/store"
)

// A member's entry may have to wait for long, for a view or for space. What the
// member acknowledges meanwhile counts.
func TestMarksBesideAWaitingEntry(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, driven: true})
	ahead, behind := r.nodes[0].workers[0], r.nodes[1].workers[0]
	v := r.view
	v.Epoch++
	r.turnUntil(func() { r.install(r.nodes[0], &v) })
	first := Op{Kind: OpPut, Key: []byte("key-0000"), Value: []byte("value")}
	other := r.nodes[0].host.NewSession()
	if err := other.Submit(&first); err != nil {
		t.Fatal(err)
	}
	other.Kick()
	ahead.Turn()
	s := r.nodes[1].host.NewSession()
	op := Op{Kind: OpPut, Key: []byte("key-0001"), Value: []byte("value")}
	if err := s.Submit(&op); err != nil {
		t.Fatal(err)
	}
	turns, done := 0, [1]*Op{}
	for ; s.Poll(done[:]) == 0; turns++ {
		if turns == 100 {
			t.Fatal("a write was not answered in 100 turns, beside an entry that waits for its view")
		}
		behind.Turn()
		ahead.Turn()
	}
	waited := behind.rep.Counters.WaitedForView
	if op.Err != nil || waited == 0 {
		t.Fatalf("answered with %v; the entry waited in %d turns", op.Err, waited)
	}
	t.Logf("answered after %d turns; the entry waited in %d", turns, waited)
	r.turnUntil(func() { r.install(r.nodes[1], &v) })
	for turns = 0; other.Poll(done[:]) == 0 && turns < 100; turns++ {
		behind.Turn()
		ahead.Turn()
	}
	if turns == 100 || first.Err != nil {
		t.Fatalf("the write that waited for the view: %v after %d turns", first.Err, turns)
	}
}

// A write that comes alone is published before it stands in the own log, one among
// others behind it. Either way every node has it in the end.
func TestAloneAndBesideOthers(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, driven: true})
	s := r.nodes[0].host.NewSession()
	number := 0
	for _, burst := range []int{1, 3, 1, 1, 2, 1} {
		ops, done := make([]Op, burst), make([]*Op, burst)
		for i := range ops {
			ops[i] = Op{Kind: OpPut, Key: fmt.Appendf(nil, "key-%04d", number%4), Value: stamped(make([]byte, 40), 1, number, 40)}
			number++
			if err := s.Submit(&ops[i]); err != nil {
				t.Fatal(err)
			}
		}
		left := burst
		for turns := 0; left > 0; turns++ {
			if turns == 100 {
				t.Fatalf("%d of a burst of %d were not answered in 100 turns", left, burst)
			}
			n := s.Poll(done)
			for _, op := range done[:n] {
				if op.Err != nil {
					t.Fatal(op.Err)
				}
			}
			left -= n
			r.nodes[0].workers[0].Turn()
			r.nodes[1].workers[0].Turn()
		}
	}
	for i, n := range r.nodes {
		reader := n.host.NewSession()
		for k := range 4 {
			key := fmt.Appendf(nil, "key-%04d", k)
			last := number - 1
			for last%4 != k {
				last--
			}
			v, _, err := reader.Get(key, nil)
			if err != nil || string(v) != string(stamped(make([]byte, 40), 1, last, 40)) {
				t.Errorf("node %d, %s: %q, %v; want write %d", i, key, v, err, last)
			}
		}
		reader.Close()
	}
}

// Of a member whose stream brings little the watermarks are left for the next turn,
// but not in the turn of a letter: whoever sent it counts on that.
func TestMarksInTheTurnOfALetter(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, driven: true})
	ahead, behind := r.nodes[0].workers[0], r.nodes[1].workers[0]
	s := r.nodes[0].host.NewSession()
	put := func(n int) *Op {
		op := &Op{Kind: OpPut, Key: fmt.Appendf(nil, "key-%04d", n), Value: []byte("value")}
		if err := s.Submit(op); err != nil {
			t.Fatal(err)
		}
		s.Kick()
		return op
	}
	// The first write of all also waits for what a life begins with.
	put(9999)
	for turns, done := 0, [1]*Op{}; s.Poll(done[:]) == 0; turns++ {
		if ahead.Turn(); turns == 100 {
			t.Fatal("the first write was not answered")
		}
		behind.Turn()
	}
	n := 0
	for _, letters := range []bool{false, true} {
		first, done := put(n), [1]*Op{}
		for _, w := range []*Worker{ahead, behind, behind, ahead} { // nothing is left for a next turn then
			w.Turn()
		}
		if s.Poll(done[:]) == 0 {
			t.Fatal("a write was not answered")
		}
		put(n + 1) // its entry is published, and with it that the first one is visible
		n += 2
		ahead.Turn()
		if letters {
			behind.mail.Store(&letter{do: func() {}, done: make(chan struct{})})
		}
		locked := func() bool {
			var e store.Entry
			behind.st.Find(&e, behind.st.Hash(first.Key), first.Key)
			if !e.OK {
				t.Fatal("the other node does not have the first write")
			}
			return e.Locked
		}
		was, applied := locked(), behind.rep.Applied(0)
		behind.Turn()
		switch taken := !locked(); {
		case first.Err != nil || !was || behind.rep.Applied(0) == applied:
			t.Fatalf("%v; visible before its watermark %v, or no entry came", first.Err, !was)
		case taken != letters:
			t.Errorf("letter %v: watermarks taken %v", letters, taken)
		}
		for turns := 0; s.Poll(done[:]) == 0 && turns < 100; turns++ {
			behind.Turn()
			ahead.Turn()
		}
	}
}
