package heal

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane"
	"healkv/dataplane/sched"
)

// ThreadName is the name of a thread that a recovery goroutine has for itself,
// as the kernel shows it.
const ThreadName = "hk-recovery"

// worked is the processor time of the calling thread, for a goroutine that has it
// for itself; 0 in a simulation.
func (l *Life) worked() int64 {
	if !l.threads {
		return 0
	}
	return sched.Worked()
}

// restOwn is how much of a rest is the thread's own. The runtime's timers may be late by a
// millisecond (flow.Env.Wait), which would pass for a wait for a core.
const restOwn = time.Millisecond

// rest waits, on a thread that a recovery has for itself, for so long and hardly longer.
func (l *Life) rest(d time.Duration, on ...<-chan struct{}) {
	if !l.threads || d < restOwn {
		l.env.Wait(d, on...)
		return
	}
	until := l.env.Now() + int64(d)
	if d > restOwn && l.env.Wait(d-restOwn, on...) >= 0 {
		return
	}
	if left := time.Duration(until - l.env.Now()); left > 0 {
		l.env.Wait(min(left, restOwn-1), on...)
	}
}

// ownThread locks a recovery goroutine to its thread, which dies with it, and
// puts that on the last core it may use, if there is one beyond what the shard
// workers need.
func (l *Life) ownThread() {
	if !l.threads {
		return
	}
	runtime.LockOSThread()
	dataplane.NameThread(ThreadName)
	var allowed unix.CPUSet
	if unix.SchedGetaffinity(0, &allowed) != nil || allowed.Count() < len(l.workers)+2 {
		return
	}
	for cpu := len(allowed)*64 - 1; cpu >= 0; cpu-- {
		if allowed.IsSet(cpu) {
			var one unix.CPUSet
			one.Set(cpu)
			unix.SchedSetaffinity(0, &one)
			return
		}
	}
}
