package shm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"healkv/rdma"
	"healkv/rdma/gather"
)

// ErrExposed is what a peer says of its exposed memory and what cannot be.
var ErrExposed = errors.New("shm: descriptor of exposed memory")

// descriptorMax bounds the descriptor file: a path and two numbers.
const descriptorMax = 8 << 10

// exposed is rdma.Exposed as the descriptor file says it: where the memory
// lies that a node lets its peers read.
type exposed struct {
	Path string `json:"path"` // absolute; a file of the same user
	Base int64  `json:"base"` // bytes from the file's start
	Size int64  `json:"size"` // bytes, more than 0
}

func (x *exposed) validate() error {
	switch {
	case !filepath.IsAbs(x.Path) || filepath.Clean(x.Path) != x.Path:
		return fmt.Errorf("%w: path %q, want an absolute and clean one", ErrExposed, x.Path)
	case x.Base < 0 || x.Size <= 0 || x.Base > math.MaxInt64-x.Size:
		return fmt.Errorf("%w: %d bytes at %d", ErrExposed, x.Size, x.Base)
	}
	return nil
}

func (x *exposed) encode() ([]byte, error) {
	b, err := json.Marshal(x)
	if err == nil && len(b) >= descriptorMax {
		err = fmt.Errorf("%w: %d bytes, at most %d", ErrExposed, len(b), descriptorMax-1)
	}
	return append(b, '\n'), err
}

// decodeExposed reads a descriptor; whatever passes can be mapped or refused,
// and cannot name anything but a range of one file.
func decodeExposed(b []byte) (x exposed, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&x); err != nil {
		return x, fmt.Errorf("%w: %w", ErrExposed, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return x, fmt.Errorf("%w: more than one value", ErrExposed)
	}
	return x, x.validate()
}

// Expose lets peers of this life's shard read a range of a file, typically of
// its pool. Again: replaces what was exposed before, for those who open it
// from now on. Any goroutine.
func (e *Endpoint) Expose(of rdma.Exposed) error {
	x := exposed{of.Path, of.Base, of.Size}
	if e.closed.Load() {
		return rdma.ErrClosed
	}
	if e.dir.heap != nil {
		return fmt.Errorf("%w: a heap directory has no paths; use ExposeHeap", ErrExposed)
	}
	if err := x.validate(); err != nil {
		return err
	}
	b, err := x.encode()
	if err != nil {
		return err
	}
	name := e.name(extPool)
	tmp := tmpPrefix + name
	fd, err := e.dir.createTmp(tmp)
	if err != nil {
		return fmt.Errorf("shm: create %s in %s: %w", name, e.dir.path, err)
	}
	defer unix.Close(fd)
	if n, err := unix.Write(fd, b); err != nil || n != len(b) {
		unix.Unlinkat(e.dir.fd, tmp, 0)
		return fmt.Errorf("shm: write %s in %s: %d of %d bytes: %w", name, e.dir.path, n, len(b), errors.Join(err, io.ErrShortWrite))
	}
	if err := unix.Renameat(e.dir.fd, tmp, e.dir.fd, name); err != nil {
		unix.Unlinkat(e.dir.fd, tmp, 0)
		return fmt.Errorf("shm: name %s in %s: %w", name, e.dir.path, err)
	}
	return nil
}

// ExposeHeap is Expose for a heap directory: the memory itself. What a peer
// reads may be torn, and the race detector is told so.
func (e *Endpoint) ExposeHeap(mem []byte) error {
	h := e.dir.heap
	if h == nil {
		return fmt.Errorf("%w: not a heap directory; use Expose", ErrExposed)
	}
	if len(mem) == 0 {
		return fmt.Errorf("%w: no bytes", ErrExposed)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.exposed[e.name(extPool)] = mem
	return nil
}

// remote is rdma.Remote over a read-only mapping of the peer's file.
type remote struct {
	mem   *mapping
	view  []byte // the exposed range within mem
	bytes atomic.Uint64
}

// Remote maps what the peer exposes. ErrNoPeer if that life exposes nothing
// (yet, or any more); ErrExposed or ErrFile if what it says cannot be. Any
// goroutine.
func (e *Endpoint) Remote(peer int, incarnation uint32) (rdma.Remote, error) {
	if e.closed.Load() {
		return nil, rdma.ErrClosed
	}
	if err := e.checkPeer(peer, incarnation); err != nil {
		return nil, err
	}
	name := shardName(peer, incarnation, e.cfg.Shard, extPool)
	if h := e.dir.heap; h != nil {
		h.mu.Lock()
		mem := h.exposed[name]
		h.mu.Unlock()
		if mem == nil {
			return nil, fmt.Errorf("%w: %s exposes nothing", rdma.ErrNoPeer, name)
		}
		mappings.Add(1)
		return &remote{mem: &mapping{mem: mem, heap: true}, view: mem}, nil
	}
	x, err := e.dir.readExposed(name)
	if err != nil {
		return nil, noPeer(err)
	}
	r, err := mapExposed(&x)
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w", name, e.dir.path, err)
	}
	return r, nil
}

func (d *Dir) readExposed(name string) (exposed, error) {
	fd, size, err := d.openFile(name, unix.O_RDONLY)
	if err != nil {
		return exposed{}, fmt.Errorf("shm: open %s in %s: %w", name, d.path, err)
	}
	defer unix.Close(fd)
	if size > descriptorMax {
		return exposed{}, fmt.Errorf("%w: %s in %s has %d bytes, at most %d", ErrExposed, name, d.path, size, descriptorMax)
	}
	b := make([]byte, size)
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		return exposed{}, fmt.Errorf("shm: read %s in %s: %w", name, d.path, err)
	}
	x, err := decodeExposed(b[:n])
	if err != nil {
		err = fmt.Errorf("%s in %s: %w", name, d.path, err)
	}
	return x, err
}

func mapExposed(x *exposed) (*remote, error) {
	fd, err := unix.Open(x.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("shm: open exposed %s: %w", x.Path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("shm: stat exposed %s: %w", x.Path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != unix.Geteuid() {
		return nil, fmt.Errorf("%w: %s is no regular file of this user", ErrExposed, x.Path)
	}
	if x.Base+x.Size > st.Size {
		return nil, fmt.Errorf("%w: %d bytes at %d of %s, which has %d", ErrExposed, x.Size, x.Base, x.Path, st.Size)
	}
	start := x.Base &^ (mapAlign - 1)
	length := (x.Base - start + x.Size + mapAlign - 1) &^ (mapAlign - 1)
	mem, err := unix.Mmap(fd, start, int(length), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("shm: map exposed %s: %w", x.Path, err)
	}
	mappings.Add(1)
	return &remote{mem: &mapping{mem: mem}, view: mem[x.Base-start:][:x.Size:x.Size]}, nil
}

// mapAlign is what a mapping's two ends are rounded to: a huge page, as files
// on hugetlbfs want it. What lies beyond the file is never touched.
const mapAlign = 2 << 20

func (r *remote) Size() int64       { return int64(len(r.view)) }
func (r *remote) BytesRead() uint64 { return r.bytes.Load() }

// ReadAt copies: Gather of one range. Not after Close.
func (r *remote) ReadAt(dst []byte, off int64) (int, error) {
	if err := r.Gather(dst, []rdma.Range{{Off: off, Len: len(dst)}}); err != nil {
		return 0, err
	}
	return len(dst), nil
}

// Gather copies. ErrRange outside the exposed memory, gather.ErrFault if the
// peer's file has lost the page; the bytes may be torn. Not after Close.
func (r *remote) Gather(dst []byte, ranges []rdma.Range) error {
	if r.view == nil {
		return rdma.ErrClosed
	}
	if err := gather.Check(len(dst), ranges, r.Size()); err != nil {
		return err
	}
	if err := gather.Copy(dst, r.view, ranges); err != nil {
		return fmt.Errorf("%w: %d bytes in %d ranges", err, len(dst), len(ranges))
	}
	r.bytes.Add(uint64(len(dst)))
	return nil
}

func (r *remote) Close() error {
	r.view = nil
	return r.mem.close()
}
