package heal

import (
	"testing"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/flow"
)

// What a recovery moves in a second, by what it meets: nobody who wants its core,
// everybody, now and then somebody.
func TestPace(t *testing.T) {
	const piece, work = 64 << 10, int64(60 * time.Microsecond)
	run := func(budget, floor int, late func(piece int) int64) (perMs int) {
		p := newPace(budget, floor, 0)
		bytes, waited := 0, int64(0)
		now := int64(0)
		for i := 0; now < int64(time.Second); i++ {
			now += work
			bytes += piece
			rest := p.moved(piece, waited, now)
			if waited = 0; rest > 0 {
				waited = late(i)
			}
			now += rest + waited
		}
		return int(int64(bytes) * int64(time.Millisecond) / now)
	}
	never := func(int) int64 { return 0 }
	always := func(int) int64 { return int64(time.Millisecond) }
	slack := func(int) int64 { return int64(60 * time.Microsecond) }
	every := func(nth int) func(int) int64 {
		return func(i int) int64 {
			if i%nth == 0 {
				return int64(time.Millisecond)
			}
			return 0
		}
	}
	stall := func(i int) int64 { // of the machine, once a second
		if i == 20 {
			return int64(50 * time.Millisecond)
		}
		return 0
	}
	for _, c := range []struct {
		name          string
		budget, floor int
		late          func(int) int64
		least, most   int // KiB per millisecond
	}{
		{"a core for itself", 512 << 10, 16 << 10, never, 450, 520},
		{"the slack of timers is nobody", 512 << 10, 16 << 10, slack, 400, 520},
		{"everybody wants it", 512 << 10, 16 << 10, always, 15, 17},
		{"somebody, half as long as it works", 512 << 10, 16 << 10, every(10), 15, 40},
		{"now and then", 512 << 10, 16 << 10, every(50), 300, 520},
		{"once for long", 512 << 10, 16 << 10, stall, 400, 520},
		{"the budget whoever waits", 64 << 10, 64 << 10, always, 58, 65},
		{"a floor above the budget", 64 << 10, 1 << 20, always, 58, 65},
		{"no floor", 64 << 10, 0, always, 58, 65},
		{"no limit", 0, 16 << 10, always, 1000, 1100},
	} {
		if got := run(c.budget, c.floor, c.late) >> 10; got < c.least || got > c.most {
			t.Errorf("%s: %d KiB/ms, want %d to %d", c.name, got, c.least, c.most)
		}
	}
}

// A recovery that comes late again and again does not make up for all of it at
// once.
func TestPaceForgets(t *testing.T) {
	p := newPace(64<<10, 64<<10, 0)
	now := int64(time.Second) // it stood still that long
	bytes := 0
	for p.moved(64<<10, 0, now) == 0 {
		bytes += 64 << 10
	}
	if ms := bytes / (64 << 10); ms > 5 {
		t.Errorf("%d ms worth of bytes without a rest", ms)
	}
}

// While the buddy's log runs out of room a recovery goes at the budget, however
// long it waits for cores, and at its floor again when there is room.
func TestPaceHurries(t *testing.T) {
	const piece, late = 64 << 10, int64(time.Millisecond)
	p := newPace(1<<20, 16<<10, 0)
	now := int64(0)
	move := func() (took int64) {
		for range 100 {
			now += late + p.moved(piece, late, now)
		}
		return now
	}
	slow := move()
	p.hurried = true
	from := now
	if fast := move() - from; fast > 101*late || slow < 150*late {
		t.Errorf("100 pieces in a hurry took %v, before %v", time.Duration(fast), time.Duration(slow))
	}
	if p.hurried = false; p.rate != p.budget {
		t.Errorf("in a hurry: %d bytes/ms, want %d", p.rate, p.budget)
	}
	move()
	if p.rate != p.floor {
		t.Errorf("afterwards: %d bytes/ms, want %d", p.rate, p.floor)
	}
}

// A short range is fetched at the budget, whoever waits.
func TestPaceSprints(t *testing.T) {
	l := &Life{cfg: Config{Floor: 16 << 10}}
	for log, want := range map[uint64]int{0: 0, sprint: 0, sprint + 1: 16 << 10} {
		if got := l.floor(log); got != want {
			t.Errorf("%d bytes of log: floor %d, want %d", log, got, want)
		}
	}
	const piece = 64 << 10
	p := newPace(1<<20, l.floor(sprint), 0)
	now := int64(0)
	for range sprint / piece {
		now += int64(30*time.Microsecond) + p.moved(piece, int64(time.Millisecond), now)
	}
	if want := int64(sprint>>20) * int64(time.Millisecond); now > want*5/4 || now < want*9/10 {
		t.Errorf("it took %v, want %v", time.Duration(now), time.Duration(want))
	}
}

// Where a recovery may go at a floor its pages are short in time, not only in bytes.
func TestPagesAtTheFloor(t *testing.T) {
	for _, c := range []struct {
		limit, want uint64
		floor       int
	}{{4 << 20, 4 << 20, 0}, {4 << 20, 1 << 20, 16 << 10}, {4 << 20, 4 << 20, 1 << 20}, {1 << 10, 1 << 10, 16 << 10}} {
		l := Limits{PageRecords: c.limit}
		if got := l.pageRecords(c.floor); got != c.want {
			t.Errorf("limit %d, floor %d: a page of %d bytes of records, want %d", c.limit, c.floor, got, c.want)
		}
	}
}

// That the worker which applies had no core is as good as that the thread which
// copies had none.
func TestPaceHears(t *testing.T) {
	l := &Life{env: flow.Real, threads: true, cfg: Config{Budget: 1 << 20}, workers: make([]*dataplane.Worker, 1)}
	a := l.newAccount(16 << 10)
	for range 100 {
		a.heard(int64(time.Millisecond))
		a.heard(0) // of the next batch
		if rest := a.tell(1); rest < time.Duration(paceRest) {
			t.Fatalf("a rest of %v", rest)
		}
	}
	if a.pace.rate != a.pace.floor {
		t.Errorf("%d bytes/ms, want the floor", a.pace.rate)
	}
}

// A walk pays for the processor time that it takes: where everybody wants its core it
// has the share of one that the transfer has, however much log it goes through.
func TestPaceWalks(t *testing.T) {
	const (
		floor = 64 << 10
		work  = int64(80 * time.Microsecond) // a piece of the log
		late  = int64(time.Millisecond)
	)
	share := func(bytes int, cost int64) (pct int64) {
		p := newPace(1<<20, floor, 0)
		now, worked := int64(0), int64(0)
		for range 1000 {
			now, worked = now+cost, worked+cost
			now += p.moved(bytes, late, now)
		}
		return 100 * worked / now
	}
	const piece = 64 << 10
	transfer, walk := share(piece, piece*paceByte), share(worth(work), work)
	if transfer < 15 || transfer > 25 || walk < transfer-3 || walk > transfer+3 {
		t.Errorf("of a core: a transfer has %d %%, a walk %d %%", transfer, walk)
	}
}
