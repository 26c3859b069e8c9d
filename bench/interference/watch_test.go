package interference

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane"
	"healkv/heal"
)

func start(t *testing.T) *Watcher {
	w, err := Start()
	if errors.Is(err, ErrPrivilege) {
		t.Skip("skipped: no privilege to watch the scheduler (root, or CAP_BPF and CAP_PERFMON)")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// onOneCore runs fn on a thread of that name, bound to the first core there is.
func onOneCore(name string, fn func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never back: the thread ends with the goroutine
		dataplane.NameThread(name)
		defer dataplane.NameThread("ended") // the program's first thread would stay, name and all
		var all, one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &all); err != nil {
			return
		}
		for cpu := range 1024 {
			if all.IsSet(cpu) {
				one.Set(cpu)
				break
			}
		}
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return
		}
		fn()
	}()
	return done
}

func spin(until time.Time) func() {
	return func() {
		for time.Now().Before(until) {
		}
	}
}

// Two threads that want one core take it from each other, and the account of
// the one that is watched says so.
func TestPreemptedByRecovery(t *testing.T) {
	w := start(t)
	from := monotonic()
	until := time.Now().Add(400 * time.Millisecond)
	worker := onOneCore(dataplane.ThreadName+"0", spin(until))
	other := onOneCore(heal.ThreadName, spin(until))
	for n := 0; n == 0; runtime.Gosched() {
		var err error
		if n, err = w.WatchProcess(os.Getpid(), 0); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(until) {
			t.Fatal("no thread with a worker's name")
		}
	}
	<-worker
	<-other
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	s := w.Between(from, monotonic(), Nodes{All: []int{os.Getpid()}}, nil)
	by := s.By[ByRecovery]
	t.Logf("%d threads, on its core %.0f of %.0f ms, preempted %.0f ms in %d, by recovery %.0f ms in %d", s.Threads, s.OnCoreMs, s.ThreadMs, s.PreemptedMs, s.Preemptions, by.Ms, by.Count)
	switch {
	case s.Threads != 1 || s.ThreadMs < 100:
		t.Errorf("%d threads watched for %.0f ms", s.Threads, s.ThreadMs)
	case by.Count == 0 || by.Ms <= 0 || by.Ms > s.PreemptedMs:
		t.Errorf("preempted by recovery: %+v of %+v", by, s)
	case s.OnCoreMs <= 0 || s.OnCoreMs+s.PreemptedMs > s.ThreadMs+2*float64(Tick.Milliseconds())+s.SpanMs/10:
		t.Errorf("on its core %.1f ms and preempted %.1f ms in %.1f", s.OnCoreMs, s.PreemptedMs, s.ThreadMs)
	}
	if none := w.Between(from, monotonic(), Nodes{}, func(Thread) bool { return false }); none.Threads != 0 || none.Preemptions != 0 {
		t.Errorf("nobody's share: %+v", none)
	}
}

// A thread that gives way by itself is not called preempted for it.
func TestGaveWay(t *testing.T) {
	w := start(t)
	from := monotonic()
	until := time.Now().Add(300 * time.Millisecond)
	worker := onOneCore(dataplane.ThreadName+"2", func() {
		for time.Now().Before(until) {
			unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
	})
	other := onOneCore(heal.ThreadName, spin(until))
	for n := 0; n == 0; runtime.Gosched() {
		var err error
		if n, err = w.WatchProcess(os.Getpid(), 0); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(until) {
			t.Fatal("no thread with a worker's name")
		}
	}
	<-worker
	<-other
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	s := w.Between(from, monotonic(), Nodes{All: []int{os.Getpid()}}, nil)
	t.Logf("gave way for %.0f ms, on its core %.0f ms, preempted %.0f ms", s.GaveMs, s.OnCoreMs, s.PreemptedMs)
	if s.GaveMs == 0 || s.GaveMs < s.By[ByRecovery].Ms {
		t.Errorf("%+v", s)
	}
}

// A thread that sleeps and is woken has a latency for each time.
func TestWakeLatency(t *testing.T) {
	w := start(t)
	from := monotonic()
	const naps = 100
	ready, watched := make(chan struct{}), make(chan struct{})
	sleeper := onOneCore(dataplane.ThreadName+"1", func() {
		close(ready)
		<-watched
		for range naps {
			unix.Nanosleep(&unix.Timespec{Nsec: 200_000}, nil)
		}
	})
	<-ready
	if n, err := w.WatchProcess(os.Getpid(), 0); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	w.read()
	close(watched)
	<-sleeper
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	s := w.Between(from, monotonic(), Nodes{}, nil)
	t.Logf("%d wake-ups, median below %.1f µs, 99 %% below %.1f, all below %.1f", s.Wakes, s.WakeP50Us, s.WakeP99Us, s.WakeMaxUs)
	if s.Wakes < naps || s.WakeP50Us <= 0 || s.WakeP50Us > s.WakeP99Us || s.WakeP99Us > s.WakeMaxUs {
		t.Errorf("%+v", s)
	}
	sum := uint64(0)
	for _, b := range s.WakeBuckets {
		sum += b.Count
	}
	if sum != s.Wakes {
		t.Errorf("buckets hold %d of %d wake-ups", sum, s.Wakes)
	}
}

// The threads of a node's last life are no part of what its next one goes
// through; what they went through themselves stays.
func TestLivesThatEnded(t *testing.T) {
	w := start(t)
	quit := make(chan struct{})
	worker := onOneCore(dataplane.ThreadName+"3", func() { <-quit })
	before := exec.Command("sleep", "60")
	if err := before.Start(); err != nil {
		t.Fatal(err)
	}
	from, pid := monotonic(), before.Process.Pid
	for _, th := range []Thread{{TID: pid, PID: pid, Node: 3, Role: RoleWorker}, {TID: os.Getppid(), PID: os.Getppid(), Node: 4, Role: RoleWorker}} {
		if err := w.Watch(th); err != nil {
			t.Fatal(err)
		}
	}
	w.read()
	w.read()
	died := monotonic()
	before.Process.Kill()
	before.Wait()
	for n := 0; n == 0; runtime.Gosched() {
		var err error
		if n, err = w.WatchProcess(os.Getpid(), 3); err != nil {
			t.Fatal(err)
		}
	}
	w.read()
	w.read()
	now := monotonic()
	close(quit)
	<-worker
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	of := func(from, to int64) int {
		return w.Between(from, to, Nodes{}, func(t Thread) bool { return t.Node == 3 }).Threads
	}
	if then, since := of(from, died), of(died, now); then != 1 || since != 1 {
		t.Errorf("%d threads before it died, %d since; 1 and 1 wanted", then, since)
	}
	if others := w.Between(died, now, Nodes{}, func(t Thread) bool { return t.Node == 4 }).Threads; others != 1 {
		t.Errorf("another node's: %d", others)
	}
}

func TestWhom(t *testing.T) {
	w := &Watcher{}
	of := &track{Thread: Thread{PID: 10, TID: 11}}
	for _, c := range []struct {
		e    preemption
		want string
	}{
		{preemption{byPID: 10, name: heal.ThreadName}, ByRecovery},
		{preemption{byPID: 20, name: heal.ThreadName}, ByRecovery},
		{preemption{byPID: 20, name: dataplane.ThreadName + "3"}, ByOtherWorker},
		{preemption{byPID: 10, name: "node"}, BySameProcess},
		{preemption{byPID: 20, name: "node"}, ByOtherNode},
		{preemption{byPID: 30, name: "kworker"}, ByOtherProcess},
		{preemption{byPID: 40, name: heal.ThreadName}, ByRecovery},
		{preemption{byPID: 40, name: dataplane.ThreadName + "0"}, ByRecovering},
		{preemption{byPID: 40, name: "node"}, ByRecovering},
	} {
		if got := w.whom(of, &c.e, Nodes{All: []int{10, 20, 40}, Recovering: 40}); got != c.want {
			t.Errorf("%+v: %s, want %s", c.e, got, c.want)
		}
	}
}

func TestBuckets(t *testing.T) {
	for i := 1; i < len(wakeBounds); i++ {
		if wakeBounds[i] <= wakeBounds[i-1] {
			t.Fatalf("bound %d is %d after %d", i, wakeBounds[i], wakeBounds[i-1])
		}
	}
	if bucketNanos(0) != 512 || bucketNanos(wakeBuckets-1) < 1e9 {
		t.Fatal(bucketNanos(0), bucketNanos(wakeBuckets-1))
	}
}
