package pmem

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"healkv/dataplane/plant"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

// found is what a rebuild keeps of a record between its two passes.
type found struct {
	hash   uint64
	pos    uint64
	ts     uint64
	locked bool
}

// rebuild makes a new index from the log.
//
// First pass: goroutines take segments, verify every record's checksums, and
// sort what they find by index part (hash range). Second pass: goroutines take
// parts and keep per key the newest timestamp, of equal ones the later
// position (a replay confirms the record and names its new owner). Parts share
// nothing, so there is no lock in either pass.
type rebuild struct {
	log    *seglog.Log
	stable uint64
	build  *index.Builder
	spans  []span

	genuine seglog.Genuine
	extents [][]seglog.Extent // per span: ranges whose records are not known
	hurt    atomic.Uint64     // records of which only the header verifies

	bins    [][][]found // [span][part]
	markers []uint64    // newest marker per span
	locked  [][]uint64  // per part: positions of locked records
	records atomic.Uint64
}

// span is a range of log positions within one segment.
type span struct{ from, to uint64 }

// rebuildGoroutines leaves no processor idle; the node does not serve yet.
func rebuildGoroutines() int { return max(1, runtime.GOMAXPROCS(0)) }

// rebuildParts is a few per goroutine, so that an uneven one does not make the
// others wait long, and so many that a part is about one page: then pages
// hardly split, and a split reads the hash of every record in the page from
// all over the log.
func rebuildParts(goroutines int, logBytes uint64) int {
	const partBytes = 1024 * recordBytesTypical
	return min(1<<bits.Len(uint(max(4*goroutines-1, int(logBytes/partBytes)))), index.PartsMax)
}

func (b *rebuild) run(n int) (*index.Index, error) {
	b.locked = make([][]uint64, b.build.Parts())
	b.bins = make([][][]found, len(b.spans))
	b.markers = make([]uint64, len(b.spans))
	b.extents = make([][]seglog.Extent, len(b.spans))
	if err := eachOf(len(b.spans), n, b.readSpan); err != nil {
		return nil, err
	}
	if err := eachOf(b.build.Parts(), n, b.fillPart); err != nil {
		return nil, err
	}
	return b.build.Finish(), nil
}

// eachOf calls fn for 0..count-1 from n goroutines and returns the first
// errors joined. A fault on mapped memory is an error of the goroutine that met it.
func eachOf(count, n int, fn func(i int) error) error {
	var next atomic.Int64
	var wait sync.WaitGroup
	errs := make([]error, min(n, count))
	for g := range errs {
		wait.Go(func() {
			errs[g] = Guard(func() error {
				for {
					i := int(next.Add(1)) - 1
					if i >= count {
						return nil
					}
					if err := fn(i); err != nil {
						return err
					}
				}
			})
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (b *rebuild) readSpan(i int) error {
	bins := make([][]found, b.build.Parts())
	expect := int(b.spans[i].to-b.spans[i].from) / 128 / len(bins)
	for j := range bins {
		bins[j] = make([]found, 0, expect)
	}
	n := uint64(0)
	gap := func(x seglog.Extent) { b.extents[i] = append(b.extents[i], x) }
	err := b.log.ScanAround(b.spans[i].from, b.spans[i].to, b.genuine, func(pos uint64, h *record.Header, img []byte, sound bool) bool {
		n++
		if !sound {
			b.hurt.Add(1)
		}
		if !sound && plant.Is(plant.DoubtForgotten) {
			return true
		}
		if !sound && h.Kind == record.Marker {
			gap(seglog.Extent{From: pos, To: pos + uint64(h.Bytes())})
			return true
		}
		switch h.Kind {
		case record.Put, record.Delete:
			p := b.build.PartOf(h.Hash)
			bins[p] = append(bins[p], found{h.Hash, pos, h.TS, lockedAfterCrash(pos, h.Flags&record.FlagRelocated != 0, b.stable)})
		case record.Marker:
			if b.markers[i] = max(b.markers[i], pos); plant.Is(plant.RebuildMarker) {
				b.markers[i] = 0
			}
		}
		return true
	}, gap)
	b.records.Add(n)
	b.bins[i] = bins
	return err
}

func (b *rebuild) fillPart(part int) error {
	p := b.build.Part(part)
	hashOf := func(pos uint64) uint64 { return soundHash(b.log, pos) }
	var c index.Cursor
	for i := range b.bins {
		for j := range b.bins[i][part] {
			f := &b.bins[i][part][j]
			w := index.MakeWord(f.hash, f.pos, f.locked)
			p.Seek(&c, f.hash)
			if !seekKey(&c, b.log, f.hash, f.pos) {
				if err := p.Insert(f.hash, w, hashOf); err != nil {
					return fmt.Errorf("pmem: rebuilding the index: %w", err)
				}
				if f.locked {
					b.locked[part] = append(b.locked[part], f.pos)
				}
				continue
			}
			old := c.Word().Pos()
			if newer(f.ts, f.pos, record.TS(b.log.Record(old)), old) {
				p.Store(&c, w)
				if f.locked {
					b.locked[part] = append(b.locked[part], f.pos)
				}
			}
		}
		b.bins[i][part] = nil
	}
	return nil
}

// leftovers are the positions of locked records in log order. Superseded ones
// are among them.
func (b *rebuild) leftovers() []uint64 {
	all := slices.Concat(b.locked...)
	slices.Sort(all)
	return all
}

// marker is the position of the newest marker, 0 = none.
func (b *rebuild) marker() uint64 {
	newest := uint64(0)
	for _, m := range b.markers {
		newest = max(newest, m)
	}
	return newest
}

// lockedAfterCrash: what is not known to be durable everywhere must not be
// read until the protocol settled it. The cleaner copies only what is stable,
// so its copies are readable wherever they lie.
func lockedAfterCrash(pos uint64, relocated bool, stable uint64) bool {
	return pos >= stable && !relocated && !plant.Is(plant.CrashUnlocked)
}

// newer orders the records of one key.
func newer(ts, pos, thanTS, thanPos uint64) bool {
	if plant.Is(plant.RebuildLater) {
		return pos > thanPos
	}
	if plant.Is(plant.RebuildReplay) {
		return ts > thanTS
	}
	return ts > thanTS || ts == thanTS && pos > thanPos
}

// seekKey moves the cursor to the word of the key of the record at pos, if
// there is one whose header can be read. A key without a word costs no access
// to the log. The key's bytes are compared as they stand: a damaged body is at
// least that of the same record.
func seekKey(c *index.Cursor, log *seglog.Log, hash, pos uint64) bool {
	for c.Next() {
		at := c.Word().Pos()
		img, inc := log.RecordLife(at)
		if record.Sound(img, record.Seed(at, inc)) && record.Hash(img) == hash && string(record.Key(img)) == string(record.Key(log.Record(pos))) {
			return true
		}
	}
	return false
}
