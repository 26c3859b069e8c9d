package floor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"healkv/pmem"
	"healkv/rdma/futex"
)

const (
	writeKeys    = 1 << 20
	logBytes     = 512 << 20
	recordSize   = 208 // header of 32, key of 16, value of 158, in units of 16
	ringBytes    = 20000 * recordSize
	nodesMax     = 8
	writeTimeMin = 250 * time.Millisecond // less is mostly the start
	spinsMax     = 200                    // turns without work before a node sleeps

	lockBit = 1 << 63
)

// Offsets in a node's file; its ring follows the first page.
const (
	tailAt    = 0
	visibleAt = 64
	asleepAt  = 128
	bellAt    = 192
	readyAt   = 256
	appliedAt = 512 // and a line for each node whose stream this one reads
)

// writesOf measures n processes with so many writes in flight and so many
// reads per write in each.
func writesOf(n, window, reads int) func(context.Context, *Options) (float64, error) {
	return func(ctx context.Context, o *Options) (total float64, err error) {
		dir, err := os.MkdirTemp(o.Memory, "healkv-floor-")
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errMissing, err)
		}
		defer os.RemoveAll(dir)
		for i := range n {
			r, err := pmem.MapRegion(nodeFile(dir, i), pageBytes+ringBytes, pmem.DomainMemory, pmem.MapOptions{Create: true})
			if err != nil {
				return 0, fmt.Errorf("%w: %w", errMissing, err)
			}
			defer r.Close()
		}
		ctx, cancel := context.WithTimeout(ctx, 5*o.Time+20*time.Second)
		defer cancel()
		var ends []func() error
		for i := range n {
			c, out, err := o.child(ctx, "write", dir, strconv.Itoa(i), strconv.Itoa(n), strconv.Itoa(window), strconv.Itoa(reads),
				strconv.Itoa(int(max(5*o.Time, writeTimeMin))))
			if err != nil {
				return 0, errors.Join(err, stop(cancel, ends))
			}
			ends = append(ends, func() error {
				if err := c.Wait(); err != nil {
					return err
				}
				var rate float64
				if _, err := fmt.Sscan(out.String(), &rate); err != nil {
					return fmt.Errorf("a process said %q: %w", out, err)
				}
				total += rate
				return nil
			})
		}
		return total, stop(func() {}, ends)
	}
}

func stop(first func(), ends []func() error) error {
	first()
	var all error
	for _, end := range ends {
		all = errors.Join(all, end())
	}
	return all
}

func nodeFile(dir string, i int) string { return filepath.Join(dir, strconv.Itoa(i)) }

// bare is a node without a protocol.
type bare struct {
	id, n, window, reads int

	mem   [nodesMax][]byte // of all nodes
	log   []byte
	at    int      // where the next record of the log goes
	index []uint64 // by hash: place in the log, lockBit
	rng   *rand.Rand

	tail, acked, done uint64 // of the own stream
	seen, unlocked    [nodesMax]uint64
	image             [recordSize]byte
	sum               uint64 // of what was read
}

// writer is a process's part: it runs for the time and prints its writes per second.
func writer(dir string, id, n, window, reads int, lasting time.Duration) error {
	if id < 0 || id >= n || n > nodesMax || window < 1 || window*recordSize > ringBytes {
		return fmt.Errorf("%w: node %d of %d, %d in flight", ErrOptions, id, n, window)
	}
	runtime.LockOSThread()
	b := &bare{id: id, n: n, window: window, reads: reads, rng: rand.New(rand.NewPCG(uint64(id), 1)), index: make([]uint64, writeKeys*2)}
	log, err := pmem.MapRegion(filepath.Join(dir, "log"+strconv.Itoa(id)), logBytes, pmem.DomainMemory, pmem.MapOptions{Create: true})
	if err != nil {
		return err
	}
	defer log.Close()
	b.log, b.at = log.Bytes(), recordSize // place 0 says that there is none
	for i := range n {
		r, err := pmem.MapRegion(nodeFile(dir, i), pageBytes+ringBytes, pmem.DomainMemory, pmem.MapOptions{})
		if err != nil {
			return err
		}
		defer r.Close()
		b.mem[i] = r.Bytes()
	}
	word64(b.mem[id], readyAt).Store(1)
	for i, since := 0, time.Now(); i < n; {
		if word64(b.mem[i], readyAt).Load() != 0 {
			i++
			continue
		}
		if time.Since(since) > 15*time.Second {
			return errNoAnswer
		}
		runtime.Gosched()
	}
	begun := time.Now()
	for idle, turns := 0, 0; ; turns++ {
		if turns&63 == 0 && time.Since(begun) >= lasting {
			break
		}
		if idle++; b.turn() {
			idle = 0
		} else if idle > spinsMax {
			b.sleep()
			idle = 0
		}
	}
	for i := range n {
		b.wake(i) // who waits for this one's watermark looks at the time
	}
	runtime.KeepAlive(b.sum)
	fmt.Println(float64(b.done) / time.Since(begun).Seconds())
	return nil
}

func (b *bare) ring(of int) []byte { return b.mem[of][pageBytes:] }

// turn does everything there is to do; false if there was nothing.
func (b *bare) turn() bool {
	worked := b.write()
	for p := range b.n {
		if p != b.id && b.follow(p) {
			worked = true
		}
	}
	if b.acknowledge() {
		worked = true
	}
	if worked {
		for p := range b.n {
			b.wake(p)
		}
	}
	return worked
}

func (b *bare) write() bool {
	worked := false
	for (b.tail-b.acked)/recordSize < uint64(b.window) {
		key := b.rng.Uint64() % writeKeys
		binary.LittleEndian.PutUint64(b.image[8:], b.tail)
		binary.LittleEndian.PutUint64(b.image[32:], key)
		binary.LittleEndian.PutUint32(b.image[:], crc32.Checksum(b.image[4:], castagnoli))
		copy(b.ring(b.id)[b.tail%ringBytes:], b.image[:])
		b.apply(key, b.image[:])
		b.tail += recordSize
		for range b.reads {
			if at := b.index[slot(b.rng.Uint64()%writeKeys)]; at != 0 && at&lockBit == 0 {
				b.sum += uint64(b.log[at+40])
			}
		}
		worked = true
	}
	if worked {
		word64(b.mem[b.id], tailAt).Store(b.tail)
	}
	return worked
}

func slot(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> 43 }

// apply copies a record into the log and makes the index refer to it, after a
// look at the record that was there.
func (b *bare) apply(key uint64, image []byte) {
	if b.at+recordSize > len(b.log) {
		b.at = recordSize
	}
	copy(b.log[b.at:b.at+recordSize], image)
	s := slot(key)
	if old := b.index[s] &^ lockBit; old != 0 && binary.LittleEndian.Uint64(b.log[old+32:]) != key {
		b.sum++
	}
	b.index[s] = uint64(b.at) | lockBit
	b.at += recordSize
}

// follow takes over what another node has written, and unlocks what everybody has.
func (b *bare) follow(p int) bool {
	tail, visible := word64(b.mem[p], tailAt).Load(), word64(b.mem[p], visibleAt).Load()
	worked := b.seen[p] != tail
	for ; b.seen[p] < tail; b.seen[p] += recordSize {
		image := b.ring(p)[b.seen[p]%ringBytes:][:recordSize]
		if crc32.Checksum(image[4:], castagnoli) != binary.LittleEndian.Uint32(image) {
			panic("floor: a record does not verify") // nobody but this program writes here
		}
		b.apply(binary.LittleEndian.Uint64(image[32:]), image)
	}
	if worked {
		word64(b.mem[b.id], appliedAt+64*p).Store(b.seen[p])
	}
	for ; b.unlocked[p] < min(visible, b.seen[p]); b.unlocked[p] += recordSize {
		b.unlock(p, b.unlocked[p])
	}
	return worked
}

func (b *bare) unlock(of int, pos uint64) {
	b.index[slot(binary.LittleEndian.Uint64(b.ring(of)[pos%ringBytes+32:]))] &^= lockBit
}

// everybody is how far all others have applied the own stream.
func (b *bare) everybody() uint64 {
	least := b.tail
	for p := range b.n {
		if p != b.id {
			least = min(least, word64(b.mem[p], appliedAt+64*b.id).Load())
		}
	}
	return least
}

// acknowledge completes the own writes that everybody has.
func (b *bare) acknowledge() bool {
	least := b.everybody()
	if least == b.acked {
		return false
	}
	for ; b.acked < least; b.acked += recordSize {
		b.unlock(b.id, b.acked)
		b.done++
	}
	word64(b.mem[b.id], visibleAt).Store(b.acked)
	return true
}

func (b *bare) wake(p int) {
	if asleep := word32(b.mem[p], asleepAt); p != b.id && asleep.Load() == 1 {
		asleep.Store(0)
		word32(b.mem[p], bellAt).Add(1)
		futex.Wake(word32(b.mem[p], bellAt))
	}
}

// sleep until woken, a millisecond at most. Whether one of the others is ahead is
// no reason to stay awake: with more nodes than cores it would keep the core from
// those who are behind.
func (b *bare) sleep() {
	bell := word32(b.mem[b.id], bellAt)
	old := bell.Load()
	asleep := word32(b.mem[b.id], asleepAt)
	asleep.Store(1)
	if b.everybody() > b.acked {
		asleep.Store(0)
		return
	}
	for p := range b.n {
		if p != b.id && word64(b.mem[p], tailAt).Load() != b.seen[p] {
			asleep.Store(0)
			return
		}
	}
	futex.Wait(bell, old, time.Millisecond)
	asleep.Store(0)
}
