package interference

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Tick is how often on-core time and wake-ups are read.
const Tick = 10 * time.Millisecond

// threadsMax is how many threads can be watched in all; ended ones make room.
const threadsMax = 1024

// Watcher watches threads from Start to Stop. Its methods may be called by any
// goroutine.
type Watcher struct {
	threads, ring *ebpf.Map
	links         []link.Link
	reader        *ringbuf.Reader
	quit, done    chan struct{}

	mu      sync.Mutex
	watched map[uint32]*track // by thread number
	gone    []*track
	events  []preemption
	err     error

	summed int64 // through here Totals has summed up
	total  Share
}

// track is what is known of a thread.
type track struct {
	Thread
	ticks []tick
}

// tick is a thread's account at a moment.
type tick struct {
	at, ran, gave int64
	wakes         [wakeBuckets]uint32
}

// preemption of a watched thread.
type preemption struct {
	tid, byTID, byPID uint32
	since, nanos      int64
	name              string
}

// Start begins to watch; no thread is watched yet. ErrPrivilege where that is
// not permitted; any other error says what the kernel lacks.
func Start() (*Watcher, error) {
	w := &Watcher{watched: map[uint32]*track{}, quit: make(chan struct{}), done: make(chan struct{})}
	if err := w.load(); err != nil {
		w.close()
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("%w: %w", ErrPrivilege, err)
		}
		return nil, fmt.Errorf("interference: %w", err)
	}
	go w.run()
	return w, nil
}

func (w *Watcher) load() (err error) {
	offsets, err := kernelOffsets()
	if err != nil {
		return err
	}
	w.threads, err = ebpf.NewMap(&ebpf.MapSpec{Name: "threads", Type: ebpf.Hash, KeySize: 4, ValueSize: stateBytes, MaxEntries: threadsMax})
	if err != nil {
		return err
	}
	if w.ring, err = ebpf.NewMap(&ebpf.MapSpec{Name: "preemptions", Type: ebpf.RingBuf, MaxEntries: ringBytes}); err != nil {
		return err
	}
	if w.reader, err = ringbuf.NewReader(w.ring); err != nil {
		return err
	}
	for _, spec := range []ebpf.ProgramSpec{
		{Name: "on_switch", AttachTo: "sched_switch", Instructions: onSwitch(offsets, w.threads, w.ring)},
		{Name: "on_wakeup", AttachTo: "sched_wakeup", Instructions: onWakeup(offsets, w.threads)},
	} {
		spec.Type, spec.AttachType, spec.License = ebpf.Tracing, ebpf.AttachTraceRawTp, "GPL"
		p, err := ebpf.NewProgram(&spec)
		if err != nil {
			return err
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		p.Close() // the link keeps it
		if err != nil {
			return err
		}
		w.links = append(w.links, l)
	}
	return nil
}

// Watch adds a thread. One that is watched already stays as it is.
func (w *Watcher) Watch(t Thread) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.watched[uint32(t.TID)]; old != nil && old.PID == t.PID {
		return nil
	} else if old != nil { // the number is used again
		w.gone = append(w.gone, old)
	}
	if err := w.threads.Put(uint32(t.TID), make([]byte, stateBytes)); err != nil {
		return fmt.Errorf("interference: thread %d: %w", t.TID, err)
	}
	w.watched[uint32(t.TID)] = &track{Thread: t}
	return nil
}

// WatchProcess adds the hot-path threads of a process and returns how many it has.
// Those of an earlier process of that node are watched no more: their time has
// ended, and would count as idle.
func (w *Watcher) WatchProcess(pid, node int) (int, error) {
	threads, err := Threads(pid, node)
	if err != nil {
		return 0, err
	}
	w.endOthers(pid, node)
	n := 0
	for _, t := range threads {
		if t.Role != RoleWorker {
			continue
		}
		if err := w.Watch(t); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// endOthers keeps what was seen of a node's other processes.
func (w *Watcher) endOthers(pid, node int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for tid, t := range w.watched {
		if t.Node != node || t.PID == pid {
			continue
		}
		if err := w.threads.Delete(tid); err != nil {
			w.err = errors.Join(w.err, fmt.Errorf("interference: thread %d: %w", tid, err))
		}
		delete(w.watched, tid)
		w.gone = append(w.gone, t)
	}
}

// run reads in ticks until Stop.
func (w *Watcher) run() {
	defer close(w.done)
	ticker := time.NewTicker(Tick)
	defer ticker.Stop()
	for {
		select {
		case <-w.quit:
			w.read()
			return
		case <-ticker.C:
			w.read()
		}
	}
}

func (w *Watcher) read() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := monotonic()
	value := make([]byte, stateBytes)
	for tid, t := range w.watched {
		if err := w.threads.Lookup(tid, value); err != nil {
			w.err = errors.Join(w.err, err)
			continue
		}
		word := func(off int) int64 { return int64(binary.NativeEndian.Uint64(value[off:])) }
		k := tick{at: now, ran: word(stateRan), gave: word(stateGave)}
		if since := word(stateOnSince); since != 0 && since < now {
			k.ran += now - since
		}
		for i := range k.wakes {
			k.wakes[i] = uint32(word(stateWakes + 8*i))
		}
		t.ticks = append(t.ticks, k)
	}
	w.reader.SetDeadline(time.Unix(0, 1)) // what is there, without waiting
	var rec ringbuf.Record
	for {
		if err := w.reader.ReadInto(&rec); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				w.err = errors.Join(w.err, err)
			}
			return
		}
		e := rec.RawSample
		w.events = append(w.events, preemption{
			tid: binary.NativeEndian.Uint32(e[eventTID:]), byTID: binary.NativeEndian.Uint32(e[eventByTID:]),
			byPID: binary.NativeEndian.Uint32(e[eventByPID:]), since: int64(binary.NativeEndian.Uint64(e[eventSince:])),
			nanos: int64(binary.NativeEndian.Uint64(e[eventNanos:])), name: text(e[eventName : eventName+nameBytes]),
		})
	}
}

func text(b []byte) string { s, _, _ := strings.Cut(string(b), "\x00"); return s }

// Totals sums up since Start, for live metrics: what Totals summed up before is
// forgotten, so that a watcher of this kind takes no more memory with time. It is
// not to be used together with Between.
func (w *Watcher) Totals(nodes []int) Share {
	now := monotonic()
	s := w.Between(w.summed, now, Nodes{All: nodes}, nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.summed = now
	w.total.add(&s)
	w.gone, w.events = nil, nil
	for _, t := range w.watched {
		if n := len(t.ticks); n > 1 {
			t.ticks = append(t.ticks[:0], t.ticks[n-1])
		}
	}
	return w.total
}

// Stop ends the watching; what was seen stays.
func (w *Watcher) Stop() error {
	select {
	case <-w.quit:
		return nil
	default:
	}
	close(w.quit)
	<-w.done
	w.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Watcher) close() {
	for _, l := range w.links {
		l.Close()
	}
	if w.reader != nil {
		w.reader.Close()
	}
	w.ring.Close()
	w.threads.Close()
}

// monotonic is the clock of the events, that of bpf_ktime_get_ns.
func monotonic() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano()
}
