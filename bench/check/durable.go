package check

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"healkv/dataplane/proto"
)

// Promise is what of a history a persistency model keeps through a loss of all
// memory.
type Promise struct {
	Answered bool  // every write that was answered
	Read     bool  // every value that was read
	Within   int64 // ns; answered writes and values read are there so long afterwards; 0: never for certain
}

// PromiseOf is the model's (protocol.md, "The five models are a table"): what
// its row calls durable at the answer, or at the read, is kept. What a PERSIST
// covers is kept in every model that has it; see Persisted.
func PromiseOf(m proto.Model) Promise {
	g := m.Gates()
	return Promise{Answered: g.Answer == proto.Durable, Read: g.Read == proto.Durable}
}

// PowerLoss is a moment at which the memory of every live member was gone: the
// last of them lost its power then, and none that had lost it before was live
// again. As long as one live member keeps its memory no model loses anything,
// and the history is to be linearizable as a whole.
type PowerLoss struct {
	At int64 // ns, of the clock of the history
}

// Persisted is an answered write whose scope was persisted.
type Persisted struct {
	Key    uint32
	Value  uint64
	Return int64 // ns, of the PERSIST's answer
}

// Rules that only a history with losses can break.
const (
	RuleLost     = "a value was promised to be kept, and an older one is there after the power loss"
	RuleTwoPasts = "two values of before the power loss were read after it"
)

// DurableResult is what Durable found.
type DurableResult struct {
	Result
	Losses   int
	Promised int // values that a model or a PERSIST promised to keep, counted at every loss
	Survived int // keys whose value of before a loss was read after it, counted at every loss
	Gone     int // of these: a newer value had been answered or read, and was not promised
}

// Durable checks a history that total power losses cut into eras. Each era is
// to be linearizable by itself, beginning with a value of before that is not
// older than anything promised then. A value that survived one loss is durable
// everywhere, in every model: nodes flush before they are live again.
//
// What was invoked before a loss and answered after it counts as unanswered: a
// client outside the group may have been answered before, and have noticed
// late. What has no answer may have taken effect before the loss, after it, or
// never. The order of ops does not matter, nor are they changed.
func Durable(p Promise, ops []Op, persisted []Persisted, losses []PowerLoss) DurableResult {
	losses = slices.SortedFunc(slices.Values(losses), func(a, b PowerLoss) int { return cmp.Compare(a.At, b.At) })
	d := durable{promise: p, losses: losses}
	d.result.Losses = len(losses)
	ops = slices.Clone(ops)
	slices.SortStableFunc(ops, func(a, b Op) int { return cmp.Compare(a.Key, b.Key) })
	persisted = slices.SortedFunc(slices.Values(persisted), func(a, b Persisted) int { return cmp.Compare(a.Key, b.Key) })
	for len(ops) > 0 {
		key, n, m := ops[0].Key, 1, 0
		for n < len(ops) && ops[n].Key == key {
			n++
		}
		for len(persisted) > 0 && persisted[0].Key < key {
			persisted = persisted[1:]
		}
		for m < len(persisted) && persisted[m].Key == key {
			m++
		}
		if v, bad := d.key(ops[:n], persisted[:m]); bad {
			v.Key = key
			d.result.Violations = append(d.result.Violations, v)
		}
		d.result.Keys++
		ops, persisted = ops[n:], persisted[m:]
	}
	return d.result
}

// durable is one check under way.
type durable struct {
	promise Promise
	losses  []PowerLoss
	result  DurableResult
}

// past is what is known of a value from the eras that are over.
type past struct {
	first    int64 // when its first operation returned
	last     int64 // when its last operation was invoked
	certain  bool  // it was there: answered, or read
	promised bool
	by       Op
}

// eraOf is the number of losses before the operation.
func (d *durable) eraOf(o *Op) int {
	at := o.Invoke
	if o.Outcome == Done {
		at = o.Return
	}
	return d.lossesBy(at)
}

// lossesBy is the number of losses up to a time.
func (d *durable) lossesBy(at int64) int {
	n := 0
	for n < len(d.losses) && d.losses[n].At <= at {
		n++
	}
	return n
}

// key judges the history of one key.
func (d *durable) key(ops []Op, persisted []Persisted) (Violation, bool) {
	values := map[uint64]*past{Initial: {first: math.MinInt64, last: math.MinInt64, certain: true}}
	r := &d.result
	for i := range ops { // clones
		if o := &ops[i]; o.Outcome == Done && d.lossesBy(o.Invoke) != d.lossesBy(o.Return) {
			o.Outcome = Pending
		}
	}
	for era := range len(d.losses) + 1 {
		var now []Op
		for i := range ops {
			if o := ops[i]; d.eraOf(&o) == era {
				if era > 0 {
					o.Invoke = max(o.Invoke, d.losses[era-1].At)
				}
				now = append(now, o)
			}
		}
		r.count(now)
		judged := slices.Clone(now)
		if era > 0 {
			if v, bad := d.survivor(&judged, values, era); bad {
				return v, true
			}
		}
		slices.SortFunc(judged, func(a, b Op) int {
			return cmp.Or(cmp.Compare(a.Value, b.Value), cmp.Compare(b.Kind, a.Kind), cmp.Compare(a.Invoke, b.Invoke))
		})
		if v, bad := register(judged); bad {
			return v, true
		}
		if era < len(d.losses) {
			d.remember(now, persisted, values, d.losses[era].At)
		}
	}
	return Violation{}, false
}

func (r *DurableResult) count(ops []Op) {
	r.Ops += len(ops)
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
}

// remember takes an era that is over into what is known of values, and notes
// what is promised through its end.
func (d *durable) remember(now []Op, persisted []Persisted, values map[uint64]*past, at int64) {
	within := func(o *Op) bool { return d.promise.Within > 0 && o.Return+d.promise.Within <= at }
	for i := range now {
		o := &now[i]
		if o.Outcome == Rejected || o.Kind == Read && o.Outcome != Done {
			continue
		}
		p := values[o.Value]
		if p == nil {
			p = &past{first: math.MaxInt64, last: math.MinInt64}
			values[o.Value] = p
		}
		p.last = max(p.last, o.Invoke)
		if o.Outcome != Done {
			continue
		}
		p.first, p.certain = min(p.first, o.Return), true
		kept := o.Kind == Write && d.promise.Answered || o.Kind == Read && d.promise.Read || within(o)
		if kept && !p.promised && o.Value != Initial {
			p.promised, p.by = true, *o
		}
	}
	for _, x := range persisted {
		if p := values[x.Value]; p != nil && x.Return < at && !p.promised {
			p.promised, p.by = true, Op{Kind: Write, Outcome: Done, Key: x.Key, Value: x.Value, Return: x.Return}
		}
	}
	for _, p := range values {
		if p.promised {
			d.result.Promised++
		}
	}
}

// survivor finds the value with which an era began, by the reads that returned
// one nobody wrote in it, and makes it the era's initial one.
func (d *durable) survivor(now *[]Op, values map[uint64]*past, era int) (Violation, bool) {
	written := map[uint64]bool{}
	for _, o := range *now {
		if o.Kind == Write {
			written[o.Value] = true
		}
	}
	var old []Op // first read of each value of before
	for _, o := range *now {
		if o.Kind != Read || o.Outcome != Done || written[o.Value] {
			continue
		}
		if values[o.Value] == nil {
			return Violation{Rule: RulePhantom, Ops: []Op{o}}, true
		}
		if !slices.ContainsFunc(old, func(x Op) bool { return x.Value == o.Value }) {
			old = append(old, o)
		}
	}
	if len(old) == 0 {
		return Violation{}, false
	}
	// Those that were only ever written without an answer may as well have been
	// written now: of several, the one read first was there first.
	slices.SortFunc(old, func(a, b Op) int {
		if x, y := values[a.Value].certain, values[b.Value].certain; x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Return, b.Return)
	})
	if len(old) > 1 && values[old[1].Value].certain {
		return Violation{Rule: RuleTwoPasts, Ops: old[:2]}, true
	}
	v := old[0].Value
	p := values[v]
	d.result.Survived++
	gone := false
	for _, value := range slices.Sorted(maps.Keys(values)) {
		q := values[value]
		if value == v || p.first >= q.last {
			continue // not older for certain
		}
		if q.promised {
			return Violation{Rule: fmt.Sprintf("%s (loss %d)", RuleLost, era), Ops: []Op{q.by, old[0]}}, true
		}
		gone = gone || q.certain
	}
	if gone {
		d.result.Gone++
	}
	if p.promised = v != Initial; p.promised && p.by.Kind == 0 {
		p.by = old[0]
	}
	// What was newer than the survivor is no more.
	for value, q := range values {
		if value != v && value != Initial && p.first < q.last && q.certain {
			delete(values, value)
		}
	}
	for i := range *now {
		if o := &(*now)[i]; o.Kind == Read && o.Outcome == Done && o.Value == v {
			o.Value = Initial
		}
	}
	for _, o := range old[1:] {
		*now = append(*now, Op{Kind: Write, Outcome: Pending, Key: o.Key, Value: o.Value, Invoke: d.losses[era-1].At})
	}
	return Violation{}, false
}
