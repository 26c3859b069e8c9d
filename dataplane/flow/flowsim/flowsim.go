// Package flowsim is the flow.Env of a simulation: discrete events on a clock
// that is a number, and processes whose tasks are coroutines. Everything runs
// in the goroutine that calls Step; what runs next follows from the seed and
// from nothing else.
//
// A Process is what dies in a crash: Kill unwinds its tasks where they wait.
// Its clock may be ahead, run fast or slow, and jump forward.
package flowsim

import (
	"container/heap"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"healkv/dataplane/flow"
)

// Sim is the clock and the queue of events.
type Sim struct {
	Rand    *rand.Rand
	now     int64
	queue   events
	order   uint64
	current *task
	idle    []*coroutine
}

// coroutine runs tasks, one after the other: making one, and growing its stack
// to what a task needs, costs more than most tasks.
type coroutine struct {
	next func() (struct{}, bool)
	stop func()
	task *task
}

// idleMax coroutines are kept for later tasks.
const idleMax = 256

// Close ends the coroutines that wait for tasks. The simulation may go on.
func (s *Sim) Close() {
	for _, c := range s.idle {
		c.stop()
	}
	s.idle = nil
}

// coroutine gives one that waits for a task.
func (s *Sim) coroutine() *coroutine {
	if n := len(s.idle); n > 0 {
		c := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return c
	}
	c := &coroutine{}
	c.next, c.stop = iter.Pull(func(yield func(struct{}) bool) {
		for {
			c.task.pause = yield
			c.task.run()
			if !yield(struct{}{}) {
				return
			}
		}
	})
	return c
}

type event struct {
	at    int64
	order uint64
	fn    func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return x
}

// New is a simulation at time 1.
func New(seed uint64) *Sim {
	return &Sim{Rand: rand.New(rand.NewPCG(seed, 0x666c_6f77)), now: 1}
}

// Now is the true time in nanoseconds.
func (s *Sim) Now() int64 { return s.now }

// At runs fn after d. Events of one moment run in the order they were asked for.
func (s *Sim) At(d time.Duration, fn func()) {
	s.order++
	heap.Push(&s.queue, event{s.now + max(0, int64(d)), s.order, fn})
}

// Step runs the next event. False: there is none.
func (s *Sim) Step() bool {
	if len(s.queue) == 0 {
		return false
	}
	e := heap.Pop(&s.queue).(event)
	s.now = max(s.now, e.at)
	e.fn()
	return true
}

// Run runs events until the time d from now, and sets the clock to it.
func (s *Sim) Run(d time.Duration) {
	end := s.now + int64(d)
	for len(s.queue) > 0 && s.queue[0].at <= end {
		s.Step()
	}
	s.now = max(s.now, end) // an event may have called Run itself
}

// Process is one process: tasks, a clock of its own, one death.
type Process struct {
	sim    *Sim
	tasks  []*task
	dead   bool
	paused bool
	runs   bool // Run is under way
	again  bool // and something may have become ready behind its back

	// Clock: local = base + (true - since) * rate / 1e6.
	base, since, rate int64
}

var _ flow.Env = (*Process)(nil)

type task struct {
	p        *Process
	fn       func()
	c        *coroutine          // nil before it has begun and after it has ended
	pause    func(struct{}) bool // gives control back; false: killed
	on       []<-chan struct{}
	deadline int64 // on the process's clock; 0: none
	timed    int64 // true time of the event for it; 0: the task has not begun
	got      int
	ended    bool
	killed   bool
}

// killed unwinds the tasks of a process that died.
type killed struct{}

// NewProcess is a process whose clock shows ahead more than the true time and
// gains ppm millionths.
func (s *Sim) NewProcess(ahead time.Duration, ppm int) *Process {
	return &Process{sim: s, base: s.now + max(0, int64(ahead)), since: s.now, rate: 1_000_000 + int64(ppm)}
}

// Now is the process's own clock.
func (p *Process) Now() int64 { return p.base + p.scaled(p.sim.now-p.since) }

func (p *Process) scaled(d int64) int64 { return d/1_000_000*p.rate + d%1_000_000*p.rate/1_000_000 }

// SetClock makes the clock jump forward and run at another rate from now on.
func (p *Process) SetClock(jump time.Duration, ppm int) {
	p.base, p.since, p.rate = p.Now()+max(0, int64(jump)), p.sim.now, 1_000_000+int64(ppm)
	p.sim.At(0, p.Run)
}

// Random comes from the simulation's source.
func (p *Process) Random() uint64 { return p.sim.Rand.Uint64() }

// Dead reports whether Kill was called.
func (p *Process) Dead() bool { return p.dead }

// Pause stops all tasks until Resume; the clock goes on.
func (p *Process) Pause() { p.paused = true }

// Resume ends a pause.
func (p *Process) Resume() {
	p.paused = false
	p.sim.At(0, p.Run)
}

// Paused reports whether tasks stand still.
func (p *Process) Paused() bool { return p.paused }

// Go makes a task; it begins with the next Run.
func (p *Process) Go(fn func()) {
	if p.dead {
		return
	}
	t := &task{p: p, fn: fn}
	p.tasks = append(p.tasks, t)
	p.again = true
	p.sim.At(0, p.Run)
}

// run is the task, in its coroutine.
func (t *task) run() {
	defer func() {
		t.ended = true
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				panic(r)
			}
		}
	}()
	t.fn()
}

// step lets the task run until it waits or ends. Its coroutine is free then.
func (t *task) step() {
	s := t.p.sim
	if t.c == nil {
		t.c = s.coroutine()
		t.c.task = t
	}
	was := s.current
	s.current = t
	defer func() { s.current = was }()
	t.c.next()
	if t.ended {
		c := t.c
		t.c, t.fn, t.pause, c.task = nil, nil, nil, nil
		if len(s.idle) < idleMax {
			s.idle = append(s.idle, c)
		} else {
			c.stop()
		}
	}
}

// Wait parks the running task.
func (p *Process) Wait(d time.Duration, on ...<-chan struct{}) int {
	t := p.sim.current
	if t == nil || t.p != p {
		panic("flowsim: Wait outside a task of this process")
	}
	if t.killed {
		panic(killed{})
	}
	t.on, t.deadline = on, 0
	if d >= 0 {
		t.deadline = p.Now() + int64(d)
		p.wakeAt(t)
	}
	if !t.pause(struct{}{}) || t.killed {
		t.killed = true
		panic(killed{})
	}
	return t.got
}

// wakeAt asks for a Run at the task's deadline.
func (p *Process) wakeAt(t *task) {
	left := max(0, t.deadline-p.Now())
	wait := left/p.rate*1_000_000 + left%p.rate*1_000_000/p.rate
	t.timed = p.sim.now + wait + 1
	p.sim.At(time.Duration(wait+1), p.Run)
}

// retime asks again for those whose event came before their deadline: the
// clock has changed its rate since.
func (p *Process) retime() {
	for _, t := range p.tasks {
		if !t.ended && t.deadline != 0 && t.timed <= p.sim.now {
			p.wakeAt(t)
		}
	}
}

// ready looks whether the task may go on, and takes its token.
func (t *task) ready() bool {
	n := len(t.on)
	if n > 0 {
		first := 0
		if n > 1 {
			first = int(t.p.sim.Rand.Uint64() % uint64(n))
		}
		for k := range n {
			i := (first + k) % n
			select {
			case <-t.on[i]:
				t.got = i
				return true
			default:
			}
		}
	}
	if t.deadline != 0 && t.p.Now() >= t.deadline {
		t.got = -1
		return true
	}
	return n == 0 && t.deadline == 0 && t.timed == 0 // has not begun
}

// Run lets every task go on that can, until none can. It is called by events;
// whoever changes something a task waits for from outside calls it too.
func (p *Process) Run() {
	if p.dead || p.paused {
		return
	}
	if p.runs { // from within a task: the loop below comes around
		p.again = true
		return
	}
	p.runs = true
	defer func() { p.runs = false }()
	for p.again = true; p.again && !p.dead && !p.paused; {
		p.again = false
		for i := 0; i < len(p.tasks) && !p.dead && !p.paused; i++ {
			t := p.tasks[i]
			if t.ended || !t.ready() {
				continue
			}
			p.resume(t)
			p.again = true
		}
		p.sweep()
	}
	p.retime()
}

func (p *Process) resume(t *task) {
	t.on, t.deadline, t.timed = nil, 0, -1
	t.step()
}

func (p *Process) sweep() {
	kept := p.tasks[:0]
	for _, t := range p.tasks {
		if !t.ended {
			kept = append(kept, t)
		}
	}
	clear(p.tasks[len(kept):])
	p.tasks = kept
}

// Kill ends the process: every task unwinds where it waits. Not from one of
// its own tasks.
func (p *Process) Kill() {
	if p.dead {
		return
	}
	if t := p.sim.current; t != nil && t.p == p {
		panic("flowsim: a process cannot kill itself")
	}
	p.dead = true
	for _, t := range p.tasks {
		if t.ended {
			continue
		}
		t.killed = true
		if t.c == nil { // has not begun
			t.ended = true
			continue
		}
		t.step()
	}
	p.tasks = nil
}

// Tasks counts those that have not ended.
func (p *Process) Tasks() (n int) {
	for _, t := range p.tasks {
		if !t.ended {
			n++
		}
	}
	return n
}

func (p *Process) String() string {
	return fmt.Sprintf("%d tasks, clock %d, rate %d ppm, paused %v, dead %v", p.Tasks(), p.Now(), p.rate-1_000_000, p.paused, p.dead)
}

// Timeout ends the context after d of this clock.
func (p *Process) Timeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	p.Go(func() {
		if p.Wait(d, ctx.Done()) < 0 {
			cancel(context.DeadlineExceeded)
		}
	})
	return ctx, func() { cancel(context.Canceled) }
}
