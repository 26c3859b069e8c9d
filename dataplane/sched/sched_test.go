package sched

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWaited(t *testing.T) {
	lines := map[string]time.Duration{
		"84215 1230 17\n":          1230,
		"0 0 0\n":                  0,
		"1 2":                      2,
		"":                         0,
		"12":                       0,
		"1 x 3":                    0,
		"1 -5 3":                   0,
		"1 99999999999999999999 3": 0,
	}
	for line, want := range lines {
		if got := waited([]byte(line)); got != want {
			t.Errorf("%q: %d, want %d", line, got, want)
		}
	}
	t.Logf("%d lines", len(lines))
}

// A queue tells of its own thread, never less than before, and without allocating;
// nobody's tells nothing.
func TestQueue(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var q Queue
	if d := q.Waited(); d != 0 {
		t.Errorf("nobody has waited for %v", d)
	}
	q.Open()
	if q.stat == 0 {
		t.Skip("missing feature: a kernel that counts how long threads wait (/proc/thread-self/schedstat)")
	}
	last := time.Duration(0)
	for i := range 1000 {
		d := q.Waited()
		if d < last {
			t.Fatalf("look %d: %v after %v", i, d, last)
		}
		last = d
	}
	if n := testing.AllocsPerRun(100, func() { q.Waited() }); n != 0 {
		t.Errorf("%v allocations a look", n)
	}
	q.Close()
	q.Close()
	if d := q.Waited(); d != 0 {
		t.Errorf("a closed one tells %v", d)
	}
}

// The slice is the thread's own, and nothing else of it changes. A thread whose policy
// somebody has chosen keeps all of it.
func TestPrompt(t *testing.T) {
	asked := 0
	for _, policy := range []uint32{unix.SCHED_NORMAL, unix.SCHED_BATCH} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // the thread ends with the goroutine
			before, err := unix.SchedGetAttr(0, 0)
			if err != nil {
				t.Errorf("sched_getattr: %v", err)
				return
			}
			before.Policy, before.Flags = policy, 0
			if err := unix.SchedSetAttr(0, before, 0); err != nil {
				t.Errorf("policy %d: %v", policy, err)
				return
			}
			if before, err = unix.SchedGetAttr(0, 0); err != nil {
				t.Error(err)
				return
			}
			Prompt()
			after, err := unix.SchedGetAttr(0, 0)
			if err != nil {
				t.Error(err)
				return
			}
			// Before 6.12 both are 0.
			if want := before.Runtime; policy == unix.SCHED_NORMAL && want != 0 {
				if asked++; after.Runtime != uint64(promptSlice) {
					t.Errorf("a slice of %d ns, want %d", after.Runtime, promptSlice)
				}
			} else if after.Runtime != want {
				t.Errorf("policy %d: a slice of %d ns, was %d", policy, after.Runtime, want)
			}
			before.Runtime = after.Runtime
			if *after != *before {
				t.Errorf("policy %d: %+v, was %+v", policy, *after, *before)
			}
		}()
		<-done
	}
	t.Logf("threads with slices of their own: %d", asked)
}
