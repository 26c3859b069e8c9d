package heal

import (
	"runtime"

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
