package dataplane

import "testing"

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
