package pmem

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// beside is a pool whose flushes end when the test says so.
type beside struct {
	*Pool
	m     *HeapMedium
	o     FormatOptions
	jobs  []func()
	calls []string // flushes and drains, as the region heard of them
	fail  error    // of the next drains

	during func() // called in a drain
}

func newBeside(t *testing.T) *beside {
	t.Helper()
	o := testFormat("", "", DomainMemory)
	o.SegmentBytes, o.MaxKeys = 4096, 100
	o.SizeBytes = dataOffset + 8*4096
	b := &beside{o: o, m: &HeapMedium{BootID: [16]byte{1}, PoolID: [16]byte{7}, SuperEvery: 1}}
	if err := FormatHeap(o, b.m); err != nil {
		t.Fatal(err)
	}
	b.m.Watch = func(r *Region) {
		r.SetFlushHook(func(off, n int) {
			what := "log"
			if off < dataOffset {
				what = fmt.Sprintf("super %d", off/superBytes)
			}
			b.calls = append(b.calls, what)
		})
		r.SetSyncHook(func() error {
			if b.calls = append(b.calls, "drain"); b.during != nil {
				b.during()
			}
			return b.fail
		})
	}
	b.m.Later = func(job func()) { b.jobs = append(b.jobs, job) }
	var err error
	if b.Pool, err = b.m.Open(o.Identity); err != nil {
		t.Fatal(err)
	}
	begin(t, b.Pool, 1)
	b.calls = nil
	return b
}

func (b *beside) start(t *testing.T) {
	t.Helper()
	if err := b.StartFlush(); err != nil || !b.Flushing() {
		t.Fatal(err, b.Flushing())
	}
}

// A flush counts when its drain has ended and the worker has taken note of it,
// through where the tail stood when it began (P1, L5).
func TestFlushBeside(t *testing.T) {
	b := newBeside(t)
	if under, err := b.FinishFlush(); under || err != nil {
		t.Fatal("a flush that nobody began:", under, err)
	}
	put(b.Pool, 1, 1, false)
	was, first := b.log.Flushed(), b.log.Tail()
	b.start(t)
	if got := b.Super().Durable; got > was {
		t.Errorf("the superblock that goes out with a flush claims %d, %d is durable (P1)", got, was)
	}
	put(b.Pool, 2, 2, false)
	if under, err := b.FinishFlush(); !under || err != nil || b.log.Flushed() != was {
		t.Fatalf("before its end: under way %v, %v; flushed %d, was %d", under, err, b.log.Flushed(), was)
	}
	woken, looked := 0, false
	b.OnFlushed(func() { woken++ })
	b.during = func() {
		looked = true
		if under, err := b.FinishFlush(); !under || err != nil || b.log.Flushed() != was || woken != 0 {
			t.Errorf("in its drain: under way %v, %v; flushed %d, was %d, woken %d times", under, err, b.log.Flushed(), was, woken)
		}
	}
	b.jobs[0]()
	if b.during = nil; !looked {
		t.Error("no drain")
	}
	b.jobs[0]() // once too often
	if b.log.Flushed() != was {
		t.Error("it counts before the worker has taken note")
	}
	if under, err := b.FinishFlush(); under || err != nil || b.log.Flushed() != first || woken != 1 || b.Flushing() {
		t.Fatalf("after its end: under way %v, %v; flushed %d of %d, tail %d, woken %d times", under, err, b.log.Flushed(), first, b.log.Tail(), woken)
	}
	b.start(t)
	b.jobs[0]() // an old one ends nothing but what is under way
	if _, err := b.FinishFlush(); err != nil || b.log.Flushed() != b.log.Tail() {
		t.Fatal(err, b.log.Flushed(), b.log.Tail())
	}
	if s := b.FlushStats(); s.Count != 2 || s.Bytes == 0 || s.MaxLen == 0 {
		t.Errorf("%+v", s)
	}
	// Flush waits for the one under way.
	put(b.Pool, 3, 3, false)
	b.start(t)
	put(b.Pool, 4, 4, false)
	if flush(t, b.Pool); b.log.Flushed() != b.log.Tail() || b.Flushing() {
		t.Error(b.log.Flushed(), b.log.Tail())
	}
}

// One at a time: who begins a second one would take the first's end for its own.
func TestOneFlushAtATime(t *testing.T) {
	b := newBeside(t)
	put(b.Pool, 1, 1, false)
	b.start(t)
	put(b.Pool, 2, 2, false)
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "P7") {
			t.Errorf("a second flush was begun: %v", r)
		}
	}()
	_ = b.StartFlush()
}

// Whoever writes a superblock waits for the flush under way: what it carries
// must be on the medium before the other copy is written over (P3).
func TestSuperblockWaitsForAFlush(t *testing.T) {
	for name, do := range map[string]func(p *Pool) error{
		"WriteSuperblock": func(p *Pool) error { return p.WriteSuperblock(func(s *Super) { s.LostThrough = 7 }) },
		"Discard":         func(p *Pool) error { return p.Discard(1) },
		"Close":           func(p *Pool) error { return p.Close(true) },
		"EndFlush":        func(p *Pool) error { p.EndFlush(); return nil },
	} {
		b := newBeside(t)
		put(b.Pool, 1, 1, false)
		b.start(t)
		begun := len(b.calls)
		if err := do(b.Pool); err != nil {
			t.Fatal(name, err)
		}
		if rest := b.calls[begun:]; len(rest) == 0 || rest[0] != "drain" {
			t.Errorf("%s during a flush: %q, then %q", name, b.calls[:begun], rest)
		}
		// Never the same copy twice without a drain in between, and never both.
		undrained := 0
		for _, c := range b.calls {
			switch {
			case c == "drain":
				undrained = 0
			case strings.HasPrefix(c, "super"):
				if undrained++; undrained > 1 {
					t.Errorf("%s: both copies in flight (P3): %q", name, b.calls)
				}
			}
		}
	}
}

// An error of a flush beside the worker is as final as one of a flush it waits
// for, and the next open knows of it (P4, H21).
func TestFlushBesideFails(t *testing.T) {
	b := newBeside(t)
	put(b.Pool, 1, 1, false)
	was := b.log.Flushed()
	b.start(t)
	b.fail = errors.New("input/output error")
	b.jobs[0]()
	b.fail = nil
	if under, err := b.FinishFlush(); under || !errors.Is(err, ErrFlush) || b.log.Flushed() != was {
		t.Fatalf("under way %v, %v, flushed %d, was %d", under, err, b.log.Flushed(), was)
	}
	put(b.Pool, 2, 2, false)
	if err := b.StartFlush(); !errors.Is(err, ErrFlush) {
		t.Errorf("the next one: %v", err)
	}
	if err := b.WriteSuperblock(func(*Super) {}); !errors.Is(err, ErrFlush) {
		t.Errorf("a superblock after it: %v", err)
	}
	p, err := b.m.Open(b.o.Identity)
	if err != nil {
		t.Fatal(err)
	}
	if r := p.Recovered(); !r.FailedFlush || r.Kept {
		t.Errorf("%+v", r)
	}
}

// A crash during a flush leaves what it leaves: the flush counts for nothing.
func TestClosedDuringAFlush(t *testing.T) {
	b := newBeside(t)
	put(b.Pool, 1, 1, false)
	b.start(t)
	drains := len(b.calls)
	closePool(t, b.Pool, false)
	if slices.Contains(b.calls[drains:], "drain") {
		t.Error("a pool that is left as a crash would leave it was flushed")
	}
}

// The file domain's own goroutine: one worker flushes and appends, others write
// superblocks, and it all ends while a flush is under way.
func TestFlushGoroutine(t *testing.T) {
	at := testPlace(t, DomainFile)
	at.format(t, DomainFile, testPoolBytes)
	for life := range uint32(3) {
		p := at.open(t)
		begin(t, p, life+1)
		woken := make(chan struct{}, 1)
		p.OnFlushed(func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
		var others sync.WaitGroup
		others.Add(1)
		go func() {
			defer others.Done()
			for i := range 20 {
				if err := p.WriteSuperblock(func(s *Super) { s.ViewEpoch = 100*life + uint32(i) }); err != nil {
					t.Error(err)
				}
			}
		}()
		beside := 0
		for i := range 100 {
			put(p, i, uint64(life)*1000+uint64(i)+1, false)
			switch under, err := p.FinishFlush(); {
			case err != nil:
				t.Fatal(err)
			case under:
				beside++
				if i%10 == 9 { // nothing else to do
					<-woken
				}
			default:
				if err := p.StartFlush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		others.Wait()
		p.EndFlush()
		if _, err := p.FinishFlush(); err != nil {
			t.Fatal(err)
		}
		put(p, 7, 2000, false)
		if err := p.StartFlush(); err != nil {
			t.Fatal(err)
		}
		t.Logf("life %d: %d of 100 appends while a flush was under way; %+v", life, beside, p.FlushStats())
		if beside == 0 {
			t.Error("no flush ran beside the worker")
		}
		closePool(t, p, life != 1)
	}
	p := at.open(t)
	if got := p.Super().ViewEpoch; got != 219 {
		t.Errorf("view %d", got)
	}
	check(t, p, 99, 2100, true)
	closePool(t, p, false)
}

// A flush of one small record takes about a page to the disk, and not the large
// folio that the page lies in.
func TestFlushIsSmall(t *testing.T) {
	at := testPlace(t, DomainFile)
	at.format(t, DomainFile, testPoolBytes)
	p := at.open(t)
	defer p.Close(false)
	begin(t, p, 1)
	flush(t, p)
	const flushes = 50
	before := writtenBytes(t)
	for i := range flushes {
		put(p, i, uint64(i)+1, false)
		flush(t, p)
	}
	each := (writtenBytes(t) - before) / flushes
	t.Logf("%d bytes a flush", each)
	if each > 4*pageBytes {
		t.Errorf("a flush of one record makes the disk write %d bytes: large folios in the page cache", each)
	}
}

// writtenBytes is what this process has made the kernel write, by the pages it
// made dirty.
func writtenBytes(t *testing.T) (n int) {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip("no I/O accounting in this kernel:", err)
	}
	_, rest, _ := strings.Cut(string(b), "\nwrite_bytes: ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
