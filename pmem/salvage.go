package pmem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/zeebo/xxh3"

	"healkv/dataplane/plant"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
	"healkv/pmem/store"
)

// recoverLog finds the log in the arena: as a crash leaves it, or else as
// something worse has (docs/decisions/0025).
func (p *Pool) recoverLog() (*seglog.Log, seglog.RecoverInfo, error) {
	config := seglog.Config{Arena: p.region.Bytes()[dataOffset:], SegmentBytes: int(p.super.SegmentBytes),
		PoolTag: binary.LittleEndian.Uint64(p.super.PoolID[:]), Incarnation: p.super.Incarnation, Written: true}
	config.Heads = p.region.every(dataOffset, config.SegmentBytes, seglog.HeadBytes)
	durable := max(p.super.Durable, p.appliedMark())
	log, info, err := seglog.Recover(config, durable, p.super.Base)
	if !errors.Is(err, seglog.ErrDamaged) && !errors.Is(err, seglog.ErrAlien) {
		return log, info, err
	}
	log, info, err2 := seglog.Salvage(config, durable, p.super.Base, p.super.Incarnation, p.genuine, p.doubt)
	switch {
	case err2 != nil:
		return nil, info, err2
	case errors.Is(err, seglog.ErrAlien) && info.Segments == 0:
		return nil, info, err // nothing here is of this pool
	}
	p.recovered.Salvaged = err.Error()
	return log, info, nil
}

// doubt notes, before anything that shows it is written over, that records may
// be lost: a crash in the middle of a salvage must not leave a pool that looks
// whole. The flag goes when the pool was compared, or discarded.
func (p *Pool) doubt(lost bool) error {
	if !lost || p.super.Doubtful || plant.Is(plant.DamageFlag) {
		return nil
	}
	p.super.Doubtful = true
	for range 2 {
		writeSuper(p.region, &p.super)
		if err := p.region.Drain(); err != nil {
			return err
		}
	}
	return nil
}

// genuine tells a record from bytes of a value that look like one: its key has
// the keyed hash that its header names.
func (p *Pool) genuine(h *record.Header, img []byte) bool {
	return xxh3.HashSeed(record.Key(img), p.super.HashSeed) == h.Hash
}

// appliedMark is how far the index of the last life, if it is of this boot,
// says that the log was flushed: fresher than the superblock. Below it, a record
// that does not verify is damage, not a torn end.
func (p *Pool) appliedMark() (pos uint64) {
	if !p.recovered.SameBoot || p.recovered.FailedFlush {
		return 0
	}
	x, err := p.lastIndex()
	if err != nil || x.Mark(markLife) != uint64(p.super.Incarnation) || x.Mark(markBase) != p.super.Base {
		return 0
	}
	return x.Mark(markApplied)
}

// soundHash is the key hash of a record, for index splits.
func (p *Pool) soundHash(pos uint64) uint64 { return soundHash(p.log, pos) }

func soundHash(l *seglog.Log, pos uint64) uint64 {
	img, inc := l.RecordLife(pos)
	if !record.Sound(img, record.Seed(pos, inc)) {
		return index.UnknownHash
	}
	return record.Hash(img)
}

// besideDamage notes that a word is put beside one whose record cannot be read:
// the key may have both.
func besideDamage(x *index.Index, l *seglog.Log, hash uint64) {
	var c index.Cursor
	for x.Seek(&c, hash); c.Next(); {
		if pos := c.Word().Pos(); soundHash(l, pos) == index.UnknownHash {
			x.SetMark(store.MarkBeside, 1)
		}
	}
}

// judge decides what the damage that Open has met means for the pool. inIndex:
// every record below this position has its word in the index, so that damage
// there leaves keys that are known to be damaged; damage above it, and all of
// it if the index was made of the log, leaves keys that are simply not there.
//
// What it finds is noted on the media before anything is written over that would
// show it again: this life may end before the pool was compared.
func (p *Pool) judge(info *seglog.RecoverInfo, inIndex uint64) error {
	r := &p.recovered
	for _, x := range info.Extents {
		if !slices.Contains(r.Extents, x) { // the scan has met it again
			r.Extents = append(r.Extents, x)
		}
	}
	unknown := info.Refound // was it given back? Its header is not there to say
	for _, x := range r.Extents {
		if x.To > inIndex {
			unknown++
		}
	}
	marker := r.LastMarker
	if marker != 0 && !p.whole(marker) && !plant.Is(plant.DamageMarkerTrusted) {
		r.LastMarker = 0 // whatever else there is
	}
	switch at := p.super.LastMarker; {
	case unknown > 0:
		r.Doubtful = fmt.Sprintf("the keys of %d ranges of the log are not known (%s)", unknown, r.Salvaged)
	case info.Cut:
		r.Doubtful = fmt.Sprintf("where the log ended is not known (%s)", r.Salvaged)
	case p.super.Doubtful:
		r.Doubtful = "parts of the log were found lost in an earlier life, and the pool has not been compared since"
	case r.LastMarker != marker:
		r.Doubtful = fmt.Sprintf("the marker at %d is damaged", marker)
	case at > r.LastMarker && at >= p.super.Base && at < info.Durable: // above that a power loss may have taken it
		r.Doubtful = fmt.Sprintf("the marker at %d is lost", at)
	default:
		return nil
	}
	if plant.Is(plant.DamageDoubt) {
		r.Doubtful = ""
	}
	// Where a missed range begins stands in markers, of which some may be gone.
	if !plant.Is(plant.DamageMarker) {
		p.super.LostThrough = max(p.super.LostThrough, p.super.ViewEpoch+1)
		r.LostThrough = p.super.LostThrough
	}
	return p.doubt(r.Doubtful != "")
}

func (p *Pool) whole(pos uint64) bool {
	img, inc := p.log.RecordLife(pos)
	return record.Sound(img, record.Seed(pos, inc)) && record.SoundBody(img)
}
