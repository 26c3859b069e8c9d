package pmem

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrInUse means that another process holds the pool.
var ErrInUse = errors.New("pmem: pool is in use")

// fileLock is an flock on a file beside the pool. flock belongs to the open
// file description: it goes when the last descriptor is closed, by a crash
// too, and not, as a POSIX fcntl lock does, when any descriptor of the file
// is. The pool file itself is not locked: its lock would be released only
// after its pages were unmapped, 30 to 200 ms per GiB after a kill.
type fileLock struct{ file *os.File }

// lockFile takes the lock at path or fails with ErrInUse naming the holder.
func lockFile(path string) (fileLock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fileLock{}, fmt.Errorf("pmem: lock file: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			holder := make([]byte, 32)
			n, _ := f.ReadAt(holder, 0)
			_ = f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				pid := "unknown pid"
				if p := bytes.TrimSpace(holder[:n]); len(p) > 0 {
					pid = "pid " + string(p)
				}
				return fileLock{}, fmt.Errorf("%w: %s is held by %s; stop that process first", ErrInUse, path, pid)
			}
			return fileLock{}, fmt.Errorf("pmem: locking %s: %w", path, err)
		}
		// Somebody may have removed the file between our open and our lock.
		// Then the name belongs to another file, and this lock protects nothing.
		mine, err1 := f.Stat()
		named, err2 := os.Stat(path)
		if err1 != nil || err2 != nil || !os.SameFile(mine, named) {
			_ = f.Close()
			continue
		}
		if err := f.Truncate(0); err == nil {
			_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // only for the other's message
		}
		return fileLock{f}, nil
	}
}

// release gives the lock up and leaves the file for the next holder.
func (l *fileLock) release() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// remove deletes the file while the lock is still held, then releases.
func (l *fileLock) remove() {
	if l.file != nil {
		_ = os.Remove(l.file.Name())
		_ = l.release()
	}
}
