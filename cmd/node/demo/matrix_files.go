package demo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Rows about what lies on a node's disk: pools and the acceptor's file.

// comesBack says how a node must have come back when all are live again.
func (f *ChaosFault) comesBack(node int, by string) {
	if f.wants == nil {
		f.wants = map[int]string{}
	}
	f.wants[node] = by
}

// cameBack checks it.
func (x *chaos) cameBack(ctx context.Context, f *ChaosFault) error {
	for i, by := range f.wants {
		s, err := x.k.status(ctx, i)
		if err != nil {
			return err
		}
		if s.LastRecovery == nil || s.LastRecovery.Kind != by {
			return fmt.Errorf("node %d came back by %+v, and had to by %s", i, s.LastRecovery, by)
		}
	}
	return nil
}

// makePoolAnew loses the pool of a node that is down. Outside of memory an empty
// one is made by hand, as the operations page has it, with a state directory
// that is thrown away.
func (x *chaos) makePoolAnew(ctx context.Context, a int) error {
	if err := x.losePool(a, true); err != nil || x.round.Domain == "memory" {
		return err
	}
	state := filepath.Join(x.files, fmt.Sprintf("thrown-away-%d", len(x.round.Sequence)))
	return x.program(ctx, "format", "--config", x.c.ConfigPath(a), "--state-dir", state, "--ephemeral")
}

// copyLive copies the pool of a node that stands still meanwhile, so that the
// copy is whole, and lets the node go on for a while.
func (x *chaos) copyLive(ctx context.Context, a int, to string) error {
	if err := x.halt(a); err != nil {
		return err
	}
	if err := copyDir(to, x.absolute(a, x.c.Configs[a].PoolDir)); err != nil {
		return err
	}
	if err := x.goOn(a); err != nil {
		return err
	}
	if err := x.calm(ctx, nil); err != nil { // a slow copy may have cost it its lease
		return err
	}
	return sleep(ctx, 1500*time.Millisecond) // something is written that the copy lacks
}

// olderPool brings a copy of a node's pool back that was made earlier in the
// same life. With everybody, all others are restarted before: only their pools
// know.
func olderPool(everybody bool) injection {
	return func(x *chaos, ctx context.Context, f *ChaosFault) (bool, error) {
		a, index := x.some(1)[0], x.rng.IntN(2) == 0
		f.says("node %d, index lost %v, all restarted %v", a, index, everybody)
		f.comesBack(a, "full")
		copied := filepath.Join(x.files, "older-pool")
		defer os.RemoveAll(copied)
		if err := x.copyLive(ctx, a, copied); err != nil {
			return false, err
		}
		x.measureFromHere()
		x.fell(a)
		if err := x.awaitRemembered(ctx, a); err != nil {
			return false, err
		}
		if everybody {
			x.fell(x.others(a)...)
		}
		if err := x.losePool(a, index); err != nil {
			return false, err
		}
		return true, copyDir(x.absolute(a, x.c.Configs[a].PoolDir), copied)
	}
}

func (x *chaos) others(a int) (l []int) {
	for _, i := range x.k.all() {
		if i != a {
			l = append(l, i)
		}
	}
	return l
}

// mustRefuse starts a node that must not start, and wants its reason in its log.
func (x *chaos) mustRefuse(ctx context.Context, a int, why string) error {
	before, err := os.ReadFile(x.c.LogPath(a))
	if err != nil {
		return err
	}
	if err := x.start(a); err != nil {
		return err
	}
	p := x.k.procs[a]
	x.felled[p] = true
	wait, cancel := context.WithTimeout(ctx, eventPatience)
	defer cancel()
	select {
	case <-p.ended:
	case <-wait.Done():
		return fmt.Errorf("node %d runs with files of another node: %w", a, wait.Err())
	}
	log, err := os.ReadFile(x.c.LogPath(a))
	if err != nil {
		return err
	}
	if log = bytes.TrimPrefix(log, before); p.cmd.ProcessState.Success() || !strings.Contains(string(log), why) {
		return fmt.Errorf("node %d was to refuse files of another node with %q, and ended with %v: %.400s", a, why, p.cmd.ProcessState, log)
	}
	return nil
}

// swapped puts a node's own file or directory aside, and what is at other in its
// place; back ends that.
func swapped(own, other string, put func(to, from string) error) (back func() error, err error) {
	aside := own + ".aside"
	if err := os.Rename(own, aside); err != nil {
		return nil, err
	}
	if err := put(own, other); err != nil {
		return nil, err
	}
	return func() error {
		if err := os.RemoveAll(own); err != nil {
			return err
		}
		return os.Rename(aside, own)
	}, nil
}

func (x *chaos) foreignPool(ctx context.Context, f *ChaosFault) (bool, error) {
	n := x.some(2)
	f.says("node %d finds the pool of node %d", n[0], n[1])
	pool := func(i int) string { return x.absolute(i, x.c.Configs[i].PoolDir) }
	return x.foreign(ctx, f, n[0], pool(n[0]), pool(n[1]), copyDir, "pool belongs to somebody else")
}

func (x *chaos) foreignAcceptor(ctx context.Context, f *ChaosFault) (bool, error) {
	n := x.some(2)
	f.says("node %d finds the acceptor's file of node %d", n[0], n[1])
	return x.foreign(ctx, f, n[0], x.acceptor(n[0]), x.acceptor(n[1]), copyFile, "acceptor state of another cluster or node")
}

func (x *chaos) foreign(ctx context.Context, f *ChaosFault, a int, own, other string, put func(to, from string) error, why string) (bool, error) {
	f.comesBack(a, "heal")
	x.fell(a)
	if err := x.awaitRemoved(ctx, a); err != nil {
		return false, err
	}
	back, err := swapped(own, other, put)
	if err != nil {
		return false, err
	}
	if err := x.mustRefuse(ctx, a, why); err != nil {
		return false, err
	}
	return true, back()
}

// acceptor is the file of a node's votes.
func (x *chaos) acceptor(a int) string {
	return filepath.Join(x.absolute(a, x.c.Configs[a].StateDir), "acceptor")
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// olderAcceptor brings a copy of the acceptor's file back from before the node's
// last way back (H32).
func (x *chaos) olderAcceptor(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("node %d", a)
	x.fell(a)
	copied := filepath.Join(x.files, "older-acceptor")
	if err := copyFile(copied, x.acceptor(a)); err != nil {
		return false, err
	}
	if err := x.calm(ctx, nil); err != nil {
		return false, err
	}
	x.measureFromHere()
	x.fell(a)
	if err := x.awaitRemoved(ctx, a); err != nil {
		return false, err
	}
	if err := copyFile(x.acceptor(a), copied); err != nil {
		return false, err
	}
	return true, x.votesAgain(ctx, a)
}

// lostAcceptor loses the acceptor's file, and the operator makes it anew: with a
// pool that is thrown away, as the node's own is there.
func (x *chaos) lostAcceptor(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	f.says("node %d", a)
	x.fell(a)
	if err := os.Remove(x.acceptor(a)); err != nil {
		return false, err
	}
	args := []string{"format", "--config", x.c.ConfigPath(a)}
	for flag, dir := range map[string]string{"--pool-dir": x.c.Configs[a].PoolDir, "--index-dir": x.c.Configs[a].IndexDir} {
		thrown := x.absolute(a, dir) + "-thrown-away"
		defer os.RemoveAll(thrown)
		args = append(args, flag, thrown)
	}
	if err := x.program(ctx, args...); err != nil {
		return false, err
	}
	return true, x.votesAgain(ctx, a)
}

// votesAgain starts a node whose acceptor has forgotten: it must say so, and vote
// in the end.
func (x *chaos) votesAgain(ctx context.Context, a int) error {
	if err := x.start(a); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, eventPatience)
	defer cancel()
	for {
		s, err := x.k.status(wait, a)
		m, _ := s.Membership.(map[string]any)
		found := happened(s, "older_acceptor")
		if err == nil && found && m["voting"] == true && m["acceptor"] == nil && m["stopped"] == nil {
			return nil
		}
		if sleep(wait, 10*time.Millisecond) != nil {
			return fmt.Errorf("node %d came back with an older acceptor's file; found %v, votes %v, %v %v: %w", a, found, m["voting"], m["acceptor"], m["stopped"], wait.Err())
		}
	}
}
