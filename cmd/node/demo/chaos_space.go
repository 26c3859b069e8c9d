package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a file system of bounded size, for one cluster: a tmpfs, since
// mounting one needs neither a device nor an image. nil is none.
type disk struct{ dir string }

// diskPrefix is short: a control socket's path may have 108 characters.
const diskPrefix = "/dev/shm/healkv-chaos-"

// diskSpare is what is free beside the pools when a cluster is made: rings,
// indexes, state, logs of a round.
const diskSpare = 192 << 20

func mountDisk(round, nodes int) (*disk, error) {
	d := &disk{fmt.Sprintf("%s%d-%d", diskPrefix, os.Getpid(), round)}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		return nil, err
	}
	bytes := diskSpare + nodes*(chaosPoolBytes+64<<20)
	if err := unix.Mount("healkv-chaos", d.dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fmt.Sprintf("mode=0700,size=%d", bytes)); err != nil {
		os.Remove(d.dir)
		return nil, fmt.Errorf("mounting a tmpfs of %d MiB on %s: %w", bytes>>20, d.dir, err)
	}
	return d, nil
}

func (d *disk) unmount() error {
	if d == nil {
		return nil
	}
	if err := unix.Unmount(d.dir, 0); err != nil {
		return fmt.Errorf("unmounting %s: %w", d.dir, err)
	}
	return os.Remove(d.dir)
}

// mayMount says whether a disk could be made.
func mayMount() error {
	d, err := mountDisk(999_999, 0)
	if err != nil {
		return err
	}
	return d.unmount()
}

// sweepDisks removes the disks of runs that were killed.
func sweepDisks(say func(string, ...any)) {
	dirs, _ := filepath.Glob(diskPrefix + "*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(strings.SplitN(strings.TrimPrefix(dir, diskPrefix), "-", 2)[0])
		if err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		_ = unix.Unmount(dir, 0) // EINVAL if it was never mounted
		if os.Remove(dir) == nil {
			say("removed %s, left by a run that was killed", dir)
		}
	}
}

// chaosPoolBytes is small, so that the cleaner has work and a pool fills soon.
const chaosPoolBytes = 64 << 20

// ChaosPoolBytes is the pool size of the clusters that ChaosOptions.Make makes.
func ChaosPoolBytes() int { return chaosPoolBytes }

// fill takes every byte that is free, down to the last page.
func (d *disk) fill() (bytes int64, err error) {
	f, err := os.OpenFile(filepath.Join(d.dir, "ballast"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for step := 4 << 20; step >= 4096; {
		n, err := f.Write(make([]byte, step))
		bytes += int64(n)
		if errors.Is(err, unix.ENOSPC) {
			step /= 4
		} else if err != nil {
			return bytes, err
		}
	}
	return bytes, nil
}

func (d *disk) free() error { return os.Remove(filepath.Join(d.dir, "ballast")) }

// fillDisk leaves no room for anybody. Everything a running node needs was
// allocated before, so all must go on serving; one that restarts may come back
// or refuse to, saying why; when there is room again it must come back.
func (x *chaos) fillDisk(ctx context.Context, f *ChaosFault) (hit bool, err error) {
	n := x.some(2)
	bytes, err := x.disk.fill()
	freed := false
	defer func() {
		if !freed {
			err = errors.Join(err, x.disk.free())
		}
	}()
	if err != nil {
		return false, err
	}
	f.says("%d MiB of ballast", bytes>>20)
	if err := x.mustWrite(ctx, n[1], "with the disk full"); err != nil {
		return false, err
	}
	if err := x.insertNew(ctx, n[1]); err != nil {
		return false, err
	}
	x.fell(n[0])
	if err := x.start(n[0]); err != nil {
		return false, err
	}
	p := x.k.procs[n[0]]
	wait, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	came := "restarted in it, still coming"
	if err := x.k.awaitServing(wait, n[:1]); err == nil {
		came = "restarted in it and serving"
	} else if p.over() {
		x.felled[p] = true
		came = "restarted in it and refused"
		text, _ := os.ReadFile(x.c.LogPath(n[0]))
		// The log lies on the full disk too: its last line may be cut off.
		if tail := string(text[max(0, len(text)-2000):]); !strings.Contains(tail, "no space left") && !strings.Contains(tail, "is free") && !strings.Contains(tail, "free") {
			came += " without a word about space"
		}
	} else if ctx.Err() != nil {
		return false, ctx.Err()
	}
	f.says("%d MiB of ballast, node %d %s", bytes>>20, n[0], came)
	if err := x.mustWrite(ctx, n[1], "with the disk full and one node restarted"); err != nil {
		return false, err
	}
	freed = true
	return true, x.disk.free()
}

// mustWrite writes at a node until it is answered.
func (x *chaos) mustWrite(ctx context.Context, i int, when string) error {
	c := x.dial(i)
	defer c.close()
	for began := time.Now(); ; {
		err := c.ok("SET", "space:"+strconv.Itoa(i), when)
		if err == nil {
			return nil
		}
		if time.Since(began) > eventPatience {
			return fmt.Errorf("node %d takes no write %s: %w", i, when, err)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// insertNew writes keys that nobody has yet, so that indexes grow. They may be
// refused for want of space.
func (x *chaos) insertNew(ctx context.Context, i int) error {
	c := x.dial(i)
	defer c.close()
	// As many as a disk that must be waited for takes in a while.
	for k, began := 0, time.Now(); k < 2000 && time.Since(began) < 2*time.Second; k++ {
		if err := c.ok("SET", fmt.Sprintf("new:%d:%d", len(x.round.Sequence), k), "n"); err != nil && !rejected(err) {
			return fmt.Errorf("a new key with the disk full: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// fillPools writes large values until every node refuses, deletes them, which
// must work, and waits until every node takes writes again.
func (x *chaos) fillPools(ctx context.Context, f *ChaosFault) (bool, error) {
	value := strings.Repeat("z", 1<<20)
	key := func(n int) string { return fmt.Sprintf("fill:%d", n) }
	stored := 0
	for _, i := range x.some(x.o.Nodes) {
		c := x.dial(i)
		for began := time.Now(); ; {
			err := c.ok("SET", key(stored), value)
			if err != nil && strings.HasPrefix(err.Error(), "OOM ") {
				break
			}
			if err == nil || strings.HasPrefix(err.Error(), "UNKNOWN") {
				stored++
			}
			if stored*len(value) > 2*chaosPoolBytes || time.Since(began) > eventPatience || ctx.Err() != nil {
				c.close()
				return false, fmt.Errorf("node %d never refused: %d MiB are in pools of %d MiB (%v)", i, stored, chaosPoolBytes>>20, err)
			}
		}
		c.close()
	}
	f.says("%d MiB", stored)
	refusals := 0
	c := x.dial(x.rng.IntN(x.o.Nodes))
	defer c.close()
	for n := range stored {
		for began := time.Now(); ; refusals++ {
			_, err := c.do("DEL", key(n))
			if err == nil {
				break
			}
			if time.Since(began) > eventPatience || ctx.Err() != nil {
				return false, fmt.Errorf("delete %d of %d with full pools: %w", n, stored, err)
			}
		}
	}
	for _, i := range x.k.all() {
		if err := x.mustWrite(ctx, i, "after everything large was deleted"); err != nil {
			return false, err
		}
	}
	f.says("%d MiB, %d deletes tried again", stored, refusals)
	return stored > 0, nil
}

func rejected(err error) bool {
	return slices.ContainsFunc([]string{"OOM ", "TRYAGAIN", "UNKNOWN"}, func(p string) bool { return strings.HasPrefix(err.Error(), p) })
}
