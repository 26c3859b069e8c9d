package healkv_test

import (
	"os"
	"testing"

	"healkv/dataplane/proto"
)

// TestKeptNumber: the next life has the number that the one before left it, and
// the register hands out none for it. One that was passed over, copied, cut or
// another node's is not used, and no number twice.
func TestKeptNumber(t *testing.T) {
	g := newGroup(t, 3, 1, proto.Synchronous, 64<<20)
	for i := range g.cfgs {
		g.cfgs[i].Last() // only what the test keeps
	}
	g.start()
	issued := func() proto.Incarnation {
		t.Helper()
		v, err := g.nodes[0].Members().Update(t.Context(), func(v *proto.View) error { return nil }) // nothing changes: a read
		if err != nil {
			t.Fatal(err)
		}
		return v.Issued[1]
	}
	// back is the life after the one that is there.
	back := func(meanwhile func()) proto.Incarnation {
		t.Helper()
		g.close(1)
		if meanwhile != nil {
			meanwhile()
		}
		g.open(1)
		g.ready(1)
		return proto.Incarnation(g.nodes[1].Status().Incarnation)
	}
	keep := func() (number proto.Incarnation, file []byte) {
		t.Helper()
		if err := g.nodes[1].KeepNumber(t.Context()); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(g.nodes[1].KeptPath())
		if err != nil {
			t.Fatal(err)
		}
		return issued(), file
	}
	path := g.nodes[1].KeptPath()
	put := func(b []byte) func() {
		return func() {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The register may skip numbers: a round that seemed lost and was not.
	expect := func(what string, got, least proto.Incarnation) {
		t.Helper()
		if now := issued(); got < least || now != got {
			t.Errorf("%s: life %d, %d handed out; want %d or more, the last", what, got, now, least)
		}
	}

	number, first := keep()
	if got, now := back(nil), issued(); got != number || now != number {
		t.Errorf("kept: life %d, %d handed out; want %d", got, now, number)
	}
	expect("taken before", back(nil), number+1)
	expect("put back", back(put(first)), number+2)

	number, file := keep()
	if _, err := g.nodes[1].Members().NextIncarnation(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("passed over", back(nil), number+2)

	number, file = keep()
	copied := func() {
		if err := os.Rename(path, path+".moved"); err != nil {
			t.Fatal(err)
		}
		put(file)()
	}
	expect("copied", back(copied), number+1)
	expect("cut", back(put(file[:20])), number+2)

	if err := g.nodes[2].KeepNumber(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("another node's", back(func() {
		if err := os.Rename(g.nodes[2].KeptPath(), path); err != nil {
			t.Fatal(err)
		}
	}), number+3)

	if number, _ = keep(); g.nodes[1].TakeNumber() != number || g.nodes[1].TakeNumber() != 0 {
		t.Error("taken twice, or not at all")
	}
}
