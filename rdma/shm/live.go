package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
)

// Liveness is the lock that a life of a node holds for as long as its process
// lives. The kernel lets go of it after it has unmapped the dead process's
// memory, so a life that is proven dead stores nothing any more.
type Liveness struct {
	dir  *Dir
	name string
	fd   int
	once sync.Once
}

// HoldLiveness takes the lock of a life, once per life; fs.ErrExist if that
// life holds or has held it. Take it before the first endpoint is made.
func (d *Dir) HoldLiveness(node int, incarnation uint32) (*Liveness, error) {
	if node < 0 || node >= nodesMax || incarnation == 0 {
		return nil, fmt.Errorf("%w: liveness of node %d, incarnation %d", ErrConfig, node, incarnation)
	}
	l := &Liveness{dir: d, name: liveName(node, incarnation), fd: -1}
	if d.heap != nil {
		d.heap.mu.Lock()
		defer d.heap.mu.Unlock()
		if _, there := d.heap.held[l.name]; there {
			return nil, fmt.Errorf("shm: create %s: %w", l.name, fs.ErrExist)
		}
		d.heap.held[l.name] = true
		return l, nil
	}
	tmp := tmpPrefix + l.name
	fd, err := d.createTmp(tmp)
	if err != nil {
		return nil, fmt.Errorf("shm: create %s in %s: %w", l.name, d.path, err)
	}
	// Locked before it is named: who finds the file unlocked knows that the
	// holder is gone.
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		unix.Unlinkat(d.fd, tmp, 0)
		return nil, fmt.Errorf("shm: lock %s in %s: %w", l.name, d.path, err)
	}
	if err := unix.Renameat2(d.fd, tmp, d.fd, l.name, unix.RENAME_NOREPLACE); err != nil {
		unix.Close(fd)
		unix.Unlinkat(d.fd, tmp, 0)
		return nil, fmt.Errorf("shm: name %s in %s: %w", l.name, d.path, err)
	}
	l.fd = fd
	return l, nil
}

// Release ends the life in everybody's eyes, as the end of the process would.
// The file stays, as the proof.
func (l *Liveness) Release() (err error) {
	l.once.Do(func() {
		if h := l.dir.heap; h != nil {
			h.mu.Lock()
			h.held[l.name] = false
			h.mu.Unlock()
			return
		}
		err = unix.Close(l.fd)
	})
	return err
}

// ProvenDead reports whether the process of that life is known to be gone:
// its lock exists and nobody holds it. No such lock proves nothing: false.
func (d *Dir) ProvenDead(node int, incarnation uint32) (bool, error) {
	return d.provenDead(liveName(node, incarnation))
}

func (d *Dir) provenDead(name string) (bool, error) {
	if h := d.heap; h != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		held, there := h.held[name]
		return there && !held, nil
	}
	fd, _, err := d.openFile(name, unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("shm: open %s in %s: %w", name, d.path, err)
	}
	defer unix.Close(fd)
	// Shared, so that two who ask at once do not take each other for the
	// holder.
	switch err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err {
	case nil:
		return true, nil
	case unix.EWOULDBLOCK:
		return false, nil
	default:
		return false, fmt.Errorf("shm: try lock of %s in %s: %w", name, d.path, err)
	}
}

// proofsKept is how many locks Sweep leaves per node, the newest: peers that
// are slow to ask about the life before the present one must still find it.
const proofsKept = 2

// Sweep removes the files of dead lives of all nodes, and tells how many. A
// life is dead if its lock proves it, or if it has no lock and a later life of
// its node has. Any process of the group may call it, at its start for
// instance; mappings of removed files stay valid.
func (d *Dir) Sweep() (removed int, err error) {
	names, err := d.list()
	if err != nil {
		return 0, err
	}
	type life struct {
		node        int
		incarnation uint32
	}
	dead := map[life]bool{}      // of lives with a lock
	var locks [nodesMax][]uint32 // incarnations with a lock
	for _, n := range names {
		node, inc, ext, ok := parseName(n)
		if !ok || ext != extLive || n != liveName(node, inc) {
			continue
		}
		gone, err := d.provenDead(n)
		if err != nil {
			return removed, err
		}
		dead[life{node, inc}] = gone
		locks[node] = append(locks[node], inc)
	}
	later := func(node int, inc uint32) (count int) {
		for _, other := range locks[node] {
			if other > inc {
				count++
			}
		}
		return count
	}
	for _, n := range names {
		node, inc, ext, ok := parseName(n)
		if !ok {
			continue
		}
		gone, hasLock := dead[life{node, inc}]
		if !hasLock {
			gone = later(node, inc) > 0
		}
		if !gone && !plant.Is(plant.ShmSweep) || n == liveName(node, inc) && ext == extLive && later(node, inc) < proofsKept {
			continue
		}
		if err := d.remove(n); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
