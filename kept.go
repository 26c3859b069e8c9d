package healkv

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"syscall"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/membership"
)

// A life that serves has the register hand out the number of the next one while
// nobody waits for it, and leaves it in the run directory: of the two rounds
// that a number takes, each with a flush at every acceptor, the next life needs
// the first only, which tells it whether the number is still good and leaves it
// the lead for its admission.
//
// A number is used once. Whoever starts takes the file away before it asks for
// anything, so no life that has asked the register leaves an older one behind;
// it names its own inode, so a copy that is put back is none; the register must
// have handed out nothing since; and no life of that number may have held its
// lock in this directory (HoldLiveness). The directory is on tmpfs: a reboot
// takes the number away, and a backup of the state directory does not have it.

// keptMagic stands at the head of the file; a new layout takes a new one.
const keptMagic = "HEALNXT1"

// kept: magic (8) | cluster (16) | node (4) | number (4) | inode (8) | CRC-32C
// of all that (4). Little-endian.
const keptBytes = 44

func (n *Node) keptPath() string {
	return filepath.Join(n.cfg.RunDir, fmt.Sprintf("next-n%d", n.cfg.Node))
}

// keepNumber leaves the next life a number, as far as that goes.
func (n *Node) keepNumber(ctx context.Context) error {
	if n.dir == nil || !n.dir.OnTmpfs() {
		return nil
	}
	inc, err := n.members.NextIncarnation(ctx)
	if err != nil {
		return err
	}
	path := n.keptPath()
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("healkv: number of the next life: %w", err)
	}
	b, err := n.kept(f, inc)
	if err == nil {
		_, err = f.Write(b)
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp) // of no use to anybody
		return fmt.Errorf("healkv: number of the next life: %w", err)
	}
	return nil
}

// kept is what the file f holds for a number.
func (n *Node) kept(f *os.File, inc proto.Incarnation) ([]byte, error) {
	id, err := n.cfg.cluster()
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	inode := uint64(0)
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	b := make([]byte, 0, keptBytes)
	b = append(append(b, keptMagic...), id[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(n.cfg.Node))
	b = binary.LittleEndian.AppendUint32(b, uint32(inc))
	b = binary.LittleEndian.AppendUint64(b, inode)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))), nil
}

// takeNumber takes the kept number away; 0: there is none. The one process of
// the node that has its acceptor's file calls it.
func (n *Node) takeNumber() proto.Incarnation {
	if n.dir == nil {
		return 0
	}
	path := n.keptPath()
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	if !plant.Is(plant.KeptTwice) && os.Remove(path) != nil {
		return 0
	}
	var b [keptBytes + 1]byte
	if got, _ := f.Read(b[:]); got != keptBytes {
		return 0
	}
	inc := proto.Incarnation(binary.LittleEndian.Uint32(b[28:]))
	if want, err := n.kept(f, inc); err != nil || string(want) != string(b[:keptBytes]) && !plant.Is(plant.KeptCopied) {
		return 0
	}
	return inc
}

// firstNumber is the number of the first life of this process: the kept one, if
// a majority says that it was the last to be handed out and that no view had
// it, or else a new one.
func (n *Node) firstNumber(ctx context.Context, kept proto.Incarnation) (proto.Incarnation, error) {
	if kept != 0 {
		v, err := n.members.Update(ctx, func(*proto.View) error { return membership.ErrNoChange })
		if err != nil {
			return 0, err
		}
		if me := n.cfg.Node; v.Issued[me] == kept && v.Incarnation[me] < kept || plant.Is(plant.KeptPassed) {
			return kept, nil
		}
	}
	return n.members.NextIncarnation(ctx)
}
