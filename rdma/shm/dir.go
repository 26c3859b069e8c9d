package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrDir is a run directory that cannot be used safely.
var ErrDir = errors.New("shm: run directory")

// Dir is a run directory. Any goroutine. It must be open for as long as its
// endpoints are.
type Dir struct {
	path string
	fd   int
	heap *heapDir // in place of the directory, if not nil
}

// Open opens a run directory. It must belong to this process's user and be
// closed to everybody else (mode 0700); it should be on tmpfs.
func Open(path string) (*Dir, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w; it must be a directory and no link", ErrDir, path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%w %s: %w", ErrDir, path, err)
	}
	if uid := os.Geteuid(); int(st.Uid) != uid {
		unix.Close(fd)
		return nil, fmt.Errorf("%w %s: belongs to user %d, this process is user %d; give every cluster a directory of its own user", ErrDir, path, st.Uid, uid)
	}
	if mode := st.Mode & 0o777; mode != 0o700 {
		unix.Close(fd)
		return nil, fmt.Errorf("%w %s: mode %#o, want 0700; chmod 0700 it after checking who has been in it", ErrDir, path, mode)
	}
	return &Dir{path: path, fd: fd}, nil
}

// Heap is a run directory in the Go heap of this process. The race detector
// does not see mapped memory; it sees this. Endpoints over it behave the same.
func Heap() *Dir {
	return &Dir{path: "heap", fd: -1, heap: &heapDir{files: map[string][]byte{}, exposed: map[string][]byte{}, held: map[string]bool{}}}
}

func (d *Dir) Path() string { return d.path }

// OnTmpfs reports whether the directory's files stay in memory. Elsewhere
// everything works too, but the kernel writes the rings back to a disk.
func (d *Dir) OnTmpfs() bool {
	var st unix.Statfs_t
	return d.heap != nil || unix.Fstatfs(d.fd, &st) == nil && st.Type == unix.TMPFS_MAGIC
}

// Close gives the directory back; endpoints over it must be closed.
func (d *Dir) Close() error {
	if d.heap != nil {
		return nil
	}
	return unix.Close(d.fd)
}

// heapDir stands in for the file system. Removing a file does not take it from
// those who have it open.
type heapDir struct {
	mu      sync.Mutex
	files   map[string][]byte
	exposed map[string][]byte // what ExposeHeap was given, by name
	held    map[string]bool   // liveness: true while held, false after
}

// mappings counts what is mapped; tests want it back at zero.
var mappings atomic.Int64

// mapping is one mapped file.
type mapping struct {
	mem    []byte
	heap   bool
	filled chan struct{} // closed when its pages are there; nil: they were from the beginning
}

func (m *mapping) close() error {
	if m == nil || m.mem == nil {
		return nil
	}
	mem := m.mem
	m.mem = nil
	mappings.Add(-1)
	if m.heap {
		return nil
	}
	if m.filled != nil {
		<-m.filled
	}
	return unix.Munmap(mem)
}

// fill makes the pages of a large file that was reserved, beside the caller:
// that is milliseconds, and whoever writes to one before it is there waits for
// that one only.
func (m *mapping) fill() {
	m.filled = make(chan struct{})
	mem, filled := m.mem, m.filled
	go func() {
		defer close(filled)
		unix.Madvise(mem, unix.MADV_POPULATE_WRITE) // a kernel without it makes them one by one
	}()
}

// fillBeside is from which length on pages are made beside the caller.
const fillBeside = 1 << 20

// create makes a file with its identity in the first line, reserves and maps it,
// with all pages present or on their way (fill), and only then gives it its name.
func (d *Dir) create(name string, id identity) (*mapping, error) {
	if d.heap != nil {
		d.heap.mu.Lock()
		defer d.heap.mu.Unlock()
		if _, there := d.heap.files[name]; there {
			return nil, fmt.Errorf("shm: create %s: %w", name, fs.ErrExist)
		}
		mem := alignedBytes(id.fileBytes())
		id.encode(mem)
		d.heap.files[name] = mem
		mappings.Add(1)
		return &mapping{mem: mem, heap: true}, nil
	}
	tmp := tmpPrefix + name
	fd, err := d.takeSpare(tmp, &id)
	if err != nil {
		fd, err = d.reserve(tmp, id.fileBytes())
	}
	if err != nil {
		return nil, fmt.Errorf("shm: create %s in %s: %w", name, d.path, err)
	}
	defer unix.Close(fd)
	flags, large := unix.MAP_SHARED, id.fileBytes() >= fillBeside
	if !large {
		flags |= unix.MAP_POPULATE
	}
	mem, err := unix.Mmap(fd, 0, int(id.fileBytes()), unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		unix.Unlinkat(d.fd, tmp, 0)
		return nil, fmt.Errorf("shm: map %s in %s: %w", name, d.path, err)
	}
	id.encode(mem)
	if err := unix.Renameat2(d.fd, tmp, d.fd, name, unix.RENAME_NOREPLACE); err != nil {
		unix.Munmap(mem)
		unix.Unlinkat(d.fd, tmp, 0)
		return nil, fmt.Errorf("shm: name %s in %s: %w", name, d.path, err)
	}
	mappings.Add(1)
	m := &mapping{mem: mem}
	if large {
		m.fill()
	}
	return m, nil
}

// reserve makes a file of so many bytes under a name that is not final yet.
func (d *Dir) reserve(tmp string, bytes int64) (fd int, err error) {
	if fd, err = d.createTmp(tmp); err != nil {
		return -1, err
	}
	// The length first: a tmpfs of huge pages goes by it. Without the reservation a
	// full tmpfs would show as a fault at the first write.
	if err = unix.Ftruncate(fd, bytes); err == nil {
		err = unix.Fallocate(fd, 0, 0, bytes)
	}
	if err != nil {
		unix.Close(fd)
		unix.Unlinkat(d.fd, tmp, 0)
		return -1, fmt.Errorf("reserve %d bytes: %w", bytes, err)
	}
	return fd, nil
}

// createTmp makes an empty file under a name that is not final yet. One that
// is there is left over from a crash of this same life's start, or somebody
// else is at it, which the naming will tell.
func (d *Dir) createTmp(tmp string) (fd int, err error) {
	unix.Unlinkat(d.fd, tmp, 0)
	return unix.Openat(d.fd, tmp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
}

// openFile opens a file and checks that it is a regular one of this user,
// closed to others.
func (d *Dir) openFile(name string, flags int) (fd int, size int64, err error) {
	fd, err = unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, 0, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil {
		switch {
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			err = fmt.Errorf("%w: %s is no regular file", ErrFile, name)
		case int(st.Uid) != os.Geteuid():
			err = fmt.Errorf("%w: %s belongs to user %d", ErrFile, name, st.Uid)
		case st.Mode&0o077 != 0:
			err = fmt.Errorf("%w: %s has mode %#o, want 0600", ErrFile, name, st.Mode&0o777)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	return fd, st.Size, nil
}

// open maps a file of the given identity; its dataBytes are filled in. The
// first line is read, not mapped, so a short file is an error and no fault.
func (d *Dir) open(name string, id *identity, writable bool) (*mapping, error) {
	if d.heap != nil {
		d.heap.mu.Lock()
		mem, there := d.heap.files[name]
		d.heap.mu.Unlock()
		if !there {
			return nil, fmt.Errorf("shm: open %s: %w", name, fs.ErrNotExist)
		}
		if err := id.match(mem, int64(len(mem))); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		mappings.Add(1)
		return &mapping{mem: mem, heap: true}, nil
	}
	flags, prot := unix.O_RDONLY, unix.PROT_READ
	if writable {
		flags, prot = unix.O_RDWR, unix.PROT_READ|unix.PROT_WRITE
	}
	fd, size, err := d.openFile(name, flags)
	if err != nil {
		return nil, fmt.Errorf("shm: open %s in %s: %w", name, d.path, err)
	}
	defer unix.Close(fd)
	var line [lineBytes]byte
	n, err := unix.Pread(fd, line[:], 0)
	if err != nil {
		return nil, fmt.Errorf("shm: read %s in %s: %w", name, d.path, err)
	}
	if err := id.match(line[:n], size); err != nil {
		return nil, fmt.Errorf("%s in %s: %w", name, d.path, err)
	}
	mem, err := unix.Mmap(fd, 0, int(size), prot, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("shm: map %s in %s: %w", name, d.path, err)
	}
	mappings.Add(1)
	return &mapping{mem: mem}, nil
}

// match checks a first line against whose file it must be.
func (id *identity) match(line []byte, size int64) error {
	got, err := decodeIdentity(line, size)
	if err != nil {
		return err
	}
	id.dataBytes = got.dataBytes
	if got != *id {
		return fmt.Errorf("%w: says it is %+v, want %+v", ErrFile, got, *id)
	}
	return nil
}

func (d *Dir) remove(name string) error {
	if d.heap != nil {
		d.heap.mu.Lock()
		defer d.heap.mu.Unlock()
		delete(d.heap.files, name)
		delete(d.heap.exposed, name)
		delete(d.heap.held, name)
		return nil
	}
	if err := unix.Unlinkat(d.fd, name, 0); err != nil && err != unix.ENOENT {
		return fmt.Errorf("shm: remove %s in %s: %w", name, d.path, err)
	}
	return nil
}

// list names all files, in order.
func (d *Dir) list() ([]string, error) {
	var names []string
	if d.heap != nil {
		d.heap.mu.Lock()
		defer d.heap.mu.Unlock()
		for n := range d.heap.files {
			names = append(names, n)
		}
		for n := range d.heap.exposed {
			names = append(names, n)
		}
		for n := range d.heap.held {
			names = append(names, n)
		}
	} else {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", d.fd))
		if err != nil {
			return nil, fmt.Errorf("shm: list %s: %w", d.path, err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}
