package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// An ack file is a page with the header and then one word per key id.
const (
	acksMagic     = 0x31304b4341_4b48 // "HKACK01"
	acksHeadWords = 512
	acksHeadBytes = acksHeadWords * 8

	ackWordMagic = 0
	ackWordKeys  = 1
	ackWordNode  = 2
	ackWordCount = 3 // acknowledged writes, also those that did not raise anything
)

// Acks holds the newest acknowledged timestamp of every key id. A word is raised
// after the acknowledgement was seen and never lowered, so at any moment, also
// when the process is killed, it is at most one that was acknowledged. Any number
// of goroutines may use it.
type Acks struct {
	words []uint64
	unmap func() error
}

// CreateAcks makes the file for keys ids; an existing one is kept and raised
// further, if its size and node agree, since acknowledged stays acknowledged over
// the lives of a process.
func CreateAcks(path string, node int, keys uint64) (*Acks, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record: acks: %w", err)
	}
	defer f.Close()
	size := int64(acksHeadBytes + keys*8)
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("record: acks: %w", err)
	}
	if st.Size() == 0 {
		err = f.Truncate(size)
	} else if st.Size() != size {
		err = fmt.Errorf("%w: %s has %d bytes, %d keys need %d", ErrFormat, path, st.Size(), keys, size)
	}
	if err != nil {
		return nil, fmt.Errorf("record: acks: %w", err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("record: acks: map %s: %w", path, err)
	}
	a := &Acks{words: wordsOf(b), unmap: func() error { return unix.Munmap(b) }}
	if a.words[ackWordMagic] == 0 {
		a.words[ackWordKeys], a.words[ackWordNode] = keys, uint64(node)
		atomic.StoreUint64(&a.words[ackWordMagic], acksMagic)
	}
	if a.words[ackWordMagic] != acksMagic || a.words[ackWordKeys] != keys || a.words[ackWordNode] != uint64(node) {
		return nil, errors.Join(fmt.Errorf("record: acks: %w: %s is not of node %d with %d keys", ErrFormat, path, node, keys), a.Close())
	}
	return a, nil
}

// NewAcks is a table in memory only.
func NewAcks(node int, keys uint64) *Acks {
	a := &Acks{words: make([]uint64, acksHeadWords+keys)}
	a.words[ackWordMagic], a.words[ackWordKeys], a.words[ackWordNode] = acksMagic, keys, uint64(node)
	return a
}

// Raise records that the write of key id with timestamp ts was acknowledged.
//
// Preconditions: id below the number of keys; the acknowledgement was seen.
func (a *Acks) Raise(id, ts uint64) {
	w := &a.words[acksHeadWords+id]
	for {
		old := atomic.LoadUint64(w) // pairs with the swap below
		if ts <= old || atomic.CompareAndSwapUint64(w, old, ts) {
			break
		}
	}
	atomic.AddUint64(&a.words[ackWordCount], 1)
}

// TS is the newest acknowledged timestamp of a key id, 0 for none.
func (a *Acks) TS(id uint64) uint64 { return atomic.LoadUint64(&a.words[acksHeadWords+id]) }

// Keys is the number of ids.
func (a *Acks) Keys() uint64 { return uint64(len(a.words) - acksHeadWords) }

// Count is how many writes were acknowledged.
func (a *Acks) Count() uint64 { return atomic.LoadUint64(&a.words[ackWordCount]) }

// Close unmaps the table; the file stays.
func (a *Acks) Close() error {
	if a.unmap == nil {
		return nil
	}
	err := a.unmap()
	a.words, a.unmap = nil, nil
	return err
}

// AckTable is an ack file read into memory.
type AckTable struct {
	Node  int
	Count uint64   // acknowledged writes
	TS    []uint64 // by key id, 0 for none
}

// ReadAcks reads an ack file, also of a process that was killed or still runs.
func ReadAcks(path string) (*AckTable, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("record: acks: %w", err)
	}
	t, err := decodeAcks(b)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, path)
	}
	return t, nil
}

func decodeAcks(b []byte) (*AckTable, error) {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	if len(b) < acksHeadBytes || len(b)%8 != 0 || word(ackWordMagic) != acksMagic {
		return nil, fmt.Errorf("%w: acks: %d bytes, no header", ErrFormat, len(b))
	}
	keys := uint64(len(b)-acksHeadBytes) / 8
	if word(ackWordKeys) != keys {
		return nil, fmt.Errorf("%w: acks: header says %d keys, there are %d", ErrFormat, word(ackWordKeys), keys)
	}
	t := &AckTable{Node: int(word(ackWordNode)), Count: word(ackWordCount), TS: make([]uint64, keys)}
	for i := range t.TS {
		t.TS[i] = word(acksHeadWords + i)
	}
	return t, nil
}
