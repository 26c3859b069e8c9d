package membership

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/membership/register"
)

// The acceptor's file: two slots, written in turns, each with its own
// checksum and flushed with fdatasync before the next is touched. A write cut
// off by a crash leaves the other slot, whose answer was the last one given.
// Nothing is allocated after the file was made, so a flush needs no journal.
//
// Slot: magic (8) | turn (8) | length (4) | CRC-32C of turn, length and
// payload (4) | payload: JSON of fileJSON. Little-endian.
const (
	stateFile  = "acceptor"
	stateMagic = "HEALACC1" // a new layout takes a new name
	slotBytes  = 4096
	slotHead   = 24
)

var (
	ErrNoState  = errors.New("membership: no acceptor state")
	ErrForeign  = errors.New("membership: acceptor state of another cluster or node")
	ErrDamaged  = errors.New("membership: acceptor state damaged")
	ErrVolatile = errors.New("membership: state directory does not survive a reboot")
	ErrInUse    = errors.New("membership: acceptor state in use by another process")
)

type fileJSON struct {
	Cluster string       `json:"cluster"`
	Node    proto.NodeID `json:"node"`
	stateJSON
	// Turns is the highest turn heard of each other acceptor.
	Turns [proto.NodesMax]uint64 `json:"turns,omitzero"`
	// Older: it was found to be an older copy, and must not vote for now.
	Older bool `json:"older,omitempty"`
}

// Storage holds the bytes of an acceptor's file: 2 * 4096 of them, and they
// need not be there before they were written.
type Storage interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when everything written before survives a loss of power.
	Sync() error
	Close() error
}

// osFile is the Storage of a running node.
type osFile struct{ *os.File }

// Sync leaves times of access and change aside: nothing is allocated any more.
func (f osFile) Sync() error { return unix.Fdatasync(int(f.Fd())) }

type acceptorFile struct {
	f       Storage
	cluster string
	node    proto.NodeID
	turn    uint64
	turns   [proto.NodesMax]uint64
	older   bool
	failed  error // a write failed: nothing is written until the file is mended
}

// FormatState makes the acceptor file of a new cluster's node in dir, which
// must be on a file system that survives a reboot unless ephemeral. It never
// overwrites: a node whose file is made anew has forgotten its votes, and may
// vote against them.
func FormatState(dir, cluster string, node proto.NodeID, ephemeral bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("membership: state directory: %w", err)
	}
	if err := survivesReboot(dir, ephemeral); err != nil {
		return err
	}
	path := filepath.Join(dir, stateFile)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("membership: %s is there already (%v): remove the old node's directory first, if its cluster is given up", path, err)
	}
	f, err := os.CreateTemp(dir, stateFile+".new-*")
	if err != nil {
		return fmt.Errorf("membership: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := FormatStorage(osFile{f}, cluster, node); err != nil {
		return err
	}
	if err := f.Sync(); err != nil { // of its length, too
		return fmt.Errorf("membership: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike rename, it never replaces
		return fmt.Errorf("membership: %w", err)
	}
	return syncDir(dir)
}

// FormatStorage writes the first state of a new cluster's node.
func FormatStorage(f Storage, cluster string, node proto.NodeID) error {
	if _, err := f.WriteAt(make([]byte, 2*slotBytes), 0); err != nil {
		return fmt.Errorf("membership: %w", err)
	}
	a := acceptorFile{f: f, cluster: cluster, node: node}
	return a.write(register.State{})
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("membership: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("membership: flush of %s: %w", dir, err)
	}
	return nil
}

func survivesReboot(dir string, ephemeral bool) error {
	if ephemeral {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("membership: %s: %w", dir, err)
	}
	if st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("%w: %s is in memory: put it on a disk, or declare the cluster ephemeral", ErrVolatile, dir)
	}
	return nil
}

// openState opens the file FormatState made, locks it and reads it.
func openState(dir, cluster string, node proto.NodeID, ephemeral bool) (*acceptorFile, register.State, error) {
	f, err := openFile(dir, ephemeral)
	if err != nil {
		return nil, register.State{}, err
	}
	return loadState(osFile{f}, f.Name(), cluster, node)
}

func openFile(dir string, ephemeral bool) (*os.File, error) {
	path := filepath.Join(dir, stateFile)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing: format makes it for a new cluster; a node that lost it must not vote as if it were new", ErrNoState, path)
	}
	if err != nil {
		return nil, fmt.Errorf("membership: %w", err)
	}
	if err = survivesReboot(dir, ephemeral); err == nil {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			err = fmt.Errorf("%w: %s: %v", ErrInUse, path, err)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// loadState reads what the storage called path holds, and closes it if that
// cannot be used.
func loadState(f Storage, path, cluster string, node proto.NodeID) (*acceptorFile, register.State, error) {
	a := &acceptorFile{f: f, cluster: cluster, node: node}
	st, err := a.load(path)
	if err != nil {
		f.Close()
		return nil, register.State{}, err
	}
	return a, st, nil
}

func (a *acceptorFile) load(path string) (st register.State, err error) {
	b := make([]byte, 2*slotBytes)
	if _, err := a.f.ReadAt(b, 0); err != nil {
		return st, fmt.Errorf("%w: %s: %v", ErrDamaged, path, err)
	}
	var last error
	for i := range 2 {
		turn, j, err := decodeSlot(b[i*slotBytes:][:slotBytes])
		if err != nil {
			last = err
			continue
		}
		if turn <= a.turn || turn%2 != uint64(i) {
			continue
		}
		if j.Cluster != a.cluster || j.Node != a.node {
			return st, fmt.Errorf("%w: %s is of node %d in cluster %.64q, wanted node %d in %.64q", ErrForeign, path, j.Node, j.Cluster, a.node, a.cluster)
		}
		s, err := j.state()
		if err != nil {
			last = err
			continue
		}
		a.turn, a.turns, a.older, st = turn, j.Turns, j.Older, s
	}
	if a.turn == 0 {
		return st, fmt.Errorf("%w: %s: no slot is whole: %v", ErrDamaged, path, last)
	}
	// What a killed process wrote may be in the page cache only (hazard H21);
	// and if its flush had failed, the cache calls clean what the disk does not
	// have. So it is written again, in its place: the other slot may be the only
	// one that is whole on the disk.
	if plant.Is(plant.H21Acceptor) {
		return st, nil
	}
	at := int64(a.turn%2) * slotBytes
	if _, err := a.f.WriteAt(b[at:][:slotBytes], at); err != nil {
		return st, fmt.Errorf("membership: %s: %w", path, err)
	}
	if err := a.f.Sync(); err != nil {
		return st, fmt.Errorf("membership: flush of %s: %w", path, err)
	}
	return st, nil
}

func decodeSlot(b []byte) (turn uint64, j fileJSON, err error) {
	if string(b[:8]) != stateMagic {
		return 0, j, fmt.Errorf("%w: no magic", ErrDamaged)
	}
	turn = binary.LittleEndian.Uint64(b[8:])
	n := binary.LittleEndian.Uint32(b[16:])
	if n > slotBytes-slotHead {
		return 0, j, fmt.Errorf("%w: %d bytes in a slot of %d", ErrDamaged, n, slotBytes)
	}
	payload := b[slotHead:][:n]
	if got, want := slotCRC(b[8:20], payload), binary.LittleEndian.Uint32(b[20:]); got != want && !plant.Is(plant.FileCRC) {
		return 0, j, fmt.Errorf("%w: checksum %08x, computed %08x", ErrDamaged, want, got)
	}
	if err := json.Unmarshal(payload, &j); err != nil {
		return 0, j, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return turn, j, nil
}

func slotCRC(head, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, payload)
}

// write makes st durable. After an error nothing may be answered any more: a
// later flush that succeeds would not prove that this one's bytes arrived. They
// have to be written anew (Service.mend).
func (a *acceptorFile) write(st register.State) error {
	if a.failed != nil {
		return a.failed
	}
	payload, err := json.Marshal(fileJSON{a.cluster, a.node, toJSON(st), a.turns, a.older})
	if err == nil && len(payload) > slotBytes-slotHead {
		err = fmt.Errorf("state of %d bytes, limit %d", len(payload), slotBytes-slotHead)
	}
	if err == nil {
		var b [slotBytes]byte
		copy(b[:], stateMagic)
		turn := a.turn + 1
		binary.LittleEndian.PutUint64(b[8:], turn)
		binary.LittleEndian.PutUint32(b[16:], uint32(len(payload)))
		binary.LittleEndian.PutUint32(b[20:], slotCRC(b[8:20], payload))
		copy(b[slotHead:], payload)
		if _, err = a.f.WriteAt(b[:], int64(turn%2)*slotBytes); err == nil {
			if err = a.f.Sync(); err == nil {
				a.turn = turn
			}
		}
	}
	if err != nil {
		a.failed = fmt.Errorf("membership: acceptor state not durable, this node votes no more until it is: %w", err)
	}
	return a.failed
}

// past makes the next turn a higher one than n. It goes to the same slot as it
// would have: the other one has the present state.
func (a *acceptorFile) past(n uint64) {
	if a.turn < n {
		a.turn += (n - a.turn + 1) &^ 1
	}
}

func (a *acceptorFile) close() error { return a.f.Close() }
