package simulation

import (
	"bytes"
	"testing"
	"time"
)

// TestShrink shortens a script whose run fails: by a judge that objects to two
// crashes and an answered write in one run. No fewer entries can fail, so it
// must come down to three, and those must still fail once written and read.
func TestShrink(t *testing.T) {
	objection = func(w *world) {
		if w.Result.Marks.Count("fault: "+doCrash) >= 2 && len(w.stamps) > 0 {
			w.fail("objection", "two crashes and a write")
		}
	}
	defer func() { objection = nil }()
	o, s := Draw(3)
	o.Millis /= 4
	for i, e := range s.Entries {
		if e.At > int64(o.Millis)*1000 {
			s.Entries = s.Entries[:i]
			break
		}
	}
	for i := range 6 { // whatever was drawn
		s.Entries = append(s.Entries, Entry{At: int64(o.Millis) * int64(1000*(i+2)) / 8, Do: doCrash, Node: i % o.Nodes, A: 300})
	}
	s.sort()
	_, f := Run(o, s, nil)
	if f == nil || f.Kind != "objection" {
		t.Fatalf("the run was to fail by the objection: %v", f)
	}
	before := len(s.Entries)
	short, least, g, runs := Shrink(o, s, f, 5*time.Minute)
	if len(s.Entries) != before {
		t.Errorf("the script itself has %d entries after %d", len(s.Entries), before)
	}
	if len(least.Entries) != 3 || g.Kind != f.Kind {
		t.Errorf("shortened to %d entries, %q: %v", len(least.Entries), g.Kind, least.Entries)
	}
	var b bytes.Buffer
	if err := least.Write(&b, &short); err != nil {
		t.Fatal(err)
	}
	p, again, err := ReadScript(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, f := Run(p, again, nil); f == nil || f.Kind != "objection" {
		t.Errorf("what was written of the shortened script does not fail: %v", f)
	}
	t.Logf("%d entries came down to %d in %d runs", before, len(least.Entries), runs)
}
