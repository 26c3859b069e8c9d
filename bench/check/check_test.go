package check

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"

	"healkv/bench/tally"
)

func w(value uint64, invoke, ret int64) Op {
	return Op{Kind: Write, Outcome: Done, Value: value, Invoke: invoke, Return: ret}
}
func r(value uint64, invoke, ret int64) Op {
	return Op{Kind: Read, Outcome: Done, Value: value, Invoke: invoke, Return: ret}
}
func pending(value uint64, invoke int64) Op {
	return Op{Kind: Write, Outcome: Pending, Value: value, Invoke: invoke}
}
func rejected(value uint64, invoke, ret int64) Op {
	return Op{Kind: Write, Outcome: Rejected, Value: value, Invoke: invoke, Return: ret}
}

// TestHandMadeHistories has one history for every way a replicated register
// goes wrong, and the lookalikes that are right.
func TestHandMadeHistories(t *testing.T) {
	for _, c := range []struct {
		name string
		ops  []Op
		rule string // "" is linearizable
	}{
		{"nothing", nil, ""},
		{"write, read", []Op{w(1, 0, 1), r(1, 2, 3)}, ""},
		{"initial value, then written", []Op{r(0, 0, 1), w(1, 2, 3), r(1, 4, 5)}, ""},
		{"initial value during the write", []Op{w(1, 0, 10), r(0, 5, 6)}, ""},
		{"lost write: initial value after an acknowledged write", []Op{w(1, 0, 1), r(0, 2, 3)}, RuleStale},
		{"stale read", []Op{w(1, 0, 1), w(2, 2, 3), r(1, 4, 5)}, RuleStale},
		{"two reads out of order", []Op{w(1, 0, 1), w(2, 2, 20), r(2, 4, 5), r(1, 6, 7)}, RuleStale},
		{"two reads at once, each its value", []Op{w(1, 0, 1), w(2, 2, 20), r(2, 4, 7), r(1, 5, 6)}, ""},
		{"touching operations are concurrent", []Op{w(1, 0, 1), w(2, 2, 3), r(1, 3, 4)}, ""},
		{"touching by one less", []Op{w(1, 0, 1), w(2, 2, 3), r(1, 4, 4)}, RuleStale},
		{"unread write inside a forward zone", []Op{w(1, 0, 1), w(2, 4, 5), r(1, 8, 9)}, RuleStale},
		{"unread pending write inside a forward zone", []Op{w(1, 0, 1), pending(2, 4), r(1, 8, 9)}, ""},
		{"pending write took effect", []Op{w(1, 0, 1), pending(2, 4), r(1, 5, 6), r(2, 7, 8), r(2, 9, 10)}, ""},
		{"pending write took effect and went away", []Op{w(1, 0, 1), pending(2, 4), r(2, 7, 8), r(1, 9, 10)}, RuleStale},
		{"pending write took effect late", []Op{w(1, 0, 1), pending(2, 4), w(3, 20, 21), r(3, 22, 23), r(2, 30, 31)}, ""},
		{"pending write overwritten and back", []Op{pending(2, 4), r(2, 5, 6), w(3, 7, 8), r(2, 9, 10)}, RuleStale},
		{"read before the write", []Op{r(1, 0, 1), w(1, 2, 3)}, RuleFuture},
		{"read before the pending write", []Op{r(1, 0, 1), pending(1, 2)}, RuleFuture},
		{"value nobody wrote", []Op{w(1, 0, 1), r(9, 2, 3)}, RulePhantom},
		{"rejected write seen", []Op{w(1, 0, 1), rejected(2, 2, 3), r(2, 4, 5)}, RuleRejected},
		{"rejected write not seen", []Op{w(1, 0, 1), rejected(2, 2, 3), r(1, 4, 5)}, ""},
		{"read without an answer", []Op{w(1, 0, 1), {Kind: Read, Invoke: 3}, {Kind: Read, Outcome: Rejected, Invoke: 3, Return: 4}}, ""},
		{"same value twice", []Op{w(1, 0, 1), w(1, 2, 3)}, RuleTwice},
		{"initial value written", []Op{w(0, 0, 1)}, RuleTwice},
		{"returned before invoked", []Op{w(1, 5, 4)}, RuleOrder},
	} {
		got := Registers(slices.Clone(c.ops))
		rule := ""
		if !got.OK() {
			rule = got.Violations[0].Rule
		}
		if rule != c.rule {
			t.Errorf("%s: %q, want %q", c.name, rule, c.rule)
		}
		if n := got.Reads + got.Writes + got.Unknown + got.Rejected + got.Unanswered; n != len(c.ops) || got.Ops != n {
			t.Errorf("%s: counted %d of %d", c.name, n, len(c.ops))
		}
	}
}

func TestKeysAreApart(t *testing.T) {
	var ops []Op
	for key := range uint32(100) {
		for i := range int64(10) {
			v := uint64(i + 1)
			a, b := w(v, 10*i, 10*i+3), r(v, 10*i+4, 10*i+5)
			if key == 42 && i == 7 {
				b.Value = 3
			}
			a.Key, b.Key = key, key
			ops = append(ops, a, b)
		}
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	got := Registers(ops)
	if got.Keys != 100 || got.Reads != 1000 || got.Writes != 1000 || len(got.Violations) != 1 || got.Violations[0].Key != 42 {
		t.Errorf("%+v", got)
	}
	if s := got.Violations[0].String(); !strings.Contains(s, "key 42") || !strings.Contains(s, "write of value") {
		t.Errorf("violation reads %q", s)
	}
}

// history runs a register for real: every operation takes effect at a moment
// between invocation and return, so it is linearizable. Some writes then lose
// their answer, some never take effect, some are rejected.
func history(rng *rand.Rand, ops, clients int) []Op {
	type event struct {
		at int64
		op int
	}
	var h []Op
	var effects []event
	free := make([]int64, clients)
	for i := range ops {
		c := rng.IntN(clients)
		o := Op{Client: uint32(c), Invoke: free[c] + rng.Int64N(5), Outcome: Done, Kind: Read}
		effect := o.Invoke + rng.Int64N(8)
		o.Return = effect + rng.Int64N(8)
		free[c] = o.Return + rng.Int64N(3)
		if rng.IntN(2) == 0 {
			o.Kind, o.Value = Write, uint64(i+1)
			switch rng.IntN(8) {
			case 0: // no answer; takes effect at any later time, or never
				o.Outcome = Pending
				effect = o.Invoke + rng.Int64N(60)
				if rng.IntN(2) == 0 {
					effect = math.MaxInt64
				}
			case 1:
				o.Outcome, effect = Rejected, math.MaxInt64
			}
		}
		h = append(h, o)
		effects = append(effects, event{effect, i})
	}
	slices.SortStableFunc(effects, func(a, b event) int { return int(min(max(a.at-b.at, -1), 1)) })
	value := uint64(Initial)
	for _, e := range effects {
		switch o := &h[e.op]; {
		case e.at == math.MaxInt64:
		case o.Kind == Write:
			value = o.Value
		default:
			o.Value = value
		}
	}
	return h
}

var model = porcupine.Model{
	Init: func() any { return uint64(Initial) },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(Op); in.Kind == Write {
			return true, in.Value
		}
		return output.(uint64) == state.(uint64), state
	},
}

// oracle is the other opinion: porcupine searches for an order.
func oracle(h []Op) bool {
	var ops []porcupine.Operation
	for _, o := range h {
		if o.Outcome == Rejected || o.Kind == Read && o.Outcome != Done {
			continue
		}
		ops = append(ops, porcupine.Operation{ClientId: len(ops), Input: o, Output: o.Value, Call: o.Invoke, Return: o.returned()})
	}
	return porcupine.CheckOperations(model, ops)
}

// TestAgainstPorcupine compares both opinions on thousands of small histories:
// linearizable ones, and ones in which a read's value, a time or an outcome was
// changed.
func TestAgainstPorcupine(t *testing.T) {
	const seed, rounds = 20260101, 6_000
	rng := rand.New(rand.NewPCG(seed, 0))
	var good, mutatedGood, mutatedBad int
	for i := range rounds {
		h := history(rng, 2+rng.IntN(16), 1+rng.IntN(5))
		if got := Registers(slices.Clone(h)); !got.OK() {
			t.Fatalf("seed %d, history %d is linearizable by making: %v\n%v", seed, i, got.Violations[0], h)
		}
		good++
		for range 2 {
			m := slices.Clone(h)
			mutate(rng, m)
			want, got := oracle(m), Registers(slices.Clone(m))
			if got.OK() != want {
				t.Fatalf("seed %d, mutated history %d: porcupine says %v, we say %v %v\n%v", seed, i, want, got.OK(), got.Violations, m)
			}
			if want {
				mutatedGood++
			} else {
				mutatedBad++
			}
		}
		if i%8 == 0 && !oracle(h) {
			t.Fatalf("seed %d, history %d: porcupine objects to a linearizable history", seed, i)
		}
	}
	if mutatedBad < rounds/4 || mutatedGood < rounds/4 {
		t.Errorf("the mutations are one-sided: %d linearizable, %d not", mutatedGood, mutatedBad)
	}
	t.Logf("%d linearizable histories; mutated: %d still linearizable, %d not; all agreed", good, mutatedGood, mutatedBad)
	tally.Add("histories", "judged as porcupine does", mutatedGood+mutatedBad)
}

func mutate(rng *rand.Rand, h []Op) {
	for range 1 + rng.IntN(2) {
		o := &h[rng.IntN(len(h))]
		switch rng.IntN(4) {
		case 0, 1: // another value read
			if o.Kind == Read {
				o.Value = uint64(rng.IntN(len(h) + 1))
				if o.Value != 0 && h[o.Value-1].Kind == Read {
					o.Value = 0
				}
			}
		case 2: // other times
			length := o.Return - o.Invoke
			o.Invoke = max(0, o.Invoke+rng.Int64N(41)-20)
			o.Return = o.Invoke + length
		case 3:
			if o.Kind == Write {
				o.Outcome = Outcome(rng.IntN(3))
			}
		}
	}
}

// FuzzAgainstPorcupine lets the fuzzer choose the seed.
func FuzzAgainstPorcupine(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		rng := rand.New(rand.NewPCG(a, b))
		h := history(rng, 2+rng.IntN(12), 1+rng.IntN(4))
		mutate(rng, h)
		if want, got := oracle(h), Registers(slices.Clone(h)); got.OK() != want {
			t.Fatalf("porcupine says %v, we say %v\n%v", want, got.Violations, h)
		}
	})
}

func TestAcks(t *testing.T) {
	var merged []uint64
	for _, table := range [][]uint64{{5, 0, 7}, {4, 0, 9, 3}, nil, {0, 0, 0, 0, 0, 6}} {
		merged = MergeAcks(merged, table)
	}
	if want := []uint64{5, 0, 9, 3, 0, 6}; !slices.Equal(merged, want) {
		t.Fatalf("merged %v, want %v", merged, want)
	}
	same := Acks(merged, func(id uint64) uint64 { return merged[id] })
	if !same.OK() || same.Compared != 4 || same.Keys != 6 || same.Newer != 0 {
		t.Errorf("%+v", same)
	}
	has := []uint64{5, 1, 8, 0, 0, 10}
	got := Acks(merged, func(id uint64) uint64 { return has[id] })
	if got.OK() || got.Compared != 4 || got.Older != 1 || got.Missing != 1 || got.Newer != 1 || len(got.Losses) != 2 {
		t.Errorf("%+v", got)
	}
	for _, l := range got.Losses {
		t.Log(l)
	}
	many := Acks(slices.Repeat([]uint64{1}, 1000), func(uint64) uint64 { return 0 })
	if many.Missing != 1000 || len(many.Losses) != lossesKept {
		t.Errorf("%d missing, %d kept", many.Missing, len(many.Losses))
	}
}

func BenchmarkRegisters(b *testing.B) {
	h := history(rand.New(rand.NewPCG(1, 1)), 100_000, 6)
	work := make([]Op, len(h))
	b.ReportAllocs()
	for b.Loop() {
		copy(work, h)
		if !Registers(work).OK() {
			b.Fatal("not linearizable")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(h)), "ns/history-op")
}
