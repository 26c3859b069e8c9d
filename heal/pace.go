package heal

import (
	"time"

	"healkv/dataplane/plant"
)

// pace is how fast a recovery goes on: up to a budget where it has
// a core for itself, and down to a floor where others want the cores that it
// takes. It tells by waiting that it did not ask for: a thread that has to wait
// for a core has taken one from somebody who wanted it. How much of that is chance,
// as threads meet on cores that are free most of the time, is told by how long it
// waits, of late, beside how long it works: more than a third of that is a crowd.
// Pure; one goroutine.
//
// It begins at four floors and doubles with every piece until it is crowded for the
// first time; from then on it gives up a quarter with every piece while it is, and gains a
// thirty-second while not.
//
// Where the buddy's log runs out of room meanwhile it goes at the budget, whoever
// waits: writers would have to stop.
//
// Units: bytes, nanoseconds, bytes per millisecond.
type pace struct {
	budget, floor, rate int
	due                 int64 // when what was moved so far should have taken to
	wait, work          int64 // of a piece, of late: waited for a core, and its processor time
	waited              bool  // it was crowded once
	hurried             bool  // somebody runs out of what this recovery holds
}

const (
	// paceWait is a wait that was for a core: a thread that sleeps for a moment is
	// woken up to 50 µs late, and a fault on a page is shorter.
	paceWait = int64(150 * time.Microsecond)
	// paceWaitMost is what one wait counts at the most: a long one is one meeting.
	paceWaitMost = int64(time.Millisecond)
	// paceCrowded: cores are crowded where a recovery waits more than one such part of what it works.
	paceCrowded = 3
	// paceLate is over how many pieces "of late" is.
	paceLate = 16
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
	crowded := p.crowded(int64(bytes)*paceByte, waited) && !p.hurried && !plant.Is(plant.PaceGreedy)
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

// crowded takes in what a piece has worked and waited, and tells whether others want
// the cores that this recovery takes.
func (p *pace) crowded(work, waited int64) bool {
	if waited <= paceWait {
		waited = 0
	}
	p.wait += (min(waited, paceWaitMost) - p.wait) / paceLate
	p.work += (work - p.work) / paceLate
	return paceCrowded*p.wait > p.work
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
