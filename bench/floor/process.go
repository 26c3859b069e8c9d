package floor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"healkv/pmem"
	"healkv/rdma/futex"
)

// RoundTrip is the name of the floor of anything that two processes do together.
const RoundTrip = "ring round trip, spinning"

var processFloors = []floor{
	{RoundTrip, "ns", "a word to another process and one back, both on their cores",
		func(ctx context.Context, o *Options) (float64, error) { return roundTrip(ctx, o, "spin") }},
	{"ring round trip, sleeping", "ns", "the same, both asleep in a futex in between: two wake-ups",
		func(ctx context.Context, o *Options) (float64, error) { return roundTrip(ctx, o, "sleep") }},
	{"writes without a protocol, 2 nodes", "writes/s", aboutWrites, writesOf(2, 256, 0)},
	{"writes without a protocol, 3 nodes", "writes/s", aboutWrites, writesOf(3, 256, 0)},
	{"writes without a protocol, 6 nodes", "writes/s", aboutWrites, writesOf(6, 256, 0)},
	{"writes without a protocol, 3 nodes, 2048 in flight", "writes/s", aboutWrites, writesOf(3, 2048, 0)},
	{"writes without a protocol, 6 nodes, 2048 in flight", "writes/s", aboutWrites, writesOf(6, 2048, 0)},
}

const aboutWrites = "processes that append records to rings, check, copy and index each other's, answer with watermarks, and wake who sleeps; 158-byte values, all nodes together"

// Offsets in the page that two processes share, a cache line each.
const (
	hereAt, thereAt         = 0, 64
	hereBellAt, thereBellAt = 128, 192
	pageBytes               = 4096
	over                    = ^uint64(0) // in hereAt: the other one ends
)

// Child does the part of a floor that is another process's. args are what
// Measure appended to Options.Child.
func Child(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("%w: a child's part and folder are missing", ErrOptions)
	}
	part, dir, rest := args[0], args[1], args[2:]
	switch {
	case part == "spin" || part == "sleep":
		page, err := pmem.MapRegion(filepath.Join(dir, "page"), pageBytes, pmem.DomainMemory, pmem.MapOptions{})
		if err != nil {
			return err
		}
		answer(page.Bytes(), part == "sleep")
		return nil
	case part == "write" && len(rest) == 5:
		var n [5]int
		for i := range n {
			var err error
			if n[i], err = strconv.Atoi(rest[i]); err != nil {
				return fmt.Errorf("%w: %w", ErrOptions, err)
			}
		}
		return writer(dir, n[0], n[1], n[2], n[3], time.Duration(n[4]))
	}
	return fmt.Errorf("%w: a child cannot do %q", ErrOptions, args)
}

// child starts this program once more.
func (o *Options) child(ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer, error) {
	if len(o.Child) == 0 {
		return nil, nil, fmt.Errorf("%w: no command for a second process", errMissing)
	}
	c := exec.CommandContext(ctx, o.Child[0], append(o.Child[1:len(o.Child):len(o.Child)], args...)...)
	out := new(bytes.Buffer)
	c.Stdout, c.Stderr = out, os.Stderr
	return c, out, c.Start()
}

func roundTrip(ctx context.Context, o *Options, how string) (float64, error) {
	dir, err := os.MkdirTemp(o.Memory, "healkv-floor-")
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errMissing, err)
	}
	defer os.RemoveAll(dir)
	page, err := pmem.MapRegion(filepath.Join(dir, "page"), pageBytes, pmem.DomainMemory, pmem.MapOptions{Create: true})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errMissing, err)
	}
	defer page.Close()
	ctx, cancel := context.WithTimeout(ctx, o.Time+10*time.Second)
	defer cancel()
	c, _, err := o.child(ctx, how, dir)
	if err != nil {
		return 0, err
	}
	ns, err := ask(ctx, page.Bytes(), how == "sleep", o.Time)
	if waitErr := c.Wait(); err == nil {
		err = waitErr
	}
	return ns, err
}

var errNoAnswer = errors.New("the other process does not answer")

// ask counts round trips for the time.
func ask(ctx context.Context, page []byte, asleep bool, lasting time.Duration) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, there := word64(page, hereAt), word64(page, thereAt)
	defer func() {
		here.Store(over)
		word32(page, thereBellAt).Add(1)
		futex.Wake(word32(page, thereBellAt))
	}()
	var begun time.Time
	for n := uint64(1); ; n++ {
		here.Store(n)
		if asleep {
			word32(page, thereBellAt).Add(1)
			futex.Wake(word32(page, thereBellAt))
			for there.Load() != n {
				if ctx.Err() != nil {
					return 0, errNoAnswer
				}
				if old := word32(page, hereBellAt).Load(); there.Load() != n {
					futex.Wait(word32(page, hereBellAt), old, 100*time.Millisecond)
				}
			}
		} else {
			for spins := 1; there.Load() != n; spins++ {
				if spins&0xffff == 0 && ctx.Err() != nil {
					return 0, errNoAnswer
				}
			}
		}
		switch {
		case n == 100: // the other one has started and is warm
			begun = time.Now()
		case n > 100 && (asleep || n&63 == 0):
			if took := time.Since(begun); took >= lasting {
				return float64(took.Nanoseconds()) / float64(n-100), nil
			}
		}
	}
}

// answer is the other end of ask. It ends by itself when nothing comes.
func answer(page []byte, asleep bool) {
	runtime.LockOSThread()
	here, there := word64(page, hereAt), word64(page, thereAt)
	heard := time.Now()
	for seen, spins := uint64(0), 1; ; spins++ {
		n := here.Load()
		switch {
		case n == over:
			return
		case n != seen:
			seen = n
			there.Store(n)
			if asleep {
				word32(page, hereBellAt).Add(1)
				futex.Wake(word32(page, hereBellAt))
				heard = time.Now()
			}
		case asleep:
			if old := word32(page, thereBellAt).Load(); here.Load() == seen {
				futex.Wait(word32(page, thereBellAt), old, 100*time.Millisecond)
			}
			if time.Since(heard) > 10*time.Second {
				return
			}
		case spins&0xfffff == 0 && time.Since(heard) > time.Minute:
			return
		}
	}
}
