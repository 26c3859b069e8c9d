package pmem

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"healkv/bench/tally"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

var (
	blocksFlag = flag.Int("pmem.blocks", 12, "blocks of each kind to damage")
	bitsFlag   = flag.String("pmem.bits", "sample", "bits of a 1 MiB pool to flip, one at a time: sample, all of its 8.4 million, or every so many-th")
)

const bitsPool = 1 << 20 // of log

// bitsKeys are the keys of a pool whose every bit is flipped.
const bitsKeys = 64

// bitten is a pool with known contents.
type bitten struct {
	m    HeapMedium
	want [bitsKeys]struct {
		ts    uint64
		value []byte // nil: deleted
	}
	older []byte // the pool as its medium was in the middle of the second life
}

func bitsIdentity() Identity { return Identity{Cluster: [16]byte{1}, Shards: 1, HashSeed: 5} }

func bitsKey(i int) []byte { return fmt.Appendf(nil, "k%02d", i) }

// formatWatched makes a pool in Go memory whose flushes are not left out.
func formatWatched(t testing.TB, o FormatOptions, m *HeapMedium) {
	t.Helper()
	if err := FormatHeap(o, m); err != nil {
		t.Fatal(err)
	}
	m.Watch = func(r *Region) { r.SetFlushHook(func(int, int) {}) }
}

func lifeOn(t testing.TB, m *HeapMedium, life uint32) *Pool {
	t.Helper()
	p, err := m.Open(bitsIdentity())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Begin(life); err != nil {
		t.Fatal(err)
	}
	return p
}

// putBits writes key i, or deletes it: value nil.
func putBits(t testing.TB, s *store.Store, life uint32, i int, ts uint64, value []byte) {
	t.Helper()
	key, h := bitsKey(i), record.Header{Kind: record.Put, TS: ts, OwnerNode: 1, OwnerIncarnation: life, Epoch: life}
	if value == nil {
		h.Kind = record.Delete
	}
	var e store.Entry
	s.Find(&e, s.Hash(key), key)
	if s.Put(&e, &h, key, value, false) == 0 {
		t.Fatal("full")
	}
}

// makeBits fills a pool through two lives, overwriting, deleting and cleaning,
// and leaves it as a process crash does.
func makeBits(t testing.TB) *bitten {
	b := &bitten{m: HeapMedium{BootID: [16]byte{1}, PoolID: [16]byte{2}, SuperEvery: 16 << 10}}
	o := FormatOptions{Identity: bitsIdentity(), SizeBytes: dataOffset + bitsPool, SegmentBytes: 32 << 10, MaxKeys: 4096}
	formatWatched(t, o, &b.m)
	rng := rand.New(rand.NewPCG(1, 25))
	ts := uint64(0)
	for life := uint32(1); life <= 2; life++ {
		p := lifeOn(t, &b.m, life)
		s := p.Store()
		h := record.Header{Kind: record.Marker, Epoch: life, Seq: s.Tail()}
		s.AppendMarker(&h, []byte("members of a view"))
		for n := range 2500 {
			if life == 2 && n == 1800 {
				b.older = append([]byte(nil), b.m.Pool...)
			}
			i := rng.IntN(bitsKeys)
			if life == 2 {
				i %= bitsKeys / 2
			}
			ts++
			w := &b.want[i]
			w.ts, w.value = ts, fmt.Appendf(nil, "%d of %d: %x", ts, i, make([]byte, rng.IntN(200)))
			if rng.IntN(10) == 0 {
				w.value = nil
			}
			putBits(t, s, life, i, ts, w.value)
			if rng.IntN(20) == 0 {
				p.SetStable(s.Tail())
				if err := p.Flush(); err != nil {
					t.Fatal(err)
				}
				s.Clean(32<<10, store.Upto(p.Stable()), s.Flushed())
			}
		}
		p.SetStable(s.Tail())
		for range 3 {
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
			s.Clean(32<<10, store.Upto(p.Stable()), s.Flushed())
		}
		if err := p.WriteSuperblock(func(*Super) {}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// verdicts of one damaged pool.
type verdicts struct {
	right, refused, doubtful, failed int
}

// judge opens the pool as it stands and reads every key: the right value, or
// Damaged; missing or old only in a pool that says that it is doubtful.
func (b *bitten) judge(pool, index []byte, v *verdicts, scratch *HeapMedium) error {
	copy(scratch.Pool, pool[:SuperBytes])
	copy(scratch.Pool[dataOffset:], pool[dataOffset:]) // nothing stands in between
	if scratch.BootID == b.m.BootID {
		copy(scratch.Index, index)
	}
	p, err := scratch.Open(bitsIdentity())
	if err != nil {
		v.failed++
		return nil // it says that it cannot be used
	}
	doubtful := p.Recovered().Doubtful != ""
	if doubtful {
		v.doubtful++
	}
	return b.read(p.Store(), doubtful, v)
}

func (b *bitten) read(s *store.Store, doubtful bool, v *verdicts) error {
	rd := s.NewReader()
	defer rd.Close()
	refused := false
	for i := range b.want {
		w := &b.want[i]
		value, ts, st := rd.Get(s.Hash(bitsKey(i)), bitsKey(i), nil)
		switch {
		case st == store.Damaged:
			refused = true
		case w.ts == 0 && st == store.Missing, w.ts != 0 && ts == w.ts && (st == store.Deleted && w.value == nil || st == store.Found && bytes.Equal(value, w.value)), st == store.Locked && ts == w.ts:
		case doubtful && (st == store.Missing || ts < w.ts):
			// Nothing is served from it before it was compared.
		default:
			return fmt.Errorf("key %d: %v at %d, %q; want %d, %q", i, st, ts, value, w.ts, w.value)
		}
	}
	if refused {
		v.refused++
	} else if !doubtful {
		v.right++
	}
	return nil
}

func (b *bitten) scratch(boot byte) *HeapMedium {
	return &HeapMedium{Pool: heapAligned(len(b.m.Pool)), Index: heapAligned(len(b.m.Index)), BootID: [16]byte{boot}, PoolID: b.m.PoolID, SuperEvery: b.m.SuperEvery}
}

// inParallel calls fn(g, of) for every g below of, one goroutine for each
// processor, and fails with their errors. Who flips bits begins with its g-th
// and goes on by so many.
func inParallel(t *testing.T, of int, fn func(g int) error) {
	t.Helper()
	errs := make([]error, of)
	var wait sync.WaitGroup
	for g := range of {
		wait.Go(func() { errs[g] = fn(g) })
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func (v *verdicts) add(w verdicts) {
	v.right, v.refused, v.doubtful, v.failed = v.right+w.right, v.refused+w.refused, v.doubtful+w.doubtful, v.failed+w.failed
}

// Every single bit of a pool of 1 MiB, flipped under a running store: the right
// value or a refusal, never a wrong, missing or old one.
func TestEveryBitRead(t *testing.T) {
	step := stepOf(t, 997) // of 64 bits a prime apart: every kind of byte is hit
	of := runtime.GOMAXPROCS(0)
	pools, results, flips := make([]*bitten, of), make([]verdicts, of), make([]int, of)
	for g := range pools {
		pools[g] = makeBits(t)
	}
	inParallel(t, of, func(g int) error {
		b := pools[g]
		p, err := b.m.Open(bitsIdentity())
		if err != nil {
			return err
		}
		s := p.Store()
		arena := b.m.Pool[dataOffset:]
		for bit := g * step; bit < 8*len(arena); bit += step * of {
			arena[bit/8] ^= 1 << (bit % 8)
			if err := b.read(s, false, &results[g]); err != nil {
				return fmt.Errorf("bit %d: %w", bit, err)
			}
			arena[bit/8] ^= 1 << (bit % 8)
			for _, h := range s.TakeDamaged(nil, 100) {
				s.Settle(&h) // it verifies again
			}
			flips[g]++
		}
		return nil
	})
	var v verdicts
	total := 0
	for g := range of {
		v.add(results[g])
		total += flips[g]
	}
	t.Logf("%d of %d bits flipped under reads: %+v", total, 8*bitsPool, v)
	tally.Add("damage", "bits flipped under reads", total)
	if v.refused == 0 || v.right == 0 || total == 0 {
		t.Error("something never happened")
	}
}

// openBits of the log are left out between two that are flipped before an
// opening, if all are asked for: an opening takes as long as twenty flips under
// reads. Superblocks and segment headers have all of theirs flipped.
const openBits = 16

// The same bits flipped while nobody runs, with the index of the last life and
// without.
func TestEveryBitOpen(t *testing.T) {
	b := makeBits(t)
	super, log, headers := 4000, 40_000, 200 // bits from one to the next
	if n := stepOf(t, 0); n > 0 {
		super, log, headers = n, n*openBits, n
	}
	var bits []int
	for bit := 0; bit < 8*2*superBytes; bit += super {
		bits = append(bits, bit)
	}
	for bit := 8 * dataOffset; bit < 8*len(b.m.Pool); bit += log {
		bits = append(bits, bit)
	}
	for place := range bitsPool / (32 << 10) { // every segment header
		for bit := 0; bit < 512; bit += headers {
			bits = append(bits, 8*(dataOffset+place*(32<<10))+bit)
		}
	}
	for _, boot := range []byte{1, 9} { // kept index, rebuilt index
		of := runtime.GOMAXPROCS(0)
		results := make([]verdicts, of)
		inParallel(t, of, func(g int) error {
			scratch, pool := b.scratch(boot), bytes.Clone(b.m.Pool)
			for i := g; i < len(bits); i += of {
				bit := bits[i]
				pool[bit/8] ^= 1 << (bit % 8)
				if err := b.judge(pool, b.m.Index, &results[g], scratch); err != nil {
					return fmt.Errorf("boot %d, bit %d (%d of the log): %w", boot, bit, bit-8*dataOffset, err)
				}
				pool[bit/8] ^= 1 << (bit % 8)
			}
			return nil
		})
		var v verdicts
		for _, r := range results {
			v.add(r)
		}
		t.Logf("kept index %v: %d bits flipped before an opening: %+v", boot == 1, len(bits), v)
		tally.Add("damage", "bits flipped before an opening", len(bits))
		if v.refused == 0 || v.right == 0 || v.failed > 0 {
			t.Errorf("kept index %v: %+v", boot == 1, v)
		}
	}
}

// Blocks that came out zeroed, torn, as they were before, or with another
// block's contents.
func TestDamagedBlocks(t *testing.T) {
	b := makeBits(t)
	old := b.older
	rng := rand.New(rand.NewPCG(2, 25))
	clean := append([]byte(nil), b.m.Pool...)
	hurt := make([]byte, len(clean))
	count := 0
	rounds := *blocksFlag
	for _, boot := range []byte{1, 9} {
		scratch := b.scratch(boot)
		for _, size := range []int{64, 512, 4096} {
			for _, how := range []string{"zeroed", "torn", "stale", "misdirected"} {
				var v verdicts
				n := 0
				hit := func(off int) {
					copy(hurt, clean)
					block := hurt[off : off+size]
					switch how {
					case "zeroed":
						clear(block)
					case "torn":
						copy(block[size/2:], old[off+size/2:])
					case "stale":
						copy(block, old[off:])
					case "misdirected":
						copy(block, clean[dataOffset+rng.IntN(bitsPool/size)*size:])
					}
					if err := b.judge(hurt, b.m.Index, &v, scratch); err != nil {
						t.Fatalf("boot %d, %s %d bytes at %d (%d of the log, %d of its segment): %v", boot, how, size, off, off-dataOffset, (off-dataOffset)%(32<<10), err)
					}
					n++
				}
				for range rounds {
					hit(dataOffset + rng.IntN(bitsPool/size)*size)
				}
				for range rounds { // a segment's begin
					hit(dataOffset + rng.IntN(bitsPool/(32<<10))*(32<<10))
				}
				hit(0)
				hit(superBytes)
				t.Logf("kept index %v, %-11s %4d bytes: %d: %+v", boot == 1, how, size, n, v)
				count += n
			}
		}
	}
	tally.Add("damage", "blocks damaged before an opening", count)
}

// stepOf is how far apart the bits are that the flag asks for.
func stepOf(t *testing.T, sample int) int {
	switch *bitsFlag {
	case "sample":
		return sample
	case "all":
		return 1
	}
	n, err := strconv.Atoi(*bitsFlag)
	if err != nil || n < 1 {
		t.Fatalf("-pmem.bits=%s: want sample, all or a number", *bitsFlag)
	}
	return n
}
