package check

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"healkv/bench/tally"
	"healkv/dataplane/proto"
)

// fallen makes a history with losses from a serial run of one key: clients
// overlap, and at each loss the register falls back to any value that is not
// older than what was promised; with cheat to one that is. cheated says whether
// there was one, and whether a read shows it.
func fallen(rng *rand.Rand, p Promise, losses, each int, cheat bool) (ops []Op, persisted []Persisted, at []PowerLoss, cheated bool) {
	const gap = 1000
	now, value := int64(0), uint64(0)
	order := []uint64{Initial} // values in the order in which they took effect
	floor := 0                 // of order: nothing older may be there
	promise := func(i int) { floor = max(floor, i) }
	for era := range losses + 1 {
		for range each {
			now += int64(1 + rng.IntN(20))
			o := Op{Key: 3, Client: uint32(rng.IntN(4)), Invoke: now - int64(rng.IntN(15)), Return: now + int64(1+rng.IntN(15)), Outcome: Done}
			if era > 0 {
				o.Invoke = max(o.Invoke, at[era-1].At+1)
			}
			switch rng.IntN(3) {
			case 0:
				value++
				o.Kind, o.Value = Write, value
				switch rng.IntN(6) {
				case 0:
					o.Outcome = Rejected
				case 1: // it may take effect or not
					o.Outcome = Pending
					if rng.IntN(2) == 0 {
						order = append(order, value)
					}
				default:
					order = append(order, value)
					if p.Answered {
						promise(len(order) - 1)
					} else if rng.IntN(8) == 0 {
						persisted = append(persisted, Persisted{3, value, o.Return + 1})
						promise(len(order) - 1)
					}
				}
			default:
				o.Kind, o.Value = Read, order[len(order)-1]
				if p.Read {
					promise(len(order) - 1)
				}
			}
			ops = append(ops, o)
		}
		if era == losses {
			break
		}
		now += gap
		at = append(at, PowerLoss{now})
		now += gap
		keep := floor + rng.IntN(len(order)-floor)
		if cheat && floor > 0 {
			// Surely older: its last operation returned before the promised
			// value's began. A value in between makes that certain.
			if older := rng.IntN(floor); surelyOlder(ops, order[older], order[floor]) {
				keep, cheated, cheat = older, true, false
			}
		}
		order = order[:keep+1]
		floor = keep
		// Somebody looks: what is there now is durable.
		ops = append(ops, Op{Kind: Read, Key: 3, Outcome: Done, Value: order[keep], Invoke: now, Return: now + 1})
		now += 30
	}
	return ops, persisted, at, cheated
}

func surelyOlder(ops []Op, older, newer uint64) bool {
	first, last := int64(1<<62), int64(-1<<62)
	if older == Initial {
		first = -1
	}
	for _, o := range ops {
		switch {
		case o.Outcome == Rejected || o.Kind == Read && o.Outcome != Done:
		case o.Value == older && o.Outcome == Done:
			first = min(first, o.Return)
		case o.Value == newer:
			last = max(last, o.Invoke)
		}
	}
	return first < last
}

// TestDurable: for every model, histories that keep what it promises are right
// and those that fall behind it are not.
func TestDurable(t *testing.T) {
	const seed = 20260202
	rounds := 4000
	if testing.Short() {
		rounds = 500
	}
	for _, m := range proto.Models() {
		p := PromiseOf(m)
		rng := rand.New(rand.NewPCG(seed, uint64(m)))
		good, bad, gone := 0, 0, 0
		for i := range rounds {
			ops, persisted, losses, _ := fallen(rng, p, 1+rng.IntN(3), 2+rng.IntN(12), false)
			r := Durable(p, ops, persisted, losses)
			if !r.OK() {
				t.Fatalf("%v, history %d keeps its promises: %v\n%v\n%v %v", m, i, r.Violations[0], ops, losses, persisted)
			}
			good++
			gone += r.Gone
			ops, persisted, losses, cheated := fallen(rng, p, 1+rng.IntN(3), 2+rng.IntN(12), true)
			if !cheated {
				continue
			}
			if r := Durable(p, ops, persisted, losses); r.OK() {
				t.Fatalf("%v, history %d falls behind a promise and passes\n%v\n%v %v", m, i, ops, losses, persisted)
			}
			bad++
		}
		t.Logf("%-14v %d right, %d wrong, all told apart; %d keys fell back to an older value that was not promised away", m, good, bad, gone)
		if bad < rounds/10 || !p.Answered && gone == 0 {
			t.Errorf("%v: %d wrong histories, %d fell back", m, bad, gone)
		}
		tally.Add("histories", "durability histories judged", good+bad)
	}
}

func TestDurableRules(t *testing.T) {
	w := func(value uint64, invoke, ret int64) Op {
		return Op{Kind: Write, Key: 1, Outcome: Done, Value: value, Invoke: invoke, Return: ret}
	}
	r := func(value uint64, invoke, ret int64) Op {
		return Op{Kind: Read, Key: 1, Outcome: Done, Value: value, Invoke: invoke, Return: ret}
	}
	pending := Op{Kind: Write, Key: 1, Value: 3, Invoke: 50}
	loss := []PowerLoss{{100}}
	all, none := Promise{Answered: true, Read: true}, Promise{}
	for _, c := range []struct {
		name      string
		p         Promise
		ops       []Op
		persisted []Persisted
		losses    []PowerLoss
		rule      string // "": right
	}{
		{"answered and kept", all, []Op{w(1, 1, 2), r(1, 110, 111)}, nil, loss, ""},
		{"answered and lost", all, []Op{w(1, 1, 2), r(0, 110, 111)}, nil, loss, RuleLost},
		{"nothing promised", none, []Op{w(1, 1, 2), r(0, 110, 111)}, nil, loss, ""},
		{"without a loss", none, []Op{w(1, 1, 2), r(0, 110, 111)}, nil, nil, RuleStale},
		{"read and lost", Promise{Read: true}, []Op{w(1, 1, 2), r(1, 3, 4), r(0, 110, 111)}, nil, loss, RuleLost},
		{"answered, not read, lost", Promise{Read: true}, []Op{w(1, 1, 2), r(0, 110, 111)}, nil, loss, ""},
		{"answered and lost, strict", Promise{Answered: true}, []Op{w(1, 1, 2), r(0, 110, 111)}, nil, loss, RuleLost},
		{"read of an unanswered write, strict", Promise{Answered: true}, []Op{pending, r(3, 60, 61), r(0, 110, 111)}, nil, loss, ""},
		{"a newer one is there", all, []Op{w(1, 1, 2), pending, r(3, 110, 111)}, nil, loss, ""},
		{"two pasts", none, []Op{w(1, 1, 2), w(2, 3, 4), r(1, 110, 111), r(2, 112, 113)}, nil, loss, RuleTwoPasts},
		{"the second was under way", none, []Op{w(1, 1, 2), pending, r(1, 110, 111), r(3, 112, 113)}, nil, loss, ""},
		{"and not back again", none, []Op{w(1, 1, 2), pending, r(3, 110, 111), r(1, 112, 113), r(3, 114, 115)}, nil, loss, RuleStale},
		{"persisted and lost", none, []Op{w(1, 1, 2), r(0, 110, 111)}, []Persisted{{1, 1, 9}}, loss, RuleLost},
		{"persisted too late", none, []Op{w(1, 1, 2), r(0, 110, 111)}, []Persisted{{1, 1, 105}}, loss, ""},
		{"of another key", none, []Op{w(1, 1, 2), r(0, 110, 111)}, []Persisted{{2, 1, 9}}, loss, ""},
		{"long ago", Promise{Within: 50}, []Op{w(1, 1, 2), r(0, 110, 111)}, nil, loss, RuleLost},
		{"a moment ago", Promise{Within: 50}, []Op{w(1, 1, 90), r(0, 110, 111)}, nil, loss, ""},
		{"survived, and lost at the second loss", none, []Op{w(1, 1, 2), r(1, 110, 111), r(0, 210, 211)}, nil, []PowerLoss{{100}, {200}}, RuleLost},
		{"nobody wrote it", none, []Op{r(9, 110, 111)}, nil, loss, RulePhantom},
		{"answered across the loss", all, []Op{w(1, 90, 120), r(0, 105, 106), r(1, 130, 131)}, nil, loss, ""},
		{"answered across the loss, read before", all, []Op{w(1, 90, 120), r(1, 95, 96), r(1, 130, 131)}, nil, loss, ""},
		{"read across the loss", none, []Op{w(1, 1, 2), w(2, 3, 8), r(1, 4, 120), r(2, 9, 10), r(2, 130, 131)}, nil, loss, ""},
		{"gone, and back", none, []Op{w(1, 1, 2), w(2, 3, 4), r(1, 110, 111), r(2, 210, 211)}, nil, []PowerLoss{{100}, {200}}, RulePhantom},
	} {
		got := Durable(c.p, c.ops, c.persisted, c.losses)
		switch {
		case c.rule == "" && !got.OK():
			t.Errorf("%s: %v", c.name, got.Violations)
		case c.rule != "" && (len(got.Violations) != 1 || !strings.HasPrefix(got.Violations[0].Rule, c.rule)):
			t.Errorf("%s: %v, want %q", c.name, got.Violations, c.rule)
		}
	}
}

// Without a loss Durable is Registers.
func TestDurableWithoutLosses(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	same := 0
	for range 2000 {
		h := history(rng, 2+rng.IntN(14), 1+rng.IntN(4))
		mutate(rng, h)
		want, got := Registers(slices.Clone(h)), Durable(Promise{}, h, nil, nil)
		if want.OK() != got.OK() || want.Compared() != got.Compared() || want.Ops != got.Ops {
			t.Fatalf("%+v and %+v\n%v", want, got, h)
		}
		same++
	}
	t.Logf("%d histories", same)
}
