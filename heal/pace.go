package heal

import "time"

// pace is how fast a recovery goroutine goes on. It works in pieces and rests
// after each.
//
// A thread that works on without a rest keeps its core for a whole slice of the
// scheduler, a millisecond and more, and where every core is in use it is the live
// nodes' clients that wait. How long to rest follows from the rests themselves: one
// that lasts much longer than asked for was spent waiting for a core, so others
// want it, and the pace falls; while rests end in time it rises, up to the budget.
// Nobody has to tell how busy the host is, and no thread's priority is touched.
//
// Pure: moments are given to it.
type pace struct {
	most, least int // bytes per millisecond; most 0: no limit, and no rests
	rate        int // at present
	from        int64
	moved       int   // bytes since then
	until       int64 // a rest was to end
}

const (
	paceLeast = 64 << 10  // bytes per millisecond that a recovery is never slower than, unless its budget is smaller
	paceFirst = 128 << 10 // before anything is known
	// restLeast is less than which is not worth a timer.
	restLeast = 50 * time.Microsecond
	// lateMost: a thread that finds a core free runs sooner after the end of its rest.
	lateMost = 300 * time.Microsecond
	// debtMost is how much of what it did not get a recovery may make up for.
	debtMost = 2 * time.Millisecond
)

// newPace is the pace of one of so many shards that recover side by side.
func newPace(budget, shards int, now int64) *pace {
	if budget <= 0 {
		return &pace{}
	}
	most := max(1, budget/shards)
	return &pace{most: most, least: min(most, max(1, paceLeast/shards)), rate: min(most, max(1, paceFirst/shards)), from: now}
}

// rest is for how long to rest now that so many more bytes have been moved.
func (p *pace) rest(now int64, bytes int) time.Duration {
	if p.most == 0 {
		return 0
	}
	p.moved += bytes
	p.from = max(p.from, now-int64(debtMost)-int64(time.Duration(p.moved)*time.Millisecond/time.Duration(p.rate)))
	due := time.Duration(p.moved) * time.Millisecond / time.Duration(p.rate)
	rest := due - time.Duration(now-p.from)
	if rest < restLeast {
		return 0
	}
	p.until = now + int64(rest)
	return rest
}

// rested tells when a rest was over.
func (p *pace) rested(now int64) {
	if p.most == 0 {
		return
	}
	// What the rate was so far counts at that rate, and what is left over of it.
	p.from += int64(time.Duration(p.moved) * time.Millisecond / time.Duration(p.rate))
	p.moved = 0
	if now-p.until > int64(lateMost) {
		p.rate = max(p.least, p.rate-p.rate/4)
	} else {
		p.rate = min(p.most, p.rate+p.rate/8+1)
	}
}
