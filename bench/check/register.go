package check

import (
	"cmp"
	"math"
	"slices"
)

// Registers checks a history of any number of keys. The order of ops does not
// matter; the slice is sorted in place.
func Registers(ops []Op) Result {
	slices.SortFunc(ops, func(a, b Op) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value), cmp.Compare(b.Kind, a.Kind), cmp.Compare(a.Invoke, b.Invoke))
	})
	r := Result{Ops: len(ops)}
	for _, o := range ops {
		switch {
		case o.Outcome == Rejected:
			r.Rejected++
		case o.Kind == Write && o.Outcome == Done:
			r.Writes++
		case o.Kind == Write:
			r.Unknown++
		case o.Outcome == Done:
			r.Reads++
		default:
			r.Unanswered++
		}
	}
	for len(ops) > 0 {
		key := ops[0].Key
		n := 1
		for n < len(ops) && ops[n].Key == key {
			n++
		}
		r.Keys++
		if v, bad := register(ops[:n]); bad {
			v.Key = key
			r.Violations = append(r.Violations, v)
		}
		ops = ops[n:]
	}
	return r
}

// zone of one value: what its write and its reads together say about time. Value
// u must come before value v if an operation of u returned before one of v was
// invoked, that is, if u.first < v.last.
type zone struct {
	first   int64 // when the first operation returned
	last    int64 // when the last operation was invoked
	byFirst Op
	byLast  Op
}

// register judges the history of one key, sorted by value, write first.
//
// Two values that must each come before the other are a contradiction. There is
// no other: in a cycle of values without such a pair every second value's last
// would be later than the one before, all the way round. So it is enough to look
// for pairs. A zone with first < last (forward) must not overlap another such
// zone, and must not contain one with last <= first (backward); two backward zones
// never contradict.
func register(ops []Op) (Violation, bool) {
	var forward, backward []zone
	for len(ops) > 0 {
		n := 1
		for n < len(ops) && ops[n].Value == ops[0].Value {
			n++
		}
		z, used, v, bad := cluster(ops[:n])
		if bad {
			return v, true
		}
		switch {
		case !used:
		case z.first < z.last:
			forward = append(forward, z)
		default:
			backward = append(backward, z)
		}
		ops = ops[n:]
	}
	slices.SortFunc(forward, func(a, b zone) int { return cmp.Compare(a.first, b.first) })
	for i := 1; i < len(forward); i++ {
		if u, v := forward[i-1], forward[i]; v.first < u.last {
			return contradiction(u, v), true
		}
	}
	for _, b := range backward {
		// The zones before this one are disjoint and in order: the last that began
		// before b.last is the one that reaches furthest.
		i, _ := slices.BinarySearchFunc(forward, b.last, func(z zone, last int64) int { return cmp.Compare(z.first, last) })
		if i > 0 && b.first < forward[i-1].last {
			return contradiction(forward[i-1], b), true
		}
	}
	return Violation{}, false
}

func contradiction(u, v zone) Violation {
	return Violation{Rule: RuleStale, Ops: []Op{u.byFirst, v.byLast, v.byFirst, u.byLast}}
}

// cluster makes the zone of one value from its operations, write first. used is
// false for a value that need not have been there: a write that did not return
// and that nobody read.
func cluster(ops []Op) (z zone, used bool, v Violation, bad bool) {
	var write Op
	switch {
	case ops[0].Kind == Write:
		write = ops[0]
		if len(ops) > 1 && ops[1].Kind == Write || write.Value == Initial {
			return z, false, Violation{Rule: RuleTwice, Ops: ops[:min(len(ops), 2)]}, true
		}
		ops = ops[1:]
	case ops[0].Value == Initial: // written before all time
		write = Op{Kind: Write, Outcome: Done, Invoke: math.MinInt64, Return: math.MinInt64}
	default:
		write.Kind = 0
	}
	z = zone{first: write.returned(), last: write.Invoke, byFirst: write, byLast: write}
	if write.Kind == Write && write.Outcome == Done {
		if write.Return < write.Invoke {
			return z, false, Violation{Rule: RuleOrder, Ops: []Op{write}}, true
		}
		used = true
	}
	for _, o := range ops {
		if o.Outcome != Done {
			continue // a read without an answer says nothing
		}
		switch {
		case o.Return < o.Invoke:
			return z, false, Violation{Rule: RuleOrder, Ops: []Op{o}}, true
		case write.Kind == 0:
			return z, false, Violation{Rule: RulePhantom, Ops: []Op{o}}, true
		case write.Outcome == Rejected:
			return z, false, Violation{Rule: RuleRejected, Ops: []Op{write, o}}, true
		case o.Return < write.Invoke:
			return z, false, Violation{Rule: RuleFuture, Ops: []Op{o, write}}, true
		}
		used = true
		if o.Return < z.first {
			z.first, z.byFirst = o.Return, o
		}
		if o.Invoke > z.last {
			z.last, z.byLast = o.Invoke, o
		}
	}
	return z, used, Violation{}, false
}
