package demo

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"healkv"
)

// Kinds of faults that Chaos injects.
const (
	FaultKill          = "kill"               // SIGKILL of one
	FaultKillAgain     = "kill-again"         // of the same node, as soon as it is back
	FaultKillStarting  = "kill-starting"      // several times while it starts
	FaultKillTwo       = "kill-two"           // two at once; of three nodes no majority is left
	FaultViewChange    = "view-change"        // a second node while the first one's removal is under way
	FaultKillAll       = "kill-all"           // every node at once: cold start
	FaultKillCold      = "kill-cold"          // one of them again, during the cold start
	FaultKillAdmitted  = "kill-admitted"      // the returning node when it has been admitted
	FaultKillTransfer  = "kill-transfer"      // in the middle of its transfer
	FaultKillPromotion = "kill-promotion"     // between transfer and promotion
	FaultKillBuddy     = "kill-buddy"         // its buddy in the middle of the transfer
	FaultPauseBuddy    = "pause-buddy"        // SIGSTOP of the buddy until it is removed
	FaultPauseShort    = "pause-short"        // SIGSTOP for less than the lease
	FaultPauseLong     = "pause-long"         // until it is removed, and some time more
	FaultPauseAll      = "pause-all"          // every node, until all leases are over
	FaultPauseKill     = "pause-and-kill"     // one paused until it is removed, then another killed, then it goes on
	FaultSlow          = "slow"               // SIGSTOP for nine milliseconds of ten
	FaultShadowDies    = "shadow-keeps-dying" // killed whenever it has been admitted, several times
	FaultTerm          = "planned-restart"    // SIGTERM: it leaves the view
	FaultBlank         = "blank-pool"         // the pool is lost
	FaultOldPool       = "old-pool"           // an older copy of the pool is brought back
	FaultPoolFull      = "pool-full"          // every node refuses writes for want of space
	FaultDiskFull      = "disk-full"          // no byte is free where rings and indexes lie (in the domain memory: anything); one restarts in it
	FaultStorm         = "storm"              // three to seven of the simple ones that overlap at random
)

// fault is one kind: inject says whether it met the phase it was meant for.
type fault struct {
	kind    string
	nodes   int  // needed
	bounded bool // needs a file system that can be filled
	inject  func(x *chaos, ctx context.Context, f *ChaosFault) (hit bool, err error)
	after   func(x *chaos, ctx context.Context, f *ChaosFault) error // when all are live again; may be nil
}

var faults []fault

func init() {
	faults = []fault{
		{kind: FaultKill, inject: (*chaos).killOne},
		{kind: FaultKillAgain, inject: (*chaos).killAgain},
		{kind: FaultKillStarting, inject: (*chaos).killStarting},
		{kind: FaultKillTwo, inject: (*chaos).killTwo},
		{kind: FaultViewChange, inject: (*chaos).killInViewChange},
		{kind: FaultKillAll, inject: (*chaos).killAll},
		{kind: FaultKillCold, inject: (*chaos).killInColdStart},
		{kind: FaultKillAdmitted, inject: (*chaos).killAdmitted},
		{kind: FaultKillTransfer, inject: (*chaos).killTransfer},
		{kind: FaultKillPromotion, inject: (*chaos).killPromotion},
		{kind: FaultKillBuddy, inject: (*chaos).killBuddy},
		{kind: FaultPauseBuddy, inject: (*chaos).pauseBuddy},
		{kind: FaultPauseShort, inject: (*chaos).pauseShort},
		{kind: FaultPauseLong, inject: (*chaos).pauseLong},
		{kind: FaultPauseAll, inject: (*chaos).pauseAll},
		{kind: FaultPauseKill, inject: (*chaos).pauseAndKill, nodes: 4},
		{kind: FaultSlow, inject: (*chaos).slowOne},
		{kind: FaultShadowDies, inject: (*chaos).killShadow},
		{kind: FaultTerm, inject: (*chaos).terminate},
		{kind: FaultBlank, inject: (*chaos).blankPool, after: (*chaos).cameBack},
		{kind: FaultOldPool, inject: (*chaos).oldPool},
		{kind: FaultPoolFull, inject: (*chaos).fillPools},
		{kind: FaultDiskFull, inject: (*chaos).fillDisk, bounded: true},
		{kind: FaultStorm, inject: (*chaos).storm},
	}
}

func faultOf(kind string) *fault {
	if i := slices.IndexFunc(faults, func(f fault) bool { return f.kind == kind }); i >= 0 {
		return &faults[i]
	}
	return nil
}

// FaultKinds are all kinds, in the order of the table.
func FaultKinds() (kinds []string) {
	for i := range faults {
		kinds = append(kinds, faults[i].kind)
	}
	return kinds
}

// slowBudget makes a full copy last long enough to be met in the middle.
var slowBudget = []string{"--recovery", "full", "--recovery-budget", "4KiB"}

func (x *chaos) start(i int, flags ...string) error {
	return x.k.start(i, append(x.flags, flags...)...)
}

// fell kills nodes at once and waits until the kernel has taken them down.
func (x *chaos) fell(nodes ...int) {
	for _, i := range nodes {
		x.felled[x.k.procs[i]] = true
		x.k.kill(i)
	}
	for _, i := range nodes {
		<-x.k.procs[i].ended
	}
}

func (x *chaos) signal(s syscall.Signal, nodes ...int) error {
	for _, i := range nodes {
		if err := x.k.procs[i].cmd.Process.Signal(s); err != nil {
			return fmt.Errorf("%v to node %d: %w", s, i, err)
		}
	}
	return nil
}

func (x *chaos) pause(ctx context.Context, most time.Duration) error {
	return sleep(ctx, time.Duration(x.rng.Int64N(int64(most))))
}

// some are n different nodes.
func (x *chaos) some(n int) []int { return x.rng.Perm(x.o.Nodes)[:n] }

func (x *chaos) lease() time.Duration { return time.Duration(x.c.Configs[0].Lease) }

// says puts the fault into words.
func (f *ChaosFault) says(format string, args ...any) { f.Detail = fmt.Sprintf(format, args...) }

func (x *chaos) killOne(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	away := time.Duration(x.rng.Int64N(int64(800 * time.Millisecond)))
	f.says("node %d, away for %v", a, away.Round(time.Millisecond))
	x.fell(a)
	return true, sleep(ctx, away)
}

func (x *chaos) killAgain(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("node %d", a)
	x.fell(a)
	for range 1 + x.rng.IntN(2) {
		if err := x.calm(ctx, nil); err != nil {
			return false, err
		}
		x.fell(a)
	}
	return true, nil
}

func (x *chaos) killStarting(ctx context.Context, f *ChaosFault) (bool, error) {
	a, times := x.some(1)[0], 2+x.rng.IntN(4)
	f.says("node %d, %d times", a, times)
	x.fell(a)
	for range times {
		if err := x.start(a); err != nil {
			return false, err
		}
		if err := x.pause(ctx, 150*time.Millisecond); err != nil {
			return false, err
		}
		x.fell(a)
	}
	return true, nil
}

func (x *chaos) killTwo(ctx context.Context, f *ChaosFault) (bool, error) {
	n := x.some(2)
	f.says("nodes %v", n)
	x.fell(n...)
	return true, x.pause(ctx, 2*time.Second)
}

func (x *chaos) killInViewChange(ctx context.Context, f *ChaosFault) (bool, error) {
	n := x.some(2)
	f.says("node %d, then %d", n[0], n[1])
	x.fell(n[0])
	if err := x.pause(ctx, 10*time.Millisecond); err != nil {
		return false, err
	}
	x.fell(n[1])
	return true, nil
}

func (x *chaos) killAll(ctx context.Context, f *ChaosFault) (bool, error) {
	f.says("all %d", x.o.Nodes)
	x.fell(x.some(x.o.Nodes)...)
	return true, nil
}

func (x *chaos) killInColdStart(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("all %d, then node %d", x.o.Nodes, a)
	x.fell(x.k.all()...)
	for _, i := range x.k.all() {
		if err := x.start(i); err != nil {
			return false, err
		}
	}
	if err := x.pause(ctx, 300*time.Millisecond); err != nil {
		return false, err
	}
	x.fell(a)
	return true, nil
}

func (x *chaos) pauseShort(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	d := 50*time.Millisecond + time.Duration(x.rng.Int64N(int64(x.lease()-100*time.Millisecond)))
	f.says("node %d for %v", a, d.Round(time.Millisecond))
	if err := x.halt(a); err != nil {
		return false, err
	}
	if err := sleep(ctx, d); err != nil {
		return false, err
	}
	return true, x.goOn(a)
}

func (x *chaos) pauseLong(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("node %d", a)
	before, err := x.k.status(ctx, a)
	if err != nil {
		return false, err
	}
	if err := x.pausedOut(ctx, a); err != nil {
		return false, err
	}
	if err := x.pause(ctx, 500*time.Millisecond); err != nil {
		return false, err
	}
	if err := x.goOn(a); err != nil {
		return false, err
	}
	return true, x.awaitNewLife(ctx, a, before.Incarnation)
}

// pausedOut stops node a until the others have a view without it.
func (x *chaos) pausedOut(ctx context.Context, a int) error {
	if err := x.halt(a); err != nil {
		return err
	}
	return x.awaitRemoved(ctx, a)
}

func (x *chaos) pauseAll(ctx context.Context, f *ChaosFault) (bool, error) {
	d := x.lease() + time.Duration(x.rng.Int64N(int64(x.lease())))
	f.says("all %d for %v", x.o.Nodes, d.Round(time.Millisecond))
	if err := x.halt(x.some(x.o.Nodes)...); err != nil {
		return false, err
	}
	if err := sleep(ctx, d); err != nil {
		return false, err
	}
	for _, i := range x.some(x.o.Nodes) {
		if err := x.goOn(i); err != nil {
			return false, err
		}
		if err := x.pause(ctx, 300*time.Millisecond); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (x *chaos) pauseAndKill(ctx context.Context, f *ChaosFault) (bool, error) {
	n := x.some(2)
	f.says("node %d paused, node %d killed", n[0], n[1])
	if err := x.pausedOut(ctx, n[0]); err != nil {
		return false, err
	}
	x.fell(n[1])
	if err := x.pause(ctx, 50*time.Millisecond); err != nil {
		return false, err
	}
	return true, x.goOn(n[0])
}

func (x *chaos) terminate(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("node %d", a)
	f.comesBack(a, "heal")
	if err := x.leave(ctx, a); err != nil {
		return false, err
	}
	return true, x.pause(ctx, 500*time.Millisecond)
}

// leave asks a node to stop and waits until its process has ended.
func (x *chaos) leave(ctx context.Context, a int) error {
	p := x.k.procs[a]
	x.felled[p] = true
	if err := x.signal(syscall.SIGTERM, a); err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(healPatience):
		return fmt.Errorf("node %d does not stop within %v of SIGTERM", a, healPatience)
	case <-ctx.Done():
		return ctx.Err()
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("node %d after SIGTERM: %v", a, p.cmd.ProcessState)
	}
	return nil
}

// awaitRemoved waits until somebody who is up has a view without node a: its
// lease has run out, or its death was proven.
func (x *chaos) awaitRemoved(ctx context.Context, a int) error {
	_, err := x.removedAt(ctx, a)
	return err
}

// removedAt is awaitRemoved; s is of a node that has removed it.
func (x *chaos) removedAt(ctx context.Context, a int) (s healkv.Status, err error) {
	wait, cancel := context.WithTimeout(ctx, eventPatience)
	defer cancel()
	for {
		var last healkv.Status
		for _, i := range x.k.all() {
			if i == a || x.k.procs[i].over() {
				continue
			}
			one, stop := context.WithTimeout(wait, time.Second) // it may be paused too
			s, err := x.k.status(one, i)
			stop()
			if err == nil && s.Role == "live" && !slices.Contains(s.Live, a) && !slices.Contains(s.Shadow, a) {
				return s, nil
			}
			last = s
		}
		if err := sleep(wait, 5*time.Millisecond); err != nil {
			return last, fmt.Errorf("node %d is gone and still a member at node %d (live %v, shadow %v): %w", a, last.Node, last.Live, last.Shadow, err)
		}
	}
}

// awaitRemembered waits until a node is no member any more and it has gone out
// with a flush, of one of the others, how far that one saw it flush (H19): the
// flush may have been under way when it was noted, and then it is the next.
func (x *chaos) awaitRemembered(ctx context.Context, a int) error {
	s, err := x.removedAt(ctx, a)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, eventPatience)
	defer cancel()
	for before := s.Counters["flushes"]; s.Counters["flushes"] < before+2*uint64(x.c.Configs[0].Shards); {
		if err := sleep(wait, 5*time.Millisecond); err != nil {
			return fmt.Errorf("node %d has flushed nothing since node %d is gone: %w", s.Node, a, err)
		}
		if s, err = x.k.status(wait, s.Node); err != nil {
			return err
		}
	}
	return nil
}

// awaitNewLife waits until a node that was paused has noticed that the others
// went on without it, and is back.
func (x *chaos) awaitNewLife(ctx context.Context, a int, before uint32) error {
	wait, cancel := context.WithTimeout(ctx, healPatience)
	defer cancel()
	for {
		s, err := x.k.status(wait, a)
		if err == nil && s.Incarnation > before && s.Role == "live" && s.Serving {
			return nil
		}
		if err := sleep(wait, 5*time.Millisecond); err != nil {
			return fmt.Errorf("node %d did not begin another life after a pause: role %q, incarnation %d: %w", a, s.Role, s.Incarnation, err)
		}
	}
}

// storm lets simple faults overlap. Nothing acknowledged may depend on their
// order: pools outlive their processes, so whatever happens, calm must find
// everything.
func (x *chaos) storm(ctx context.Context, f *ChaosFault) (bool, error) {
	var words []string
	for range 3 + x.rng.IntN(5) {
		i := x.rng.IntN(x.o.Nodes)
		p := x.k.procs[i]
		var err error
		word := ""
		switch choice := x.rng.IntN(8); {
		case p.over():
			word = "start"
			var flags []string
			if x.rng.IntN(4) == 0 {
				word, flags = "start slowly", slowBudget
			}
			err = x.start(i, flags...)
		case choice < 4:
			word = "kill"
			x.fell(i)
		case choice < 6:
			word = "stop"
			err = x.halt(i)
		default:
			word = "continue"
			err = x.goOn(i)
		}
		if err != nil {
			return false, err
		}
		words = append(words, fmt.Sprintf("%s %d", word, i))
		f.says("%s", strings.Join(words, ", "))
		most := 300 * time.Millisecond
		if x.rng.IntN(6) == 0 {
			most = 2 * x.lease()
		}
		if err := x.pause(ctx, most); err != nil {
			return false, err
		}
	}
	return true, nil
}

// program runs another command of the nodes' binary to its end.
func (x *chaos) program(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, x.k.program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("node %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// absolute is a directory of a node's configuration.
func (x *chaos) absolute(i int, dir string) string {
	if filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(x.c.NodeDir(i), dir)
}

var errNoEvent = errors.New("chaos: a node did not come so far")
