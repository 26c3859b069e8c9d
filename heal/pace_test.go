package heal

import (
	"testing"
	"time"
)

// TestBudgetIsTheNodes: shards recover side by side and share it.
func TestBudgetIsTheNodes(t *testing.T) {
	for _, c := range []struct{ budget, shards, most, rate int }{{0, 4, 0, 0}, {1000, 1, 1000, 1000}, {1000, 4, 250, 250}, {3, 4, 1, 1}, {1 << 20, 2, 512 << 10, 64 << 10}} {
		if p := newPace(c.budget, c.shards, 1); p.most != c.most || p.rate != c.rate || p.least > p.most {
			t.Errorf("%d for %d shards: %+v, want at most %d, at first %d", c.budget, c.shards, *p, c.most, c.rate)
		}
	}
}

// paced runs a recovery of so many bytes on a virtual clock, where a piece takes
// work and a rest ends late by late(n); it returns how long it took and the
// longest time without a rest.
func paced(p *pace, bytes int, work time.Duration, late func(n int) time.Duration) (took, longest time.Duration) {
	now, last := int64(1), int64(1)
	for n := 0; bytes > 0; n++ {
		const piece = 64 << 10
		now += int64(work)
		bytes -= piece
		longest = max(longest, time.Duration(now-last))
		if d := p.rest(now, piece); d > 0 {
			now += int64(d + late(n))
			p.rested(now)
			last = now
		}
	}
	return time.Duration(now), longest
}

func TestPace(t *testing.T) {
	const (
		bytes = 64 << 20
		work  = 30 * time.Microsecond
	)
	never, always := func(int) time.Duration { return 60 * time.Microsecond }, func(int) time.Duration { return 2 * time.Millisecond }
	some := func(n int) time.Duration { // every sixth: cores that are half in use
		if n%6 == 0 {
			return time.Millisecond
		}
		return 60 * time.Microsecond
	}
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	// A free core: the budget is what counts, 1 MiB/ms.
	p := newPace(1<<20, 1, 1)
	free, _ := paced(p, bytes, work, never)
	if ms(free) < 64 || ms(free) > 2.2*64 || p.rate != p.most {
		t.Errorf("cores free: 64 MiB in %v, rate %d of %d", free, p.rate, p.most)
	}
	// No core free: the least rate, and a rest after a few pieces.
	p = newPace(1<<20, 1, 1)
	busy, longest := paced(p, bytes, work, always)
	if p.rate != paceLeast || busy < bytes/paceLeast*time.Millisecond*95/100 || longest > 5*work {
		t.Errorf("cores busy: %v, rate %d, %v without a rest", busy, p.rate, longest)
	}
	p = newPace(1<<20, 1, 1)
	if half, _ := paced(p, bytes, work, some); half < free || half > busy/2 {
		t.Errorf("every sixth rest late: %v, between %v and %v", half, free, busy)
	}
	// A budget is kept, whatever the cores are like.
	for _, budget := range []int{16 << 10, 64 << 10, 512 << 10} {
		took, _ := paced(newPace(budget, 1, 1), 8<<20, work, never)
		if want := time.Duration(8<<20/budget) * time.Millisecond; took < want*95/100 || took > want*13/4 {
			t.Errorf("budget %d: %v, want %v or a little more", budget, took, want)
		}
	}
	// Without one there are no rests but those that others want.
	newPace(0, 1, 1).rested(2)
	if took, _ := paced(newPace(0, 1, 1), bytes, work, always); took > bytes/(64<<10)*work+time.Millisecond {
		t.Errorf("no limit: %v", took)
	}
}
