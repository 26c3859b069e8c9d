package pmem

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
	"healkv/pmem/store"
)

// warmPages is how many pages of a kept or restored index the worker looks at
// per turn: some ten microseconds.
const warmPages = 4

// keep puts the keeper in place. Without files nothing is done behind the
// caller's back: a simulation has all of it at once.
func (p *Pool) keep(stable uint64) {
	if p.keeper == nil {
		p.keeper = &keeper{p: p, x: p.index, tail: p.log.Tail(), stable: stable}
		p.index.SetKeeper(p.keeper)
	}
	if p.heapIndex != nil {
		for !p.index.Sure() {
			p.index.WarmSome(1 << 20)
		}
	}
}

// Tend does a bounded step of what the pool does on the side: it verifies or
// loads the pages of the index that it took over, and takes checkpoints. True
// if there was anything. Worker only.
func (p *Pool) Tend() bool {
	if !p.index.Sure() {
		p.keeper.readAhead()
		n := p.keeper.room()
		return n > 0 && p.index.WarmSome(n) > 0
	}
	p.keeper.list = nil
	if p.keeper.apart {
		p.keeper.apart = false
		_ = p.region.mapped.advise(unix.MADV_NORMAL)
	}
	return p.ckpt.step()
}

// Tending says that Tend has something to do or to wait for: the worker should
// not sleep long. Worker only.
func (p *Pool) Tending() bool {
	return !p.index.Sure() || p.ckpt.phase != ckptIdle
}

// Mend reads the log. It takes as long as that takes: the node does not get its
// lease meanwhile, which is what a node that cannot answer should do.
func (k *keeper) Mend(spans []index.Span, fn func(span int, hash uint64, w index.Word)) {
	lists := make([][]found, len(spans))
	var gap error
	err := k.p.log.ScanAround(k.p.log.Oldest(), k.tail, k.p.genuine, func(pos uint64, h *record.Header, _ []byte, sound bool) bool {
		if !sound {
			k.x.SetMark(store.MarkBeside, 1) // its key may be another one's bytes
			if k.p.store != nil {
				k.p.store.Beside()
			}
		}
		if h.Kind != record.Put && h.Kind != record.Delete {
			return true
		}
		for i, s := range spans {
			if s.Holds(h.Hash) {
				lists[i] = append(lists[i], foundAt(pos, h, k.stable))
			}
		}
		return true
	}, func(x seglog.Extent) { gap = &seglog.Damage{Pos: x.From, Cause: record.ErrHeader} })
	if err = errors.Join(err, gap); err != nil {
		// The next opening makes the index of the log, and says what it does not know.
		k.p.ckpt.stop()
		k.p.ckpt.restart()
		panic(lost{fmt.Errorf("%w: a page of the index is damaged, and so is the log that it follows from: %w", ErrDecayed, err)})
	}
	for i, all := range lists {
		k.newest(all, func(f *found) { fn(i, f.hash, index.MakeWord(f.hash, f.pos, f.locked)) })
	}
}

func foundAt(pos uint64, h *record.Header, stable uint64) found {
	return found{h.Hash, pos, h.TS, lockedAfterCrash(pos, h.Flags&record.FlagRelocated != 0, stable)}
}

// newest calls fn for the newest record of each key.
func (k *keeper) newest(all []found, fn func(*found)) {
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.hash, b.hash) })
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].hash == all[0].hash {
			n++
		}
		same := all[:n]
		all = all[n:]
		for len(same) > 0 { // nearly always one key
			rest := same[:0]
			key := record.Key(k.p.log.Record(same[0].pos))
			pick := same[0]
			for i := 1; i < len(same); i++ {
				f := same[i]
				if string(record.Key(k.p.log.Record(f.pos))) != string(key) {
					rest = append(rest, f)
				} else if newer(f.ts, f.pos, pick.ts, pick.pos) {
					pick = f
				}
			}
			fn(&pick)
			same = rest
		}
	}
}

// lost is what the worker panics with when its index cannot be had: it stops
// the shard as a fault on mapped memory does (Fault).
type lost struct{ error }

// stopSide ends what runs beside the worker.
func (p *Pool) stopSide() {
	if p.keeper != nil {
		p.keeper.stop()
	}
	_ = p.ckpt.shut()
}
