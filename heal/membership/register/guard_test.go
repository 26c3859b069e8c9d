package register

import (
	"testing"

	"healkv/dataplane/proto"
)

// An acceptor asks about leases before it accepts, keeps what it had when it
// may not, and accepts the same proposal later.
func TestGuardIsAsked(t *testing.T) {
	var a Acceptor
	why := "a lease"
	asked := 0
	guard := func(*proto.View) string { asked++; return why }
	m := Message{Kind: Accept, Ballot: Ballot{Round: 1, Node: 2, Life: 3}, Value: Value{Seq: 1, View: proto.View{Epoch: 1}}}
	if r, changed := a.Step(&m, guard); r.Kind != Refuse || r.Why != Guarded || r.Detail != why || changed || a.At != (Ballot{}) {
		t.Errorf("accepted against a lease: %+v", r)
	}
	why = ""
	for i, want := range []bool{true, false} {
		if r, changed := a.Step(&m, guard); r.Kind != Accepted || changed != want || a.Value.Seq != 1 {
			t.Errorf("time %d: %+v, changed %v", i, r, changed)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}
