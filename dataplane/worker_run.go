package dataplane

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
	"healkv/dataplane/sched"
	"healkv/pmem"
)

// Start runs the worker on a goroutine of its own until the life is stopped.
func (w *Worker) Start() { go w.run() }

// run is the shard's goroutine. A fault on a mapped page becomes a failure of
// the node, not a crash of the program that embeds it.
func (w *Worker) run() {
	runtime.LockOSThread()
	NameThread(fmt.Sprintf("%s%d", ThreadName, w.shard))
	w.threaded = true
	if w.diskBound() {
		sched.Prompt()
		w.queue.Open()
		defer w.queue.Close()
	}
	running.Add(1)
	defer running.Add(-1)
	defer close(w.stopped)
	if err := pmem.Guard(w.rounds); err != nil {
		w.faulted(err)
	}
	w.abandon()
}

// showEvery is how often a goroutine that never waits for another one calls the
// Go scheduler. Once it has not for 10 ms the runtime's monitor thinks that it
// hangs: it looks every 20 µs, and takes its processor whenever it finds it in a
// system call, for as long as the process lives. Measured: a thirtieth of a core
// for each node, and the search for a processor after each of these calls.
const showEvery = 5 * time.Millisecond

func (w *Worker) rounds() error {
	for !w.stopping.Load() {
		if w.round() {
			w.show()
			// Whoever this worker waits for may want this very core.
			if w.unheard {
				unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			} else {
				unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			}
		}
	}
	return nil
}

// running counts the workers with a goroutine, of all nodes of the process.
var running atomic.Int32

// show calls the Go scheduler if it is time. A yield is none of its business
// where every worker has a processor of Go's, and a front end, and somebody
// else; where not, others may need this one's meanwhile.
func (w *Worker) show() {
	if !w.threaded || w.now-w.shown <= int64(showEvery) {
		return
	}
	w.gather.crowded(w.now-w.shown, int64(w.queue.Waited()))
	w.shown = w.now
	w.unheard = int(running.Load())+2 <= runtime.GOMAXPROCS(0)
	runtime.Gosched()
}

// faulted ends the shard in the middle of a turn. The operation at the head of
// a lane may be the one that was being carried out, and then a part of it may
// stand in the log or in the stream: nobody is told that it was not applied.
func (w *Worker) faulted(err error) {
	w.failed(err)
	for _, l := range w.active {
		if l.subHead == l.subTail.Load() {
			continue
		}
		op := l.sub[l.subHead&l.mask]
		l.sub[l.subHead&l.mask] = nil
		l.subHead++
		outcome := ErrUnknown
		if op.Kind == OpGet || plant.Is(plant.FaultRejected) {
			outcome = ErrTryAgain
		}
		w.end(op, l, outcome)
	}
}

// Fault ends the shard because of a fault that was met outside its goroutine:
// by a reader, or by a recovery that walks the log. Any goroutine.
func (w *Worker) Fault(err error) {
	w.failed(err)
	w.ep.Wake()
}

// round is a turn and, after enough of them without work, the way to sleep.
// True: nothing moved, the next round should follow, and others may go first.
func (w *Worker) round() (yield bool) {
	if w.turn() {
		w.idle = 0
		return false
	}
	if w.idle++; w.idle < w.spin {
		return w.idle%w.yield == 0
	}
	w.idle = 0
	w.show()
	w.ep.PrepareSleep()
	if w.turn() || w.stopping.Load() {
		w.ep.CancelSleep()
		return false
	}
	w.Counters.Sleeps++
	w.ep.Sleep(w.SleepTime())
	return false
}

// Round is one round of the loop that Start runs, for whoever drives the
// worker instead of Start: a turn and, after SpinTurns of them without work,
// PrepareSleep, one more turn and the endpoint's CancelSleep or Sleep. The
// driver calls it whenever the endpoint does not sleep, from one goroutine.
// False: the worker is to stop or has stopped; Halt follows.
func (w *Worker) Round() bool {
	if w.stopping.Load() {
		return false
	}
	w.round()
	return !w.stopping.Load()
}

// Turn is one turn without the way to sleep, for a driver that decides itself
// when to look again (SleepTime). True if anything moved.
func (w *Worker) Turn() bool { return !w.stopping.Load() && w.turn() }

// Stopping reports that the worker is to stop: the life ends (Core.Stop), or
// the shard failed. A driver calls Halt then.
func (w *Worker) Stopping() bool { return w.stopping.Load() }

// Halt ends a worker for good, as the end of Start's goroutine does:
// everything under way is answered, Do is refused, Core.Stop goes on. Once, by
// the worker's driver.
func (w *Worker) Halt() {
	w.stopping.Store(true)
	w.abandon()
	close(w.stopped)
}

func (w *Worker) stop() {
	w.stopping.Store(true)
	w.ep.Wake()
	w.env.Wait(-1, w.stopped)
}

// SleepTime bounds a sleep by what only time brings; below 0: no bound. After
// a turn.
func (w *Worker) SleepTime() time.Duration {
	switch {
	case len(w.active) > 0 || w.adopting != nil:
		return time.Millisecond // stalled on room
	case w.gather.until > w.now && w.st.Flushed() < w.st.Tail():
		return time.Duration(w.gather.until - w.now)
	case w.pool.Tending():
		return time.Millisecond // pages to load, or a checkpoint under way
	case w.st.Flushed() < w.st.Tail() && !w.pool.Flushing(): // the end of a flush under way wakes
		return time.Duration(w.limit.backgroundEvery)
	case w.st.CleanerWaits():
		return time.Duration(w.limit.backgroundEvery)
	}
	d := int64(-1)
	if w.busy > 0 || len(w.parked) > 0 || w.resting() {
		d = w.limit.deadlineEvery
	}
	if w.choresRest() && !(w.st.DigestReady() && !w.st.WantsCleaning()) {
		if rest := w.choreAt - w.now; d < 0 || rest < d {
			d = rest
		}
	}
	return time.Duration(d)
}

// resting reports whether a peer's stream rests after a fault: nobody but time
// ends that.
func (w *Worker) resting() bool {
	for _, until := range w.faultUntil {
		if until > w.now {
			return true
		}
	}
	return false
}
