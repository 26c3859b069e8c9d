package pmem

import (
	"cmp"
	"fmt"
	"slices"

	"healkv/pmem/index"
	"healkv/pmem/record"
)

// warmPages is how many pages of a kept or restored index the worker looks at
// per turn: some ten microseconds.
const warmPages = 4

// keeper answers the index (index.Keeper) while pages of it are in doubt.
//
// A page in doubt was touched by nobody since Open: none of its keys has a
// record above the tail of then, and every lock in it is as Open left it. So
// what it should hold follows from the log below that tail alone.
type keeper struct {
	p      *Pool
	tail   uint64 // as of Open
	stable uint64
}

// keep puts the keeper in place. Without files nothing is done behind the
// caller's back: a simulation has all of it at once.
func (p *Pool) keep(stable uint64) {
	p.index.SetKeeper(&keeper{p, p.log.Tail(), stable})
	if p.heapIndex != nil {
		for !p.index.Sure() {
			p.index.WarmSome(1 << 20)
		}
	}
}

// Tend does a bounded step of what the pool does on the side: it verifies the
// pages of the index that it took over. True if there was anything. Worker only.
func (p *Pool) Tend() bool {
	if p.index.Sure() {
		return false
	}
	return p.index.WarmSome(warmPages) > 0
}

func (k *keeper) Load(uint32, []byte) {}

func (k *keeper) Warmed(index.Span, uint32) {}

func (k *keeper) HashOf(pos uint64) uint64 { return record.Hash(k.p.log.Record(pos)) }

// Refers: below the tail of Open and in a segment that is there.
func (k *keeper) Refers(pos uint64) bool {
	return pos < k.tail && k.p.log.Record(pos) != nil
}

// Mend reads the log. It takes as long as that takes: the node does not get its
// lease meanwhile, which is what a node that cannot answer should do.
func (k *keeper) Mend(spans []index.Span, fn func(span int, hash uint64, w index.Word)) {
	lists := make([][]found, len(spans))
	err := k.p.log.Scan(k.p.log.Oldest(), k.tail, func(pos uint64, h *record.Header, _ []byte) bool {
		if h.Kind != record.Put && h.Kind != record.Delete {
			return true
		}
		for i, s := range spans {
			if s.Holds(h.Hash) {
				lists[i] = append(lists[i], foundAt(pos, h, k.stable))
			}
		}
		return true
	})
	if err != nil {
		panic(lost{fmt.Errorf("%w: a page of the index is damaged, and so is the log that it follows from: %w", ErrDamaged, err)})
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
// the shard as a fault on mapped memory does.
type lost struct{ error }

// Addr makes it one of those faults.
func (lost) Addr() uintptr { return 0 }
