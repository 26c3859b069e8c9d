package check

import (
	"fmt"
	"math"
)

// Kind of an operation of a history.
type Kind uint8

const (
	Read Kind = iota + 1
	Write
)

func (k Kind) String() string { return [...]string{"?", "read", "write"}[min(k, Write)] }

// Outcome of an operation.
type Outcome uint8

const (
	// Pending: no answer was seen, or the answer was "unknown". A write may have
	// taken effect at any time after its invocation, or never.
	Pending Outcome = iota
	Done
	// Rejected: certainly not applied. Nobody may ever read such a write's value.
	Rejected
)

// Initial is the value of a key nobody wrote yet; writes never carry it.
const Initial = 0

// Op is one operation on one key.
type Op struct {
	Kind    Kind
	Outcome Outcome
	Key     uint32
	Client  uint32
	Value   uint64 // written, or read by a Read that is Done; Initial for "not found"
	Invoke  int64  // ns
	Return  int64  // ns; of a Done operation
}

func (o Op) String() string {
	end := "pending"
	switch o.Outcome {
	case Done:
		end = fmt.Sprintf("returned %d", o.Return)
	case Rejected:
		end = "rejected"
	}
	return fmt.Sprintf("%v of value %#x by client %d (invoked %d, %s)", o.Kind, o.Value, o.Client, o.Invoke, end)
}

// returned is when the operation was over as far as others can tell.
func (o Op) returned() int64 {
	if o.Outcome == Done {
		return o.Return
	}
	return math.MaxInt64
}

// Violation names what is wrong with the history of one key.
type Violation struct {
	Key  uint32
	Rule string
	Ops  []Op // the operations that cannot go together
}

func (v Violation) String() string {
	s := fmt.Sprintf("key %d: %s", v.Key, v.Rule)
	for _, o := range v.Ops {
		s += "; " + o.String()
	}
	return s
}

// The rules a history can break.
const (
	RuleTwice    = "two writes of one value: the history cannot be judged"
	RuleOrder    = "an operation returned before it was invoked: the history cannot be judged"
	RulePhantom  = "a read returned a value nobody wrote"
	RuleRejected = "a read returned the value of a rejected write"
	RuleFuture   = "a read returned before the write of its value was invoked"
	RuleStale    = "two values each have an operation before one of the other: stale read"
)

// Result of checking a history.
type Result struct {
	Keys       int
	Ops        int         // all that were given
	Reads      int         // that returned a value, and were compared
	Writes     int         // that returned
	Unknown    int         // writes without an answer
	Rejected   int         // writes and reads that were certainly not applied
	Unanswered int         // reads without an answer: they say nothing
	Violations []Violation // at most one a key, by key
}

// OK says whether every key is linearizable.
func (r Result) OK() bool { return len(r.Violations) == 0 }

// Compared is the number of operations whose answer was compared.
func (r Result) Compared() int { return r.Reads + r.Writes }
