package heal

import (
	"time"

	"healkv/dataplane/plant"
)

// pace is how fast a recovery goes on: up to a budget where it has
// a core for itself, and down to a floor where others want the cores that it
// takes. It tells by waiting that it did not ask for: a thread that has to wait
// for a core has taken one from somebody who wanted it. Pure; one goroutine.
//
// It begins at four floors and doubles with every piece until it has to wait for the
// first time; from then on it gives up a quarter whenever it has to wait, and gains a
// thirty-second where not: where more than one piece in ten has to, it ends at the floor.
//
// Where the buddy's log runs out of room meanwhile it goes at the budget, whoever
// waits: writers would have to stop.
//
// Units: bytes, nanoseconds, bytes per millisecond.
type pace struct {
	budget, floor, rate int
	due                 int64 // when what was moved so far should have taken to
	waited              bool  // once
	hurried             bool  // somebody runs out of what this recovery holds
}

const (
	// paceWait is a wait that was for a core: a thread that sleeps for a moment is
	// woken up to 50 µs late, and a fault on a page is shorter.
	paceWait = int64(150 * time.Microsecond)
	// paceRest is taken at least where others wait.
	paceRest = int64(100 * time.Microsecond)
	// paceBehind is how much of lost rests is made up for.
	paceBehind = int64(time.Millisecond)
	paceBegin  = 4 // floors
	// paceByte is the processor time, in nanoseconds, that a byte takes which is
	// fetched: a fourth of it to copy and to verify, the rest to apply.
	paceByte = 3
)

// worth is how many bytes could have been fetched in some processor time.
func worth(worked int64) (bytes int) {
	if plant.Is(plant.WalkDear) {
		worked *= 5 // as if a byte of the log cost what a byte costs that is fetched
	}
	return int(worked / paceByte)
}

// newPace begins at a time. budget 0: no limit and no rest. floor 0, or as much as
// the budget: the budget, whoever waits.
func newPace(budget, floor int, now int64) pace {
	if floor <= 0 || floor > budget {
		floor = budget
	}
	return pace{budget: budget, floor: floor, rate: min(budget, paceBegin*floor), due: now}
}

// moved is told of each piece: its bytes, how long this recovery waited for a core
// since the last one, and the time. It returns how long to rest.
func (p *pace) moved(bytes int, waited, now int64) (rest int64) {
	if p.budget <= 0 {
		return 0
	}
	crowded := waited > paceWait && !p.hurried && !plant.Is(plant.PaceGreedy)
	p.adapt(crowded)
	p.due += int64(bytes) * int64(time.Millisecond) / int64(p.rate)
	if !plant.Is(plant.PaceCatchesUp) {
		p.due = max(p.due, now-paceBehind)
	}
	if rest = max(p.due-now, 0); crowded && p.floor < p.budget {
		rest = max(rest, paceRest)
	}
	return rest
}

// adapt changes the rate by whether somebody else wanted the core.
func (p *pace) adapt(crowded bool) {
	switch {
	case p.hurried && !plant.Is(plant.PaceUnhurried):
		p.rate = p.budget
	case crowded:
		p.waited = true
		p.rate = max(p.floor, p.rate-p.rate/4)
	case p.waited:
		p.rate = min(p.budget, p.rate+max(1, p.rate/32))
	default:
		p.rate = min(p.budget, 2*p.rate)
	}
}
