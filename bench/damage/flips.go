package damage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"healkv"
	"healkv/pmem"
)

// FlipOptions of a run that flips bits under load.
type FlipOptions struct {
	Flips int
	Rate  int // per second
	Keys  int
	// Restart stops the nodes in the end, one after the other, and reads
	// everything once more.
	Restart bool
	Seed    uint64
	Dir     string
	Domain  pmem.Domain
	Say     func(format string, args ...any)
	Log     *slog.Logger
}

// FlipResult is what came of it.
type FlipResult struct {
	Flips     int    `json:"flips"`
	InLog     int    `json:"in_log"`
	InSuper   int    `json:"in_superblocks"`
	InOther   int    `json:"in_checkpoints"`
	Reads     uint64 `json:"reads"`
	Whole     uint64 `json:"whole"` // of the reads: answered with a value that may be the answer
	Writes    uint64 `json:"writes"`
	Refusals  uint64 `json:"refusals"` // for the moment, or for good
	Found     uint64 `json:"found"`    // damaged records that were met
	Repaired  uint64 `json:"repaired"`
	Open      int    `json:"open"`    // met and not repaired at the end
	Refused   int    `json:"refused"` // no member has a good copy
	Discarded int    `json:"discarded"`
	Wrong     string `json:"wrong,omitempty"` // the first wrong answer
}

// entry is what is known of one key. One goroutine writes it, all read it.
type entry struct {
	begun atomic.Uint64 // versions begun: none above may be read
	floor atomic.Uint64 // acknowledged or read: none below may be read any more
}

// valueOf is a version's value: what is read must be exactly one of them.
func valueOf(dst []byte, key int, version uint64) []byte {
	dst = binary.BigEndian.AppendUint64(dst[:0], version)
	rng := rand.New(rand.NewPCG(uint64(key), version))
	for n := 16 + rng.IntN(150); n > 0; n-- {
		dst = append(dst, byte(rng.Uint32()))
	}
	return dst
}

type flipper struct {
	o       FlipOptions
	c       *cluster
	r       FlipResult
	entries []entry
	wrong   atomic.Pointer[string]
	reads   atomic.Uint64
	writes  atomic.Uint64
	refused atomic.Uint64
	whole   atomic.Uint64
	used    [Nodes][]place
}

// Flips runs six nodes under load, flips single bits in the files they have
// mapped, and judges every read: it must be a version that was begun, whole,
// and not older than what was acknowledged or read before it began. At the end
// every key is read through every node.
func Flips(ctx context.Context, o FlipOptions) (r FlipResult, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	if o.Dir == "" {
		o.Dir = os.TempDir()
	}
	f := &flipper{o: o, entries: make([]entry, o.Keys)}
	if f.c, err = newCluster(o.Dir, o.Domain, o.Log); err != nil {
		return r, err
	}
	defer f.c.remove()
	if err := f.fill(); err != nil {
		return r, err
	}
	loadCtx, stop := context.WithCancel(ctx)
	var load sync.WaitGroup
	for node := range Nodes {
		load.Go(func() { f.load(loadCtx, node) })
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0xf11b))
	pause := time.NewTicker(time.Second / time.Duration(max(1, o.Rate)))
	for f.r.Flips < o.Flips && ctx.Err() == nil && f.wrong.Load() == nil && err == nil {
		<-pause.C
		err = f.flip(rng)
		if n := f.r.Flips; n%max(1, o.Flips/10) == 0 {
			o.Say("%d flips, %d reads, %d writes, %d refusals", n, f.reads.Load(), f.writes.Load(), f.refused.Load())
		}
	}
	pause.Stop()
	stop()
	load.Wait()
	if err == nil && f.wrong.Load() == nil {
		err = f.readAll("while they ran")
	}
	f.count()
	if err == nil && f.wrong.Load() == nil && o.Restart {
		if err = f.restart(); err == nil {
			err = f.readAll("after a restart")
		}
	}
	f.r.Reads, f.r.Whole, f.r.Writes, f.r.Refusals = f.reads.Load(), f.whole.Load(), f.writes.Load(), f.refused.Load()
	if w := f.wrong.Load(); w != nil {
		f.r.Wrong = *w
	}
	return f.r, errors.Join(err, ctx.Err())
}

// flip hits one bit of a node's pool or checkpoint.
func (f *flipper) flip(rng *rand.Rand) error {
	node := rng.IntN(Nodes)
	x, err := f.c.files(node)
	if err != nil {
		return err
	}
	path, off := x.pool, int64(0)
	switch n := rng.IntN(40); {
	case n == 0:
		off = rng.Int64N(pmem.SuperBytes)
		f.r.InSuper++
	case n <= 2 && x.checkpoint != "":
		st, err := os.Stat(x.checkpoint)
		if err != nil {
			return err
		}
		path, off = x.checkpoint, rng.Int64N(max(1, st.Size()))
		f.r.InOther++
	default:
		if off, err = f.inLog(node, x.pool, rng); err != nil {
			return err
		}
		f.r.InLog++
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	var b [1]byte
	if _, err := file.ReadAt(b[:], off); err != nil {
		return err
	}
	b[0] ^= 1 << rng.IntN(8)
	_, err = file.WriteAt(b[:], off)
	f.r.Flips++
	return err
}

// used is where records stand in a pool file: a range for each segment.
func used(path string) (list []place, err error) {
	pool, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for seg := pmem.DataOffset; seg+segmentBytes <= len(pool); seg += segmentBytes {
		if string(pool[seg:seg+8]) == "HEALSEG1" {
			list = append(list, place{path, int64(seg), int64(len(bytes.TrimRight(pool[seg:seg+segmentBytes], "\x00")))})
		}
	}
	return list, nil
}

// usedFor: so many flips go by what the pools of all nodes held before them.
const usedFor = 100

// inLog is a place in the log of a node where something stands: every byte of
// its segments is as likely.
func (f *flipper) inLog(node int, path string, rng *rand.Rand) (off int64, err error) {
	if f.r.Flips%usedFor == 0 {
		f.used = [Nodes][]place{}
	}
	if f.used[node] == nil {
		if f.used[node], err = used(path); err != nil {
			return 0, err
		}
	}
	total := int64(0)
	for _, p := range f.used[node] {
		total += p.len
	}
	if total == 0 {
		return pmem.DataOffset, nil // nothing yet: the header of the first place
	}
	at := rng.Int64N(total)
	for _, p := range f.used[node] {
		if at < p.len {
			return p.off + at, nil
		}
		at -= p.len
	}
	panic("unreachable")
}

func (f *flipper) key(dst []byte, k int) []byte { return fmt.Appendf(dst[:0], "flip-%06d", k) }

// fill writes every key once, so that there is something to hit.
func (f *flipper) fill() error {
	var key, value []byte
	for node := range Nodes {
		s := f.c.nodes[node].NewSession()
		defer s.Close()
		for k := node; k < len(f.entries); k += Nodes {
			e := &f.entries[k]
			v := e.begun.Add(1)
			key, value = f.key(key, k), valueOf(value, k, v)
			if _, err := s.Put(key, value, 0); err != nil {
				return fmt.Errorf("writing before anything was hurt: %w", err)
			}
			raise(&e.floor, v)
		}
	}
	return nil
}

// load writes the keys of one node and reads all keys through it.
func (f *flipper) load(ctx context.Context, node int) {
	s := f.c.nodes[node].NewSession()
	defer s.Close()
	s.SetTimeout(10 * time.Second)
	rng := rand.New(rand.NewPCG(f.o.Seed, uint64(node)))
	var key, value, got []byte
	for ctx.Err() == nil && f.wrong.Load() == nil {
		k := rng.IntN(f.o.Keys)
		key = f.key(key, k)
		if rng.IntN(3) == 0 {
			k = k/Nodes*Nodes + node
			if k >= f.o.Keys {
				continue
			}
			key = f.key(key, k)
			e := &f.entries[k]
			v := e.begun.Add(1)
			value = valueOf(value, k, v)
			_, err := s.Put(key, value, 0)
			f.writes.Add(1)
			switch {
			case err == nil:
				raise(&e.floor, v)
			case errors.Is(err, healkv.ErrDamaged):
				f.refused.Add(1)
			}
			continue
		}
		got = f.read(s, node, k, key, got, "under load")
		if rng.IntN(64) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

func raise(a *atomic.Uint64, to uint64) {
	for was := a.Load(); was < to && !a.CompareAndSwap(was, to); was = a.Load() {
	}
}

func (f *flipper) read(s *healkv.Session, node, k int, key, got []byte, when string) []byte {
	got, _ = f.tryRead(s, node, k, key, got, when)
	return got
}

func (f *flipper) tryRead(s *healkv.Session, node, k int, key, got []byte, when string) ([]byte, error) {
	e := &f.entries[k]
	floor := e.floor.Load()
	got, _, err := s.Get(key, got[:0])
	most := e.begun.Load()
	f.reads.Add(1)
	bad := ""
	switch {
	case err == nil && len(got) < 8:
		bad = fmt.Sprintf("%d bytes", len(got))
	case err == nil:
		v := binary.BigEndian.Uint64(got)
		switch {
		case v < floor:
			bad = fmt.Sprintf("version %d after version %d had been acknowledged or read", v, floor)
		case v > most:
			bad = fmt.Sprintf("version %d of %d begun", v, most)
		case string(valueOf(nil, k, v)) != string(got):
			bad = fmt.Sprintf("version %d with other bytes", v)
		default:
			raise(&e.floor, v)
			f.whole.Add(1)
		}
	case errors.Is(err, healkv.ErrNotFound) && floor > 0:
		bad = fmt.Sprintf("no value after version %d", floor)
	case errors.Is(err, healkv.ErrDamaged):
		f.refused.Add(1)
	}
	if bad != "" {
		bad = fmt.Sprintf("node %d, %s, %s: %s", node, key, when, bad)
		f.wrong.CompareAndSwap(nil, &bad)
	}
	return got, err
}

// readAll reads every key through every node, until it is answered or refused.
func (f *flipper) readAll(when string) error {
	var key, got []byte
	for node := range Nodes {
		s := f.c.nodes[node].NewSession()
		defer s.Close()
		for k := range f.entries {
			key = f.key(key, k)
			for until := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				var err error
				got, err = f.tryRead(s, node, k, key, got, when)
				if err == nil || errors.Is(err, healkv.ErrDamaged) || errors.Is(err, healkv.ErrNotFound) || f.wrong.Load() != nil {
					break
				}
				if time.Now().After(until) {
					return fmt.Errorf("node %d, %s, %s: %w", node, key, when, err)
				}
			}
		}
	}
	return nil
}

// count adds up what the nodes found.
func (f *flipper) count() {
	for _, n := range f.c.nodes {
		d := n.Damage()
		f.r.Found += d.Found
		f.r.Repaired += d.Repaired
		f.r.Open += d.Open
		f.r.Refused += d.Refused
	}
}

// restart stops all nodes and starts them again.
func (f *flipper) restart() error {
	for node := range Nodes { // one after the other: nobody's damage meets everybody's
		f.c.stop(1 << node)
		err := f.c.open(node)
		if err != nil && (errors.Is(err, pmem.ErrDamaged) || errors.Is(err, pmem.ErrSuperblock)) {
			f.r.Discarded++
			if err = f.c.discard(node); err == nil {
				err = f.c.open(node)
			}
		}
		if err == nil {
			err = f.c.ready(time.Minute, 1<<node)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
