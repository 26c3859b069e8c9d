package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockName     = "cluster.lock" // in D: one supervisor, or one that makes or removes D
	nodeLockName = "process.lock" // in state_dir: one process per node
)

// Lock is an flock with the holder's pid in the file. It ends with the process
// however that ends.
type Lock struct{ file *os.File }

// take locks path, waiting up to patience for a holder to go away: the kernel
// releases the lock of a killed process only after it has taken its memory
// apart, 30 to 200 ms per GiB of small pages.
func take(path, what string, patience time.Duration) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	deadline := time.Now().Add(patience)
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			holder := holderOf(f)
			_ = f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("%s: %w (process %s holds %s)", what, ErrRunning, holder, path)
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	// Over what is there, and all of it: a truncation has the file system wait for its
	// journal, up to 6 ms where others flush.
	_, err = f.WriteAt(fmt.Appendf(nil, "%-*d\n", holderBytes-1, os.Getpid()), 0)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{f}, nil
}

// holderBytes is the length of the file.
const holderBytes = 16

func holderOf(f *os.File) string {
	var pid [holderBytes]byte
	n, _ := f.ReadAt(pid[:], 0)
	if text := strings.TrimSpace(string(pid[:n])); text != "" {
		return text
	}
	return "unknown"
}

// Release gives the lock up. The file stays: removing it would let two
// processes hold locks on two files of one name.
func (l *Lock) Release() {
	if l != nil && l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

// LockNode makes this process the only one of the node whose state directory
// is given.
func LockNode(stateDir string, node int, patience time.Duration) (*Lock, error) {
	return take(filepath.Join(stateDir, nodeLockName), fmt.Sprintf("node %d", node), patience)
}

// Running names the nodes of the cluster that some process runs, by pid.
func (c *Cluster) Running() map[int]string {
	held := map[int]string{}
	for i := range c.Nodes {
		if pid, ok := RunsIn(filepath.Join(c.NodeDir(i), "state")); ok {
			held[i] = pid
		}
	}
	return held
}

// RunsIn tells whether a process runs the node with that state directory, and
// which.
func RunsIn(stateDir string) (pid string, runs bool) {
	return heldBy(filepath.Join(stateDir, nodeLockName))
}

// Supervisor is the pid of the `node cluster` that runs this cluster; "" if
// none does.
func (c *Cluster) Supervisor() string {
	pid, _ := heldBy(filepath.Join(c.Dir, lockName))
	return pid
}

// heldBy tells who holds a lock.
func heldBy(path string) (pid string, held bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false // never taken
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return holderOf(f), true
	}
	return "", false
}
