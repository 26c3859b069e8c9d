package rejoin_test

import (
	"fmt"
	"strings"
	"testing"

	"healkv/bench/check"
	"healkv/bench/tally"
	"healkv/dataplane/proto"
)

// moment is when the power goes, for all nodes at once. Schedules differ in
// nothing else: a write at node 0, which every node takes in, a read of it at
// node 1 where the moment asks for one, and flushes only when nothing else can
// move any more, at those nodes whose model or PERSIST asks for one.
type moment int

const (
	atAnswer  moment = iota // the client of the write has its answer
	atRead                  // another client has read the value
	atPersist               // the client has its PERSIST's answer, or its refusal and the write's answer
)

func (m moment) String() string {
	return [...]string{"write answered", "value read", "PERSIST answered"}[m]
}

// outcome of one schedule under one model.
type outcome struct {
	answered, read, persisted bool // before the power went
	kept                      bool // every node has the value after the cold start
	hist                      []check.Op
	persists                  []check.Persisted
	loss                      check.PowerLoss
}

func (o outcome) String() string {
	var told []string
	for _, x := range []struct {
		is   bool
		what string
	}{{o.answered, "answered"}, {o.read, "read"}, {o.persisted, "persisted"}} {
		if x.is {
			told = append(told, x.what)
		}
	}
	return strings.Join(told, ", ") + map[bool]string{true: ": kept", false: ": lost"}[o.kept]
}

// quietRounds are as many turns and ticks as the slowest link and what follows
// from its deliveries take.
const quietRounds = 600

// losePower ends all lives; of the logs exactly what was flushed is left.
func (w *world) losePower() check.PowerLoss {
	for _, n := range w.nodes {
		n.over()
		w.net.Kill(int(n.id), uint32(n.self.Incarnation))
		copy(n.d.arena, n.d.media)
		n.d.stable = n.d.super.stable
		n.lossy = true
	}
	w.clock++
	return check.PowerLoss{At: w.clock}
}

// schedule plays one on three nodes of shipped replicas, logs and recovery.
func schedule(model proto.Model, m moment) (out outcome, err error) {
	w := fresh(uint64(model)+10, func(o *options) {
		*o = options{nodes: 3, model: model, power: true, cold: true, bytes: 1 << 20, segment: 8 << 10, ring: 16 << 10,
			keys: 2, valueMax: 64, lazy: 1, steps: 1, mix: o.mix}
	})
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(failure)
			if !ok {
				panic(r)
			}
			err = fmt.Errorf("%v, %v: %s", model, m, f.text)
		}
	}()
	w.bootstrap(1)
	w.calmDown()
	w.calm, w.o.lazy = false, 1<<40 // from here on nobody flushes by itself
	w.o.steps = 1

	writer, reader := w.nodes[0], w.nodes[1]
	put := &op{kind: opPut, key: 0, bytes: 40}
	if model == proto.Scope {
		put.scope = 1
	}
	w.start(writer, put)
	var get, persist *op
	happened := func() bool {
		out.answered = w.hist[put.at].Outcome == check.Done
		out.read = get != nil && w.hist[get.at].Outcome == check.Done && w.hist[get.at].Value == put.value
		out.persisted = len(w.persisted) > 0
		switch m {
		case atRead:
			return out.read
		case atPersist:
			return persist != nil && len(writer.queue) == 0 && (out.persisted || model != proto.Scope)
		}
		return out.answered
	}
	quiet := 0
	for round := 0; !happened(); round++ {
		if round > 20*quietRounds {
			return out, fmt.Errorf("%v, %v: the moment never comes", model, m)
		}
		if m == atRead && (get == nil || w.hist[get.at].Outcome == check.Done) {
			get = &op{kind: opGet, key: 0}
			w.start(reader, get)
		}
		if m == atPersist && persist == nil && out.answered {
			persist = &op{kind: opPersist, scope: put.scope}
			w.start(writer, persist)
		}
		for _, n := range w.nodes {
			n.turn()
		}
		w.net.Tick()
		if quiet++; quiet < quietRounds {
			continue
		}
		quiet = 0
		for _, n := range w.nodes { // nothing moves any more: those flush whose model does so now
			if model.Gates().Flush == proto.FlushEveryBurst || n.rep.WantFlush() {
				n.d.stable = n.rep.StablePos()
				n.d.flush(false)
			}
		}
	}
	for _, x := range w.persisted {
		out.persists = append(out.persists, check.Persisted{Key: uint32(x.key), Value: put.value, Return: w.clock})
	}
	out.loss = w.losePower()
	w.o.lazy = 1
	w.calmDown()

	out.kept = true
	for _, n := range w.nodes {
		o := &op{kind: opGet, key: 0}
		w.start(n, o)
		for round := 0; w.hist[o.at].Outcome != check.Done; round++ {
			if round > 100 {
				return out, fmt.Errorf("%v, %v: node %d does not answer a read after the cold start", model, m, n.id)
			}
			n.turn()
			w.net.Tick()
		}
		if n.id > 0 && out.kept != (w.hist[o.at].Value == put.value) {
			return out, fmt.Errorf("%v, %v: node %d differs from node 0 (I9)", model, m, n.id)
		}
		out.kept = w.hist[o.at].Value == put.value
	}
	w.same()
	out.hist = w.hist
	return out, nil
}

// TestModelsAreToldApart: for each pair of models, a power loss of all nodes
// under one schedule, after which the weaker one has lost what the stronger
// keeps. Strict and Read-Enforced cannot be compared: each has its own.
func TestModelsAreToldApart(t *testing.T) {
	type key struct {
		proto.Model
		moment
	}
	played := map[key]outcome{}
	for _, model := range proto.Models() {
		for _, m := range []moment{atAnswer, atRead, atPersist} {
			o, err := schedule(model, m)
			if err != nil {
				t.Fatal(err)
			}
			played[key{model, m}] = o
			// The checker of histories says the same as what was seen.
			r := check.Durable(check.PromiseOf(model), o.hist, o.persists, []check.PowerLoss{o.loss})
			if !r.OK() || r.Survived == 0 {
				t.Errorf("%v, %v: %+v %v", model, m, r, r.Violations)
			}
		}
	}
	pairs := map[[2]proto.Model]bool{}
	for _, c := range []struct {
		keeps, loses proto.Model
		at           moment
	}{
		{proto.Synchronous, proto.Strict, atRead},
		{proto.Synchronous, proto.ReadEnforced, atAnswer},
		{proto.Synchronous, proto.Eventual, atAnswer},
		{proto.Synchronous, proto.Scope, atRead},
		{proto.Strict, proto.ReadEnforced, atAnswer},
		{proto.ReadEnforced, proto.Strict, atRead},
		{proto.Strict, proto.Eventual, atAnswer},
		{proto.Strict, proto.Scope, atAnswer},
		{proto.ReadEnforced, proto.Eventual, atRead},
		{proto.ReadEnforced, proto.Scope, atRead},
		{proto.Scope, proto.Eventual, atPersist},
	} {
		a, b := played[key{c.keeps, c.at}], played[key{c.loses, c.at}]
		t.Logf("%-13v > %-13v power lost when %-16v  %v %v  |  %v %v", c.keeps, c.loses, c.at, c.keeps, a, c.loses, b)
		told := func(o outcome) bool { return o.answered && c.at != atRead || o.read && c.at == atRead }
		if !told(a) || !a.kept {
			t.Errorf("%v, power lost when %v: %v", c.keeps, c.at, a)
		}
		if !told(b) || b.kept {
			t.Errorf("%v, power lost when %v: %v", c.loses, c.at, b)
		}
		// Held to the stronger promise, what the weaker has left is a violation.
		persists := a.persists
		for i := range persists {
			persists[i].Value = b.hist[indexOfWrite(b.hist)].Value
		}
		if r := check.Durable(check.PromiseOf(c.keeps), b.hist, persists, []check.PowerLoss{b.loss}); r.OK() {
			t.Errorf("%v's history, held to %v: no violation", c.loses, c.keeps)
		}
		pairs[[2]proto.Model{min(c.keeps, c.loses), max(c.keeps, c.loses)}] = true
	}
	if len(pairs) != 10 {
		t.Errorf("%d pairs of five models", len(pairs))
	}
	tally.Add("histories", "pairs of models told apart", len(pairs))
}

func indexOfWrite(h []check.Op) int {
	for i := range h {
		if h[i].Kind == check.Write {
			return i
		}
	}
	return -1
}
