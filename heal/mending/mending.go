package mending

import (
	"cmp"
	"slices"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Held is one record that a member holds, without its value.
type Held struct {
	Hash   uint64
	TS     uint64
	Locked bool // not known to be visible there
}

// Answer is what one member said.
type Answer struct {
	From    proto.Member
	Epoch   proto.Epoch // of the view it had installed
	Live    bool        // it was live in that view
	Damaged bool        // one of the keys may be damaged there too
	Held    []Held
}

// Wanted is a record to be fetched from a member and put.
type Wanted struct {
	Held
	From proto.Member
}

// Do is what is to be done about a damaged record.
type Do uint8

const (
	Wait   Do = iota // ask again later
	Settle           // put Wanted, then the damaged record is replaced or gone
	Refuse           // put Wanted; no member has a good copy of what was damaged
)

func (d Do) String() string { return [...]string{"wait", "settle", "refuse"}[d] }

// Verdict is what follows from all answers.
type Verdict struct {
	Do     Do
	Wanted []Wanted // by hash
	Why    string
}

// Decide judges the answers of a view's live members but for this one's. own
// gives the timestamp of the sound record this node holds under a hash, 0 if
// none. hash is the damaged record's and ts its timestamp if known is true.
func Decide(v *proto.View, self proto.NodeID, answers []Answer, hash, ts uint64, known bool, own func(hash uint64) uint64) Verdict {
	asked := v.Live.Without(self)
	var heard proto.NodeSet
	whole := false
	var best []Wanted
	for i := range answers {
		a := &answers[i]
		if !counts(v, a) {
			continue
		}
		heard = heard.With(a.From.Node)
		whole = whole || !a.Damaged || plant.Is(plant.MendDamagedIsMissing)
		for _, h := range a.Held {
			best = append(best, Wanted{h, a.From})
		}
		if plant.Is(plant.MendFirst) {
			asked = heard
			break
		}
	}
	if heard&asked != asked {
		return Verdict{Do: Wait, Why: "not every live member has answered"}
	}
	// By hash, the newest first; of equal ones a readable one.
	slices.SortStableFunc(best, func(a, b Wanted) int {
		if a.Hash == b.Hash && a.TS != b.TS && plant.Is(plant.MendOldest) {
			return cmp.Compare(a.TS, b.TS)
		}
		return cmp.Or(cmp.Compare(a.Hash, b.Hash), cmp.Compare(b.TS, a.TS), order(a.Locked, b.Locked))
	})
	best = slices.CompactFunc(best, func(a, b Wanted) bool { return a.Hash == b.Hash })
	r := Verdict{Do: Settle}
	named := false // the damaged record's own key is known, and a member has it
	for _, b := range best {
		if known && b.Hash == hash && b.TS >= ts {
			named = true
		}
		switch {
		case own(b.Hash) >= b.TS:
		case b.Locked && !plant.Is(plant.MendLocked):
			return Verdict{Do: Wait, Why: "a newer record is under way"}
		default:
			r.Wanted = append(r.Wanted, b)
		}
	}
	switch {
	case asked == 0:
		r.Do, r.Why = Refuse, "there is no other live member"
	case known && (named || own(hash) >= ts):
	case !known && whole:
	case known && whole:
		// Visible here, and nobody has it: no protocol leads there. Unless it was
		// never visible: Settle then says so.
	default:
		r.Do, r.Why = Refuse, "no live member has a good copy"
	}
	return r
}

// counts: M1.
func counts(v *proto.View, a *Answer) bool {
	if plant.Is(plant.MendRecovering) {
		return v.Has(a.From)
	}
	return a.Live && a.Epoch == v.Epoch && v.Has(a.From) && v.Live.Has(a.From.Node)
}

func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
