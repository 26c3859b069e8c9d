package simulation

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"healkv/dataplane/proto"
)

// Entry is one thing that is done to a run: a client operation or a fault.
type Entry struct {
	At    int64 // µs
	Do    string
	Node  int
	Other int
	A, B  int64
	C     int64
}

func (e *Entry) op() bool { return strings.HasPrefix(e.Do, "op.") }

// Script is a run's list of operations and faults, by time.
type Script struct{ Entries []Entry }

// Operations: Node is whom the client is of, Other the client, A the key, B
// the value's bytes and scope<<32, C the deadline in µs.
const (
	doGet     = "op.get"
	doPut     = "op.put"
	doDelete  = "op.delete"
	doPersist = "op.persist"
)

// Faults. A is a duration in µs where it is one.
const (
	doCrash     = "crash"         // the process dies; comes back after A
	doPower     = "power"         // the machine loses power; back after A; B: how the media is torn
	doPowerAll  = "power-all"     // all lose power; A: after how long each comes back, at most; B as above
	doCrashAll  = "crash-all"     // all processes die
	doLostAll   = "lost-all"      // all go down, and the live member Node for good (loseAll)
	doRebootAll = "reboot-all"    // all lose power, and with it their pools; each is back after at most A
	doForce     = "force"         // the operator orders for A, first at Node, to start cold without who is lost; if nobody is he asks only
	doDiskGone  = "pool-gone"     // power loss, and the pool is blank afterwards
	doOldPool   = "pool-old"      // power loss, and an older copy of the pool comes back
	doOldAll    = "old-all"       // after A an older copy of the pool comes back, and the others have all restarted (oldAll)
	doInFlush   = "crash-flush"   // dies in the middle of its next flush; B: power loss
	doPause     = "pause"         // SIGSTOP for A
	doHang      = "hang"          // the workers alone stand still for A
	doSlow      = "slow"          // turns take B times as long, for A
	doSlowDisk  = "slow-flush"    // flushes take up to B µs, for A
	doFailDisk  = "flush-fails"   // the next flush fails
	doAcceptor  = "acceptor-disk" // B 0: the next sync of the acceptor's file fails; else syncs take up to B µs, for A
	doOldVotes  = "acceptor-old"  // B 0: after A an older copy of the acceptor's file comes back; 1: it is made anew; 2: Other's file is there for A
	doMissing   = "missing"       // at the beginning: the node comes after A only
	doForeign   = "foreign-pool"  // the process ends, and the pool of Other lies where its own was, for A
	doCut       = "cut"           // Node to Other is cut for A; B: 1 data, 2 control, 3 both
	doCutBoth   = "cut-both"      // both ways
	doIsolate   = "isolate"       // the set C of nodes is cut from the others for A; B as above
	doDelay     = "delay"         // Node to Other takes up to B µs more, for A
	doCorrupt   = "corrupt"       // a bit flips in the next stream bytes from Node to Other
	doTruncate  = "truncate"      // they are cut short
	doGarbage   = "garbage"       // the next control message from Node to Other is damaged: the connection ends
	doDrift     = "drift"         // the clock gains B ppm, for A
	doJump      = "jump"          // the clock jumps forward by A
	doLeave     = "leave"         // closed in order; back after A
	doForget    = "forget"        // within A, as soon as somebody is away: all forget what those miss who are
	doDrain     = "drain"         // taken out by an order; its process stays; resumed after A
	doDamage    = "damage"        // a part of a pool is damaged; B: what | how<<8 | when<<16 (damage.go); C: a seed of the rest; back after A if it goes down for it
	doAtStep    = "at-step"       // at the next step B of a recovery (of anybody): C 0 the recovering node dies, 1 its buddy, 2 Node; power loss if Other is 1; back after A
)

// steps are the events of a recovery at which somebody may die. Scripts name
// them by number.
var steps = []string{"join_asked", "admitted", "all_installed", "transfer_begun", "transfer_done", "view_installed", "cold_start", "buddy_of", "promoted",
	"discarded", "leftovers_rolled", "flushed", "cold_reported"}

// weights of faults in a draw.
var weights = []struct {
	do string
	n  int
}{
	{doCrash, 16}, {doPower, 14}, {doDiskGone, 2}, {doOldPool, 3}, {doInFlush, 4}, {doPause, 8}, {doHang, 4}, {doSlow, 4},
	{doSlowDisk, 4}, {doFailDisk, 2}, {doAcceptor, 3}, {doCut, 8}, {doCutBoth, 4}, {doIsolate, 5}, {doDelay, 5}, {doCorrupt, 3}, {doTruncate, 2}, {doGarbage, 4},
	{doDrift, 4}, {doJump, 4}, {doLeave, 3}, {doAtStep, 14},
}

func draw(o *Options, r *rand.Rand) *Script {
	s := &Script{}
	end := int64(o.Millis) * 1000
	lease := o.Lease.Microseconds()
	begin := 4 * lease // the first view
	mix := pick(r, 0, 1, 2)
	for n := 0; n < o.Ops; {
		at := begin + r.Int64N(end)
		node, client := r.IntN(o.Nodes), r.IntN(o.Clients)
		burst := pick(r, 1, 1, 2, 4, 16)
		for range burst {
			e := Entry{At: at, Node: node, Other: client, A: int64(r.IntN(o.Keys)), C: pick(r, 2*lease, 4*lease, 20*lease)}
			if r.IntN(2) == 0 {
				e.A = int64(r.IntN(3)) // hot
			}
			scope := int64(0)
			if o.Model == proto.Scope && r.IntN(2) == 0 {
				scope = 1 + int64(r.IntN(2))
			}
			switch x := r.IntN(100); {
			case x < []int{25, 45, 70}[mix]:
				e.Do = doGet
			case x < 77 && mix == 1 || x < 75:
				e.Do, e.B = doPut, scope<<32|int64(8+r.IntN(o.ValueMax))
			case x < 92:
				e.Do, e.B = doPut, scope<<32|int64(8+r.IntN(min(o.ValueMax, 64)))
			case x < 97 || o.Model != proto.Scope:
				e.Do, e.B = doDelete, scope<<32
			default:
				e.Do, e.B = doPersist, (1+int64(r.IntN(2)))<<32
			}
			s.Entries = append(s.Entries, e)
			n++
		}
		if r.IntN(8) == 0 { // a burst of everybody on one key
			for i := range o.Nodes {
				s.Entries = append(s.Entries, Entry{At: at + int64(r.IntN(40)), Do: doPut, Node: i, Other: client, A: 0, B: 16, C: 4 * lease})
				n++
			}
		}
	}
	total := 0
	for _, w := range weights {
		total += w.n
	}
	// Storms of faults, and some time after each.
	phases := 3 + r.Int64N(4)
	long := end / phases
	for range o.Faults {
		x, i := r.IntN(total), 0
		for ; x >= weights[i].n; i++ {
			x -= weights[i].n
		}
		at := r.Int64N(phases)*long + r.Int64N(long*6/10)
		s.Entries = append(s.Entries, fault(o, r, weights[i].do, begin+at, lease))
	}
	if r.IntN(2) == 0 { // everybody goes down at the end of a storm
		all := fault(o, r, pick(r, doPowerAll, doPowerAll, doCrashAll), begin+r.Int64N(phases)*long+long*6/10, lease)
		s.Entries = append(s.Entries, all)
		// Answers that wait for no flush, and flushes that take long: the weaker
		// models have something to lose then.
		for i := range o.Nodes {
			s.Entries = append(s.Entries, Entry{At: all.At - 2000, Do: doSlowDisk, Node: i, A: 2000, B: 2000})
			for range 12 {
				s.Entries = append(s.Entries, Entry{At: all.At - r.Int64N(1500), Do: doPut, Node: i, Other: r.IntN(o.Clients), A: int64(r.IntN(o.Keys)), B: 16, C: 4 * lease})
			}
		}
	}
	s.Entries = append(s.Entries, rare(o, begin, end, lease)...)
	s.Entries = append(s.Entries, drawDamage(o)...)
	s.sort()
	return s
}

// losesOne says in which seeds live members are lost for good, oldAll in which
// older pools come back when all others have been restarted, drains in which
// nodes are taken out and brought back by orders, forgets in which missed ranges
// are forgotten by order, compares in which live nodes compare what they hold.
func (o *Options) losesOne() bool { return o.Seed%8 == 2 }
func (o *Options) oldAll() bool   { return o.Seed%8 == 1 }
func (o *Options) drains() bool   { return o.Seed%8 == 6 }
func (o *Options) compares() bool { return o.Seed%4 == 0 }
func (o *Options) forgets() bool  { return o.Seed%8 == 3 }

// rare are faults of some seeds only. They are drawn apart, so that a seed's
// others stay what they are.
func rare(o *Options, begin, end, lease int64) (list []Entry) {
	r := rand.New(rand.NewPCG(o.Seed, 0x72617265))
	somebody := func(do string, at int64) Entry { return Entry{At: begin + at, Do: do, Node: r.IntN(o.Nodes)} }
	switch {
	case o.losesOne():
		for range 2 {
			e := somebody(doLostAll, end/8+r.Int64N(end*3/4))
			e.A, e.B, e.C = 2*lease, int64(r.IntN(3)), int64(r.IntN(2))
			order := somebody(doForce, e.At-begin+3*lease)
			order.A = 10 * lease
			list = append(list, e, order)
		}
		for range 6 { // not wanted
			e := somebody(doForce, r.Int64N(end))
			e.A = lease
			list = append(list, e)
		}
	case o.drains():
		for range 10 {
			e := somebody(doDrain, r.Int64N(end))
			e.A = pick(r, lease/4, lease, 4*lease) + r.Int64N(lease)
			list = append(list, e)
		}
	case o.forgets():
		for range 16 {
			e := somebody(doForget, r.Int64N(end))
			e.A = 4 * lease
			list = append(list, e)
		}
	case o.oldAll():
		for range 8 {
			e := somebody(doOldAll, end/8+r.Int64N(end*3/4))
			e.A, e.B = pick(r, lease/2, lease, 4*lease), int64(r.IntN(2))
			list = append(list, e)
		}
	}
	return list
}

func (s *Script) sort() {
	slices.SortStableFunc(s.Entries, func(a, b Entry) int { return cmp.Compare(a.At, b.At) })
}

// fault draws the rest of one.
func fault(o *Options, r *rand.Rand, do string, at, lease int64) Entry {
	e := Entry{At: at, Do: do, Node: r.IntN(o.Nodes)}
	e.Other = (e.Node + 1 + r.IntN(o.Nodes-1)) % o.Nodes
	away := func() int64 { return pick(r, 300, 300, lease/8, lease/4, lease, 3*lease) + r.Int64N(lease/4) }
	switch do {
	case doCrash, doLeave, doInFlush, doDiskGone, doOldPool:
		e.A, e.B = away(), int64(r.IntN(2))
	case doPower:
		e.A, e.B = away(), int64(r.IntN(tornKinds))
	case doPowerAll, doCrashAll:
		e.A, e.B = 2*lease, int64(r.IntN(tornKinds))
	case doPause, doHang:
		e.A = pick(r, lease/8, lease/4, lease, 5*lease) + r.Int64N(lease/2)
	case doSlow:
		e.A, e.B = 2*lease+r.Int64N(6*lease), 5+r.Int64N(100)
	case doSlowDisk:
		e.A, e.B = 2*lease+r.Int64N(6*lease), pick(r, 200, 2000, lease)
	case doAcceptor:
		e.A, e.B = 2*lease+r.Int64N(4*lease), pick(r, 0, 1000, lease)
	case doCut, doCutBoth:
		e.A, e.B = pick(r, lease/8, lease/2, 2*lease, 5*lease)+r.Int64N(lease/2), 1+int64(r.IntN(3))
	case doIsolate:
		e.A, e.B, e.C = pick(r, lease/4, lease, 5*lease)+r.Int64N(lease), 1+int64(r.IntN(3)), 1+r.Int64N(1<<o.Nodes-2)
	case doDelay:
		e.A, e.B = 2*lease+r.Int64N(6*lease), pick(r, 100, 1000, lease/4)
	case doDrift:
		// Two clocks differ by less than Drift after a Lease: 9 % for a tenth.
		e.A, e.B = 4*lease+r.Int64N(20*lease), r.Int64N(60_001)-30_000
	case doJump:
		e.A = r.Int64N(o.Drift.Microseconds() / 4)
	case doAtStep:
		e.A, e.B, e.C, e.Other = away(), int64(r.IntN(len(steps))), int64(r.IntN(3)), r.IntN(2)
	}
	return e
}

// Write writes options and script as text, one entry a line.
func (s *Script) Write(w io.Writer, o *Options) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "# healkv simulation script: time in µs, what, node, other, a, b, c")
	fmt.Fprintln(b, o)
	for _, e := range s.Entries {
		fmt.Fprintf(b, "%d %s %d %d %d %d %d\n", e.At, e.Do, e.Node, e.Other, e.A, e.B, e.C)
	}
	return b.Flush()
}

// ReadScript is the inverse.
func ReadScript(r io.Reader) (o Options, s *Script, err error) {
	in := bufio.NewScanner(r)
	s = &Script{}
	head := false
	for line := 1; in.Scan(); line++ {
		t := strings.TrimSpace(in.Text())
		if t == "" || t[0] == '#' {
			continue
		}
		if !head {
			head = true
			var model string
			t, beside, _ := strings.Cut(t, " beside=") // older scripts have none
			beside, checkpoint, _ := strings.Cut(beside, " checkpoint=")
			o.Beside, o.Checkpoint = beside == "true", checkpoint == "true"
			if _, err := fmt.Sscanf(strings.NewReplacer("lease=", "lease= ", "drift=", "drift= ").Replace(t),
				"seed=%d nodes=%d shards=%d model=%s power=%t onehost=%t lease= %s drift= %s log=%d segment=%d ring=%d keys=%d value=%d clients=%d ms=%d spin=%d turn=%d delay=%d call=%d full=%t keep=%t small=%t",
				&o.Seed, &o.Nodes, &o.Shards, &model, &o.Power, &o.OneHost, (*duration)(&o.Lease), (*duration)(&o.Drift), &o.LogBytes, &o.Segment, &o.Ring, &o.Keys,
				&o.ValueMax, &o.Clients, &o.Millis, &o.Spin, &o.TurnMax, &o.DelayMax, &o.CallMax, &o.FullCopy, &o.Keep, &o.Small); err != nil {
				return o, nil, fmt.Errorf("simulation: line %d: options: %w", line, err)
			}
			if o.Model, err = proto.ParseModel(model); err != nil {
				return o, nil, fmt.Errorf("simulation: line %d: %w", line, err)
			}
			continue
		}
		var e Entry
		if _, err := fmt.Sscan(t, &e.At, &e.Do, &e.Node, &e.Other, &e.A, &e.B, &e.C); err != nil {
			return o, nil, fmt.Errorf("simulation: line %d: %q: %w", line, t, err)
		}
		s.Entries = append(s.Entries, e)
	}
	return o, s, in.Err()
}

// duration scans as time.Duration prints.
type duration time.Duration

func (d *duration) Scan(st fmt.ScanState, _ rune) error {
	t, err := st.Token(true, nil)
	if err != nil {
		return err
	}
	x, err := time.ParseDuration(string(t))
	*d = duration(x)
	return err
}
