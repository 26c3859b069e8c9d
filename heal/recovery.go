package heal

import (
	"sync"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/rejoin"

	"golang.org/x/sys/unix"
)

// Recovery is what one way back costs: for status and the recovery report,
// while it goes on and after its end. Times in nanoseconds; Start on
// CLOCK_MONOTONIC, comparable between the processes of one host.
type Recovery struct {
	Kind        string // none, heal, digest, full, cold
	Why         string // of a full copy
	Buddy       int    // -1: none
	Start       int64
	ToAdmitted  time.Duration // start to admission as a shadow
	ToInstalled time.Duration // to the install of that view at all members
	Transfer    time.Duration // fetching and applying
	Finish      time.Duration // leftovers, flush, promotion
	Total       time.Duration
	Bytes       uint64 // read from the buddy, lists included: counted where they are read
	Records     uint64 // read
	Applied     uint64 // newer than the own
	Missed      uint64 // bytes of the listed records
	RangeBytes  uint64 // bytes of the log range they were picked from; 0 for a full copy
	StoreBytes  uint64 // bytes of the buddy's log in use
	Leftovers   uint64 // own records rolled forward
	// Of a recovery by digests: ranges of keys whose sums differed, parts of them
	// that did, own records buried since the buddy had no such key, and records
	// that have one timestamp and two values.
	Ranges, Parts, Buried, Unlike uint64

	Phase string // what it is at: a Phase constant
	// Of the transfer that goes on: bytes of records to move as far as known
	// (an upper bound until the buddy has listed them all), and moved so far;
	// how fast they come, in bytes per second; and how long the rest takes at
	// that pace, 0 while nobody can tell.
	Expected, Done uint64
	Rate           float64
	Left           time.Duration
}

// Phases of a way back, in their order. Waiting may come at any time: for
// other nodes, or for an operator.
const (
	PhaseHello      = "hello"      // connects to the members
	PhaseBackoff    = "backoff"    // came back too often of late and waits
	PhaseAdmission  = "admission"  // asks to be a shadow
	PhaseInstalling = "installing" // until all members have the view with it
	PhaseTransfer   = "transfer"   // fetches what it missed
	PhaseLeftovers  = "leftovers"  // rolls its own forward
	PhaseFlush      = "flush"      // makes all durable
	PhasePromotion  = "promotion"  // asks to be live
	PhaseWaiting    = "waiting"    // for other nodes
	PhaseDone       = "done"       // live
)

// recorder fills a Recovery in while it happens.
type recorder struct {
	mu sync.Mutex
	Recovery
	clock func() int64
	mark  int64
	in    bool // admitted

	began  int64  // of the transfer
	rateAt int64  // when Rate was looked at last
	rateOf uint64 // Done then
}

// phases says what a life is at while it carries an action out.
var phases = [...]string{rejoin.Wait: PhaseWaiting, rejoin.Connect: PhaseHello, rejoin.Admit: PhaseAdmission,
	rejoin.AwaitInstalled: PhaseInstalling, rejoin.Transfer: PhaseTransfer, rejoin.RollLeftovers: PhaseLeftovers,
	rejoin.Flush: PhaseFlush, rejoin.Promote: PhasePromotion, rejoin.ColdStart: PhaseAdmission, rejoin.ReportCold: PhaseWaiting,
	rejoin.PromoteCold: PhasePromotion, rejoin.StartOver: PhaseWaiting, rejoin.Again: PhaseWaiting, rejoin.Later: PhaseBackoff,
	rejoin.Serve: PhaseDone}

// at notes what the way back is at.
func (r *recorder) at(phase string) { r.locked(func() { r.Phase = phase }) }

// expect corrects what a transfer is expected to move.
func (r *recorder) expect(more int64) { r.locked(func() { r.Expected += uint64(more) }) }

// Rate is smoothed over about a second, looked at ten times in it.
const (
	rateEvery = int64(100 * time.Millisecond)
	rateOver  = float64(time.Second)
)

// moved notes bytes of records that came.
func (r *recorder) moved(bytes int) {
	now := r.clock()
	r.locked(func() {
		r.Done += uint64(bytes)
		d := now - r.rateAt
		if d < rateEvery {
			return
		}
		pace := float64(r.Done-r.rateOf) * float64(time.Second) / float64(d)
		if r.rateOf > 0 {
			pace = r.Rate + (pace-r.Rate)*min(1, float64(d)/rateOver)
		}
		r.Rate, r.rateAt, r.rateOf = pace, now, r.Done
	})
}

// progress is the Recovery with what follows from its clock.
func (r *recorder) progress() (x Recovery) {
	now := r.clock()
	r.locked(func() {
		x = r.Recovery
		if x.Rate == 0 && x.Done > 0 && now > r.began {
			x.Rate = float64(x.Done) * float64(time.Second) / float64(now-r.began)
		}
		if x.Phase == PhaseTransfer && x.Rate > 0 && x.Expected > x.Done {
			x.Left = time.Duration(float64(x.Expected-x.Done) / x.Rate * float64(time.Second))
		}
	})
	return x
}

// monotonic is CLOCK_MONOTONIC in nanoseconds.
func monotonic() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return t.Nano()
}

// lap is the time since the last one.
func (r *recorder) lap() time.Duration {
	now := r.clock()
	d := now - max(r.mark, r.Start)
	r.mark = now
	return time.Duration(d)
}

func (r *recorder) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *recorder) asked(full bool, why string) {
	r.locked(func() {
		r.Kind, r.Why = "heal", why
		if full {
			r.Kind = "full"
		}
	})
}

// admitted is true the first time.
func (r *recorder) admitted(cold bool) (first bool) {
	r.locked(func() {
		if first = !r.in; first {
			r.in = true
			r.ToAdmitted = r.lap()
			if cold {
				r.Kind = "cold"
			}
		}
	})
	return first
}
func (r *recorder) installed() { r.locked(func() { r.ToInstalled += r.lap() }) }
func (r *recorder) transferring(b proto.NodeID, full, digest bool) {
	r.locked(func() {
		if digest {
			r.Kind = "digest"
		}
		r.Ranges, r.Parts, r.Buried, r.Unlike = 0, 0, 0, 0
		r.Buddy = int(b)
		r.lap()
		r.Bytes, r.Records, r.Applied, r.Missed, r.RangeBytes, r.StoreBytes = 0, 0, 0, 0, 0, 0
		r.Expected, r.Done, r.Rate, r.rateOf = 0, 0, 0, 0
		r.began = r.clock()
		r.rateAt = r.began
	})
}
func (r *recorder) transferred() {
	r.locked(func() {
		r.Transfer += r.lap()
		if d := r.clock() - r.began; d > 0 {
			r.Rate = float64(r.Done) * float64(time.Second) / float64(d)
		}
	})
}
func (r *recorder) finishing() { r.locked(func() { r.Finish += r.lap() }) }
func (r *recorder) finished() {
	r.locked(func() {
		r.Finish += r.lap()
		r.Total = time.Duration(r.clock() - r.Start)
	})
}
func (r *recorder) add(bytes, records, applied, missed, rangeBytes, store uint64) {
	r.locked(func() {
		r.Bytes += bytes
		r.Records += records
		r.Applied += applied
		r.Missed += missed
		r.RangeBytes += rangeBytes
		r.StoreBytes += store
	})
}

func (r *recorder) compared(ranges, parts, buried, unlike uint64) {
	r.locked(func() {
		r.Ranges += ranges
		r.Parts += parts
		r.Buried += buried
		r.Unlike += unlike
	})
}

func (r *recorder) begin() { r.locked(func() { r.Start = r.clock() }) }

func (r *recorder) rolled(n int) { r.locked(func() { r.Leftovers += uint64(n) }) }

// Recovery is what the way back has cost so far, and how far it is. Any
// goroutine, while it goes on and afterwards.
func (l *Life) Recovery() Recovery { return l.recovery.progress() }
