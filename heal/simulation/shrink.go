package simulation

import (
	"slices"
	"time"
)

// Shrink leaves entries out of a failing script as long as the run fails in the
// same kind, within a time on the wall clock. It gives the shortest script
// found, its options and its failure.
func Shrink(o Options, s *Script, f *Failure, within time.Duration) (Options, *Script, *Failure, int) {
	h := &shrinker{o: o, best: s, kind: f.Kind, fail: f, until: time.Now().Add(within)}
	// What came after the failure did not matter; a shorter script brings the
	// calm sooner, so the failure may also come out of that.
	if h.try(&Script{s.Entries[:f.entries]}, o) && f.entries > 0 {
		short := h.o
		short.Millis = int(s.Entries[f.entries-1].At/1000) + 1
		h.try(h.best, short)
	}
	ops := func(e *Entry) bool { return e.op() }
	faults := func(e *Entry) bool { return !e.op() }
	for before := -1; before != len(h.best.Entries) && time.Now().Before(h.until); {
		before = len(h.best.Entries)
		h.reduce(ops, 2)
		h.reduce(faults, 2)
	}
	return h.o, h.best, h.fail, h.runs
}

type shrinker struct {
	o     Options
	best  *Script
	kind  string
	fail  *Failure
	until time.Time
	runs  int
}

func (h *shrinker) try(s *Script, o Options) bool {
	h.runs++
	_, f := Run(o, s, nil)
	if f == nil || f.Kind != h.kind {
		return false
	}
	h.best, h.o, h.fail = s, o, f
	return true
}

// reduce leaves out ever smaller parts of the entries that which picks.
func (h *shrinker) reduce(which func(*Entry) bool, parts int) {
	for time.Now().Before(h.until) {
		var at []int
		for i := range h.best.Entries {
			if which(&h.best.Entries[i]) {
				at = append(at, i)
			}
		}
		if len(at) == 0 {
			return
		}
		parts = min(parts, len(at))
		done := false
		for p := range parts {
			from, to := p*len(at)/parts, (p+1)*len(at)/parts
			out := at[from:to]
			kept := make([]Entry, 0, len(h.best.Entries))
			for i, e := range h.best.Entries {
				if _, drop := slices.BinarySearch(out, i); !drop {
					kept = append(kept, e)
				}
			}
			if h.try(&Script{kept}, h.o) {
				done = true
				break
			}
			if !time.Now().Before(h.until) {
				return
			}
		}
		switch {
		case done:
			parts = max(2, parts-1)
		case parts == len(at):
			return
		default:
			parts *= 2
		}
	}
}
