package heal

import (
	"time"

	"healkv/dataplane/plant"
)

// account is by what a thread of a recovery keeps its pace: how much it did, and how
// long it waited for a core meanwhile. The member that fetches a range has one, and
// the buddy that walks its log has one, both in the same currency: bytes that are
// fetched, or processor time worth as many (worth). Most of what a fetched byte takes
// is taken by the shard's worker, which applies it: its waits count as this thread's
// (heard). One goroutine, which has a thread of its own.
type account struct {
	l      *Life
	pace   pace
	at     int64 // when the pace was told last
	worked int64 // what the thread had worked then
	idled  int64 // since then: waits that were for something else than a core
	beside int64 // since then: the longest wait for a core of a thread that works for this one
}

// newAccount begins one of a shard: its part of what a recovery may move, down to
// its part of a floor.
func (l *Life) newAccount(floor int) account {
	now := l.env.Now()
	return account{l: l, pace: newPace(l.part(l.cfg.Budget), l.part(floor), now), at: now, worked: l.worked()}
}

// sprint is how much log is walked, and what of it is missing fetched, at the budget
// whoever waits: at most a tenth of a second of work, and a node that was away for a
// moment is back.
const sprint = 32 << 20

// floor is the recovery's where a shard's range is of so much log; 0: the budget.
func (l *Life) floor(log uint64) int {
	if log <= sprint && !plant.Is(plant.PaceStrolls) {
		return 0
	}
	return l.cfg.Floor
}

// part is a shard's.
func (l *Life) part(of int) int {
	if of <= 0 {
		return 0
	}
	return max(1, of/len(l.workers))
}

// tell accounts for a piece, and returns how long to rest. What the rest takes
// longer than that is a wait for a core.
func (a *account) tell(bytes int) (rest time.Duration) {
	now, worked := a.l.env.Now(), a.l.worked()
	waited := now - a.at - (worked - a.worked) - a.idled
	if !a.l.threads {
		waited = 0 // nobody knows
	}
	d := a.pace.moved(bytes, max(waited, a.beside), now)
	a.at, a.worked, a.idled, a.beside = now, worked, d, 0
	return time.Duration(d)
}

// heard is told how long a thread that works for this one had no core, for one piece.
func (a *account) heard(waited int64) {
	if !plant.Is(plant.PaceDeaf) {
		a.beside = max(a.beside, waited)
	}
}

// spent is what the thread has worked since the pace was told last.
func (a *account) spent() int64 { return a.l.worked() - a.worked }

// elsewhere does what may wait for others than whoever has the core: that time
// is not counted as a wait for one.
func (a *account) elsewhere(do func() error) error {
	if !a.l.threads {
		return do()
	}
	began, worked := a.l.env.Now(), a.l.worked()
	err := do()
	a.idled += a.l.env.Now() - began - (a.l.worked() - worked)
	return err
}
