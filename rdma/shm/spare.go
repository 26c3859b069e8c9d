package shm

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
)

// A spare is the file of a ring that is made while nobody waits for it, for a
// life that has no number yet: its pages take milliseconds, many of them where a
// virtual machine's host has to find them. A life that serves leaves one behind
// for the next, should its process be killed. It is zero until a life gives it
// its identity and its name, and only then do peers see it.

var errNoSpare = errors.New("shm: no spare")

// spareMost: nobody keeps a larger one, since it is memory that is held twice.
const spareMost = 64 << 20

func spareName(node, shard int) string { return fmt.Sprintf("spare-n%d-s%d", node, shard) }

// Spare makes the spare of a shard's ring unless it is there, as far as that
// goes: without one the ring is made when it is needed. One process of the node
// at a time.
func (d *Dir) Spare(node, shard, ringBytes int) {
	if d.heap != nil || node < 0 || node >= nodesMax || shard < 0 || shard >= shardsMax || ringBytes > spareMost || checkRingBytes(uint64(ringBytes)) != nil {
		return
	}
	name, tmp := spareName(node, shard), tmpPrefix+spareName(node, shard)
	id := identity{kind: kindRing, dataBytes: uint64(ringBytes)}
	if fd, size, err := d.openFile(name, unix.O_RDONLY); err == nil {
		unix.Close(fd)
		if size == id.fileBytes() {
			return
		}
		unix.Unlinkat(d.fd, name, 0)
	}
	fd, err := d.reserve(tmp, id.fileBytes())
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if d.populate(fd, id.fileBytes()) != nil || unix.Renameat(d.fd, tmp, d.fd, name) != nil {
		unix.Unlinkat(d.fd, tmp, 0)
	}
}

// populate makes a file's pages, some at a time: who maps memory meanwhile waits
// for those only.
func (d *Dir) populate(fd int, bytes int64) error {
	mem, err := unix.Mmap(fd, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(mem)
	for rest := mem; len(rest) > 0; rest = rest[min(mapAlign, len(rest)):] {
		if err := unix.Madvise(rest[:min(mapAlign, len(rest))], unix.MADV_POPULATE_WRITE); err != nil {
			return err // a kernel before 5.14: no spares
		}
	}
	return nil
}

// DropSpares removes a node's.
func (d *Dir) DropSpares(node, shards int) {
	if d.heap != nil {
		return
	}
	for i := range shards {
		unix.Unlinkat(d.fd, spareName(node, i), 0)
	}
}

// takeSpare gives the spare for a ring the name tmp and opens it.
func (d *Dir) takeSpare(tmp string, id *identity) (fd int, err error) {
	if id.kind != kindRing {
		return -1, errNoSpare
	}
	unix.Unlinkat(d.fd, tmp, 0)
	if err := unix.Renameat(d.fd, spareName(int(id.node), int(id.shard)), d.fd, tmp); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return -1, errNoSpare
		}
		return -1, err
	}
	fd, size, err := d.openFile(tmp, unix.O_RDWR)
	if err == nil && size != id.fileBytes() && !plant.Is(plant.SpareLength) {
		unix.Close(fd)
		fd, err = -1, errNoSpare
	}
	if err != nil {
		unix.Unlinkat(d.fd, tmp, 0)
	}
	return fd, err
}
