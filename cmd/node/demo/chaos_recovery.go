package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"healkv"
)

// comeback lets node a fall and return, and waits for an event of its new
// life. over: it was live before we could see it.
func (x *chaos) comeback(ctx context.Context, a int, event string, flags ...string) (s healkv.Status, over bool, err error) {
	x.fell(a)
	if err := x.pause(ctx, 300*time.Millisecond); err != nil {
		return s, false, err
	}
	if err := x.start(a, flags...); err != nil {
		return s, false, err
	}
	wait, cancel := context.WithTimeout(ctx, eventPatience)
	defer cancel()
	for {
		s, err := x.k.status(wait, a)
		switch {
		case err == nil && s.Role == "live":
			return s, true, nil
		case err == nil && happened(s, event):
			return s, false, nil
		}
		select {
		case <-x.k.procs[a].ended:
			return s, false, fmt.Errorf("node %d ended: %v", a, x.k.procs[a].cmd.ProcessState)
		case <-wait.Done():
			return s, false, fmt.Errorf("%w: node %d, %q: it is %q (%v)", errNoEvent, a, event, s.Role, err)
		case <-time.After(300 * time.Microsecond):
		}
	}
}

func happened(s healkv.Status, event string) bool {
	return slices.ContainsFunc(s.Events, func(e healkv.Event) bool { return e.Name == event })
}

func (x *chaos) killAdmitted(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("node %d", a)
	s, over, err := x.comeback(ctx, a, "admitted")
	if err != nil {
		return false, err
	}
	x.fell(a)
	return !over && !happened(s, "transfer_begun"), nil
}

func (x *chaos) killTransfer(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("node %d", a)
	s, over, err := x.comeback(ctx, a, "transfer_begun", slowBudget...)
	if err != nil || over {
		return false, err
	}
	if err := x.pause(ctx, 40*time.Millisecond); err != nil {
		return false, err
	}
	x.fell(a)
	return !x.wasLive(ctx, a, s), nil
}

func (x *chaos) killPromotion(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("node %d", a)
	s, over, err := x.comeback(ctx, a, "transfer_done")
	if err != nil || over {
		return false, err
	}
	x.fell(a)
	return !x.wasLive(ctx, a, s), nil
}

// inTransfer brings node a into a slow transfer and names its buddy.
func (x *chaos) inTransfer(ctx context.Context, a int) (buddy int, over bool, err error) {
	s, over, err := x.comeback(ctx, a, "transfer_begun", slowBudget...)
	if err != nil || over {
		return -1, over, err
	}
	buddy = buddyOf(s)
	if buddy < 0 || buddy == a {
		return -1, false, fmt.Errorf("node %d names no buddy: %+v", a, s.Events)
	}
	return buddy, false, x.pause(ctx, 20*time.Millisecond)
}

func (x *chaos) killBuddy(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("of node %d", a)
	b, over, err := x.inTransfer(ctx, a)
	if err != nil || over {
		return false, err
	}
	f.says("node %d, buddy of node %d", b, a)
	x.fell(b)
	s, err := x.k.status(ctx, a)
	return err == nil && s.Role != "live", nil
}

func (x *chaos) pauseBuddy(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("of node %d", a)
	b, over, err := x.inTransfer(ctx, a)
	if err != nil || over {
		return false, err
	}
	f.says("node %d, buddy of node %d", b, a)
	if err := x.halt(b); err != nil {
		return false, err
	}
	s, err := x.k.status(ctx, a)
	if err != nil {
		return false, err
	}
	if err := x.awaitRemoved(ctx, b); err != nil {
		return false, err
	}
	return s.Role != "live", x.goOn(b)
}

// wasLive asks the others whether the killed life had become live.
func (x *chaos) wasLive(ctx context.Context, a int, s healkv.Status) bool {
	for _, i := range x.k.all() {
		if i == a {
			continue
		}
		t, err := x.k.status(ctx, i)
		if err != nil {
			continue
		}
		return slices.ContainsFunc(t.Events, func(e healkv.Event) bool {
			return e.Name == "view_installed" && e.Epoch > s.Epoch && len(s.Events) > 0 && e.At > s.Events[0].At && listed(e.Detail, a)
		})
	}
	return true
}

// listed says whether node a is live in "live [0 1 2], shadow [3]".
func listed(detail string, a int) bool {
	_, rest, _ := strings.Cut(detail, "live [")
	live, _, _ := strings.Cut(rest, "]")
	return slices.Contains(strings.Fields(live), strconv.Itoa(a))
}

func buddyOf(s healkv.Status) int {
	for _, e := range slices.Backward(s.Events) {
		var b int
		if e.Name == "transfer_begun" {
			if n, _ := fmt.Sscanf(e.Detail, "buddy %d", &b); n == 1 {
				return b
			}
		}
	}
	return -1
}

// blankPool loses a node's pool. As the operations page has it, the others
// remove the node first.
func (x *chaos) blankPool(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("node %d", a)
	f.comesBack(a, "full") // there is nothing to be healed from
	x.fell(a)
	if err := x.awaitRemoved(ctx, a); err != nil {
		return false, err
	}
	return true, x.makePoolAnew(ctx, a)
}

func (x *chaos) losePool(a int, index bool) error {
	dirs := []string{x.absolute(a, x.c.Configs[a].PoolDir)}
	if index {
		dirs = append(dirs, x.absolute(a, x.c.Configs[a].IndexDir))
	}
	for _, d := range dirs {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	return nil
}

// oldPool copies the pool of a node that was killed, lets the node come back
// and the cluster go on, and then puts the copy in the place of the pool, as a
// wrong disk or a backup would. Its index goes with it or, every other time,
// stays as it was.
func (x *chaos) oldPool(ctx context.Context, f *ChaosFault) (bool, error) {
	a, index := x.some(1)[0], x.rng.IntN(2) == 0
	f.says("node %d, index lost %v", a, index)
	f.comesBack(a, "full")
	x.fell(a)
	pool := x.absolute(a, x.c.Configs[a].PoolDir)
	copied := filepath.Join(x.files, "old-pool")
	defer os.RemoveAll(copied)
	if err := copyDir(copied, pool); err != nil {
		return false, err
	}
	if err := x.calm(ctx, nil); err != nil {
		return false, err
	}
	if err := x.pause(ctx, 2*time.Second); err != nil {
		return false, err
	}
	x.fell(a)
	if err := x.awaitRemoved(ctx, a); err != nil {
		return false, err
	}
	if err := x.losePool(a, index); err != nil {
		return false, err
	}
	return true, copyDir(pool, copied)
}

func copyDir(to, from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}
