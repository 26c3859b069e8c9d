package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/proto"
)

// Options say what cluster a run has. Draw makes them from a seed.
type Options struct {
	Seed         uint64 // of everything random in the run that the script does not name
	Nodes        int
	Shards       int
	Model        proto.Model
	Power        bool // pools in a domain that keeps what was flushed; else memory: a power loss takes all
	OneHost      bool // the kernel proves the death of a process to the others
	Lease        time.Duration
	Drift        time.Duration
	FirstWait    time.Duration // after which a majority makes the first view; 0: all are waited for
	Slow         time.Duration // lag of a member that is demoted; 0: half a lease
	LogBytes     int           // of a shard
	Segment      int
	Ring         int
	Keys         int
	ValueMax     int
	Clients      int // sessions per node
	Millis       int // length of the script
	Spin         int // turns without work before a worker sleeps
	TurnMax      int // µs from one turn to the next
	DelayMax     int // µs on the transport
	CallMax      int // µs on the control plane
	FullCopy     bool
	Keep         bool // somebody who is live always runs, but for the faults that say all
	Small        bool // small bursts in the workers
	Beside       bool // with Power: flushes run beside the workers, as in the file domain
	Checkpoint   bool // with Power: indexes are checkpointed, and restored after a power loss
	TrustRefused bool // a refused connection proves a death; also where trusts says so
	NoProbes     bool // idle streams are not probed: the specification knows no such entries
	Ops          int
	Faults       int
}

func (o *Options) String() string {
	return fmt.Sprintf("seed=%d nodes=%d shards=%d model=%v power=%v onehost=%v lease=%v drift=%v log=%d segment=%d ring=%d keys=%d value=%d clients=%d ms=%d spin=%d turn=%d delay=%d call=%d full=%v keep=%v small=%v beside=%v checkpoint=%v",
		o.Seed, o.Nodes, o.Shards, o.Model, o.Power, o.OneHost, o.Lease, o.Drift, o.LogBytes, o.Segment, o.Ring, o.Keys, o.ValueMax, o.Clients,
		o.Millis, o.Spin, o.TurnMax, o.DelayMax, o.CallMax, o.FullCopy, o.Keep, o.Small, o.Beside, o.Checkpoint)
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// Draw makes the options and the script of a seed.
func Draw(seed uint64) (Options, *Script) {
	r := rand.New(rand.NewPCG(seed, 0x7369_6d75_6c61))
	o := Options{Seed: seed, Nodes: pick(r, 3, 3, 3, 4, 4, 5, 5, 6), Shards: pick(r, 1, 1, 2), Model: proto.Models()[seed%5],
		Power: r.IntN(3) != 0, OneHost: r.IntN(3) != 0, Segment: 8 << 10, Ring: 8192 << r.IntN(4), Keys: 8 + r.IntN(90),
		ValueMax: pick(r, 40, 200, 200, 700, 3000), Clients: 2 + r.IntN(3), Millis: 1400 + r.IntN(1100), Spin: pick(r, 1, 1, 3),
		TurnMax: pick(r, 4, 8, 20), DelayMax: pick(r, 3, 10, 40), CallMax: pick(r, 30, 100, 400), FullCopy: r.IntN(12) == 0, Small: r.IntN(3) == 0, Keep: r.IntN(4) != 0,
		Ops: 9600 + r.IntN(3000), Faults: 118 + r.IntN(60)}
	o.Lease = time.Duration(pick(r, 20, 30, 40)) * time.Millisecond
	o.Drift = o.Lease / 10
	if o.ValueMax > 1000 {
		o.Segment, o.Ring = 16<<10, max(o.Ring, 32<<10) // an entry and the skip before it must fit into the ring
	}
	// The replica sets 64 KiB aside for every member twice, and a part of each
	// segment; the cleaner begins at one half. What is beyond is small.
	kept := 2 * o.Nodes * (64 << 10) * o.Segment / (o.Segment - o.ValueMax - 200)
	o.LogBytes = (2*kept + (192+64*r.IntN(8))<<10) &^ (o.Segment - 1)
	o.Power = o.Power || o.oldAll()
	o.Beside = o.Power && rand.New(rand.NewPCG(seed, 0x62_6573_6964)).IntN(4) != 0 // drawn apart: the rest of a seed stays what it is
	o.Checkpoint = o.Power && rand.New(rand.NewPCG(seed, 0x63_6b_70_74)).IntN(4) == 0
	if seed%16 == 7 {
		return longAway(o, r)
	}
	return o, draw(&o, r)
}

// longAway makes logs so large that space counts as short, at a sixteenth of
// it, before the replica takes no writes any more, and fills them several times
// over while a node is away: the cleaner works inside its missed range. The
// faults are mostly mild.
func longAway(o Options, r *rand.Rand) (Options, *Script) {
	o.Nodes, o.Shards, o.Ring, o.Segment, o.LogBytes, o.ValueMax = 3, 1, 64<<10, 64<<10, 9<<20, 7000
	o.Ops, o.Faults, o.Keep, o.FullCopy, o.Small = 4500, 0, true, false, false
	o.Model = proto.Models()[r.IntN(5)]
	s := draw(&o, r)
	for i := range s.Entries {
		e := &s.Entries[i]
		if e.Do == doPut {
			e.B = e.B>>32<<32 | (4000 + r.Int64N(int64(o.ValueMax)-4000))
		}
	}
	begin, end, lease := 4*o.Lease.Microseconds(), int64(o.Millis)*1000, o.Lease.Microseconds()
	away := Entry{At: begin + end/20, Do: doCrash, Node: r.IntN(o.Nodes), A: end * 8 / 10}
	s.Entries = append(s.Entries, away)
	for range 30 {
		do := pick(r, doSlow, doSlowDisk, doDelay, doDrift, doJump, doGarbage)
		s.Entries = append(s.Entries, fault(&o, r, do, begin+r.Int64N(end), lease))
	}
	for range 12 {
		s.Entries = append(s.Entries, fault(&o, r, pick(r, doCrash, doPower, doPause, doCut, doAtStep), begin+end*17/20+r.Int64N(end/10), lease))
	}
	s.sort()
	return o, s
}

// limits are the workers': small ones make rare what is common and the other
// way round.
func (o *Options) limits() dataplane.Limits {
	l := dataplane.Limits{Ops: 2048, BackgroundEvery: 3 * time.Millisecond, DeadlineEvery: 2 * time.Millisecond, FaultPause: 2 * time.Millisecond,
		BackgroundBytes: 16 << 10, NoRoomPatience: 30 * time.Millisecond, Stones: 2, RenewEvery: 20 * time.Millisecond}
	if o.NoProbes {
		l.Stones = 1 << 40 // nor barriers
	}
	if o.Small {
		l.ClientBurst, l.StreamBurst, l.ForwardBurst, l.AdoptBurst, l.CleanBurst = 3, 600, 2, 3, 2<<10
	}
	return l
}
