package replica

import (
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// The five <Linearizable, persistency> models of DDP (MICRO'21, table 1, and
// the definitions of visibility point and durability point in section 3), as
// MINOS (HPCA'24, section III, the algorithms of the baseline for each model)
// runs them: which acknowledgements of the followers, ACK_C (in its volatile
// memory) or ACK_P (in its log, flushed), release what at the coordinator.
//
// The table here is written from the papers by hand and shares nothing with
// proto.Gates. C: all members have applied; P: all members have flushed.
var papers = []struct {
	model             proto.Model
	answer            string // the client's write is answered at
	read              string // visibility point: the record is readable at (VAL_C)
	stable            string // durability point (VAL_P)
	flushInBackground bool
	scopes            bool
}{
	{proto.Synchronous, "P", "P", "P", false, false},  // both points coincide
	{proto.Strict, "P", "C", "P", false, false},       // durable before the write returns, visible earlier
	{proto.ReadEnforced, "C", "P", "P", false, false}, // durable before it is read
	{proto.Eventual, "C", "C", "P", true, false},      // durable at some time
	{proto.Scope, "C", "C", "P", true, true},          // durable at the scope's end
}

// Everything that happens to one write after its INV is out, in every order
// that is possible: at each follower applying comes before flushing.
const (
	applied1 = 1 << iota
	flushed1
	applied2
	flushed2
	flushed0 // the coordinator's own log
	all      = 1<<iota - 1
)

func orders(done, left int, seq []int, f func([]int)) {
	if left == 0 {
		f(seq)
		return
	}
	for e := 1; e <= all; e <<= 1 {
		switch {
		case left&e == 0,
			e == flushed1 && done&applied1 == 0,
			e == flushed2 && done&applied2 == 0:
			continue
		}
		orders(done|e, left&^e, append(seq[:len(seq):len(seq)], e), f)
	}
}

func TestModelsOfThePapers(t *testing.T) {
	runs, steps := 0, 0
	for _, row := range papers {
		g := row.model.Gates()
		if (g.Flush == proto.FlushBackground) != row.flushInBackground || g.Scopes != row.scopes {
			t.Errorf("%v: flush %v, scopes %v; want %+v", row.model, g.Flush, g.Scopes, row)
		}
		orders(0, all, nil, func(seq []int) {
			runs++
			steps += len(seq)
			writeThrough(t, row.model, row.answer, row.read, row.stable, seq)
		})
	}
	if runs != 5*30 {
		t.Errorf("%d runs, want every one of 30 orders for 5 models", runs)
	}
	t.Logf("%d runs, %d steps", runs, steps)
}

// writeThrough drives one write through the steps and looks after each.
func writeThrough(t *testing.T, model proto.Model, answer, read, stable string, seq []int) {
	t.Helper()
	r := newRig(t, 3, model)
	c := r.nodes[0]
	w := c.put("k", "v")
	end := c.out.Tail()
	done := 0
	// passed tells whether what a gate names has happened.
	passed := func(gate string) bool {
		switch gate {
		case "C":
			return done&(applied1|applied2) == applied1|applied2
		default:
			return done == all
		}
	}
	look := func() {
		t.Helper()
		if got := len(c.answers) == 1; got != passed(answer) {
			t.Fatalf("%v, order %05b, after %05b: answered %v, want %v", model, seq, done, got, passed(answer))
		}
		if got := c.visible == end; got != passed(read) {
			t.Fatalf("%v, order %05b, after %05b: visible %v, want %v", model, seq, done, got, passed(read))
		}
		if got := c.stable == end; got != passed(stable) {
			t.Fatalf("%v, order %05b, after %05b: stable %v, want %v", model, seq, done, got, passed(stable))
		}
		c.want("at the coordinator", "k", w, "v", !passed(read))
		// The followers learn it with the next line of watermarks (VAL).
		for i := 1; i <= 2; i++ {
			r.marks(0, i)
			f := r.nodes[i]
			f.advance()
			if _, ok := f.find("k"); ok {
				f.want("at a follower", "k", w, "v", !passed(read))
			}
			// R5, with a record that is not stable.
			if x, ok := f.find("k"); ok && !passed(stable) && f.StablePos() > x.pos {
				t.Fatalf("%v: node %d: stable position %d passed %d", model, i, f.StablePos(), x.pos)
			}
		}
	}
	c.advance()
	look()
	for _, e := range seq {
		switch e {
		case applied1, applied2:
			i := 1
			if e == applied2 {
				i = 2
			}
			if _, err := r.stream(0, i); err != nil {
				t.Fatal(err)
			}
			r.nodes[i].advance()
			r.marks(i, 0)
		case flushed1, flushed2:
			i := 1
			if e == flushed2 {
				i = 2
			}
			r.nodes[i].flush()
			r.nodes[i].advance()
			r.marks(i, 0)
		case flushed0:
			c.flush()
		}
		c.advance()
		done |= e
		look()
	}
	if a := c.answers[0]; a.TS != w || a.Handle != 0 {
		t.Fatalf("%v: answer %+v, want handle 0 with %v", model, a, w)
	}
}

// PERSIST(scope), DDP section 3.2.5 and MINOS's <Lin, Scope>: answered when
// every write of the scope is durable at every member, and not before; the
// writes themselves are answered and readable long before.
func TestPersistAnswersWhenTheScopeIsDurableEverywhere(t *testing.T) {
	r := newRig(t, 3, proto.Scope)
	c := r.nodes[0]
	for i := range 3 {
		k := []byte(name("k", i))
		if a, _, _ := c.Write(record.Put, c.st.Hash(k), k, []byte("v"), 7, true, Handle(i)); a != Taken {
			t.Fatalf("admission %d", a)
		}
	}
	for i := 1; i <= 2; i++ {
		r.stream(0, i)
		r.nodes[i].advance()
		r.marks(i, 0)
	}
	c.advance()
	if len(c.answers) != 3 || c.visible != c.out.Tail() || c.stable != 0 {
		t.Fatalf("%d writes answered, visible %d, stable %d of %d", len(c.answers), c.visible, c.stable, c.out.Tail())
	}
	if a := c.Persist(7, true, 99); a != Taken || !c.WantFlush() {
		t.Fatalf("PERSIST: admission %d, asks for a flush %v", a, c.WantFlush())
	}
	c.flush()
	c.advance()
	for i := 1; i <= 2; i++ {
		f := r.nodes[i]
		if f.WantFlush() {
			t.Fatal("a follower flushes before it saw the PERSIST")
		}
		r.stream(0, i)
		if !f.WantFlush() {
			t.Fatal("PERSIST does not ask the follower for a flush")
		}
		f.advance()
		r.marks(i, 0)
		c.advance()
		if len(c.answers) != 3 {
			t.Fatalf("answered before node %d has flushed", i)
		}
		f.flush()
		f.advance()
		if f.WantFlush() {
			t.Fatal("still asks for a flush")
		}
		r.marks(i, 0)
		c.advance()
	}
	if len(c.answers) != 4 || c.answers[3].Handle != 99 {
		t.Fatalf("answers %+v, want the PERSIST's last", c.answers)
	}
	if a := c.Persist(7, false, 1); a != NotServing {
		t.Errorf("without a lease: admission %d", a)
	}
	for _, m := range []proto.Model{proto.Synchronous, proto.Strict, proto.ReadEnforced, proto.Eventual} {
		if a := newRig(t, 1, m).nodes[0].Persist(7, true, 1); a != Unsupported {
			t.Errorf("%v: PERSIST admitted %d, want unsupported", m, a)
		}
	}
}

// Hermes (ASPLOS'20, section 3.2): timestamps are [version, node], larger
// versions first, node ids break ties; here the epoch stands before both (H5).
// Two coordinators that write at once end with one order at every node,
// whatever arrives first.
func TestConcurrentWritesEndInTimestampOrder(t *testing.T) {
	for _, first := range []int{0, 2} {
		r := newRig(t, 3, proto.Synchronous)
		a, b := r.nodes[0].put("k", "from 0"), r.nodes[2].put("k", "from 2")
		if a.Version() != b.Version() || a >= b {
			t.Fatalf("timestamps %v and %v", a, b)
		}
		r.stream(first, 1)
		r.stream(2-first, 1)
		r.settle()
		r.same("k")
		r.nodes[1].want("at the third", "k", b, "from 2", false)
		for _, i := range []int{0, 2} { // both are answered, the loser too
			if len(r.nodes[i].answers) != 1 {
				t.Errorf("node %d: answers %+v", i, r.nodes[i].answers)
			}
		}
		// A write that follows is above both, wherever it starts.
		if c := r.nodes[0].put("k", "next"); c != ts(1, 2, 0) {
			t.Errorf("the next write is %v", c)
		}
	}
}

// Protocol.md, "Write at coordinator", 1 and 2: who may not write.
func TestWriteAdmission(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	c := r.nodes[0]
	key := []byte("k")
	hash := c.st.Hash(key)
	write := func(u *unit, leased bool) Admission {
		a, _, _ := u.Write(record.Put, hash, key, []byte("v"), 0, leased, 1)
		return a
	}
	if a := write(c, false); a != NotServing {
		t.Errorf("without a lease: %d", a)
	}
	fresh := newUnit(r, proto.Member{Node: 3, Incarnation: 1})
	if a := write(fresh, true); a != NotServing {
		t.Errorf("before its first view: %d", a)
	}
	v2 := r.view.Next(r.view.Live.Without(1), 0)
	v2.Shadow, v2.Incarnation[1] = v2.Shadow.With(1), 2
	shadow := newUnit(r, proto.Member{Node: 1, Incarnation: 2})
	r.nodes[1] = shadow
	r.install(1, v2)
	if a := write(shadow, true); a != NotServing {
		t.Errorf("as shadow: %d", a)
	}
	if _, _, st := shadow.Read(hash, key, true, 1); st != ReadRefused {
		t.Errorf("read at a shadow: %d", st)
	}
	if _, _, st := c.Read(hash, key, false, 1); st != ReadRefused {
		t.Errorf("read without a lease: %d", st)
	}
	// A version that is used up asks for a view; the record is untouched.
	c.entry(0, "", "", func(h *record.Header) { h.Kind = record.Persist }) // keeps the stream's end apart from 0
	r.nodes[2].entry(proto.MakeTS(1, proto.VersionMax, 2), "k", "last", nil)
	r.stream(2, 0)
	tail := c.out.Tail()
	if a := write(c, true); a != NeedsView || !c.Exhausted() || c.out.Tail() != tail {
		t.Errorf("version used up: %d, asks for a view %v", a, c.Exhausted())
	}
	v3 := r.view.Next(r.view.Live, 0)
	r.install(0, v3)
	if c.Exhausted() {
		t.Error("still exhausted in the new view")
	}
	if ts := c.put("k", "goes on"); ts != proto.MakeTS(2, 1, 0) {
		t.Errorf("first write of the new view: %v", ts)
	}
	// Without space in the ring: back-pressure, nothing has changed.
	r = newRig(t, 2, proto.Synchronous)
	c = r.nodes[0]
	n := 0
	for ; ; n++ {
		a, _ := c.write(record.Put, name("k", n), "0123456789abcdef")
		if a != Taken {
			if a != RingFull && a != NoRoom {
				t.Errorf("ring full: admission %d", a)
			}
			break
		}
	}
	tail = c.out.Tail()
	logTail := c.st.Tail()
	if a, _ := c.write(record.Put, "one more", "0123456789abcdef"); a != RingFull && a != NoRoom || c.out.Tail() != tail || c.st.Tail() != logTail {
		t.Errorf("a refused write changed something (admission %d)", a)
	}
	r.settle()
	if len(c.answers) != n {
		t.Errorf("%d answers of %d writes", len(c.answers), n)
	}
	c.put("one more", "0123456789abcdef")
}
