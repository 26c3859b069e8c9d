package pmem

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"healkv/pmem/seglog"
)

const (
	segmentBytesMin     = 2 << 20 // the largest record and a segment header must fit
	segmentBytesMax     = 64 << 20
	segmentsMin         = 6 // the cleaner keeps two in reserve, one is open, one is being freed
	recordBytesTypical  = 80
	segmentsPerPoolWant = 128
)

var (
	// ErrExists means that there is a pool already; Format never overwrites.
	ErrExists = errors.New("pmem: pool exists")
	// ErrOptions means that sizes of a pool do not fit together.
	ErrOptions = errors.New("pmem: bad pool options")
)

// FormatOptions says what pool to make.
type FormatOptions struct {
	Dir      string // of the pool files; made if missing
	IndexDir string // on tmpfs; made if missing; may be Dir in the memory domain
	Identity
	SizeBytes    int64  // of the file: 2 MiB for the superblock, the rest log
	SegmentBytes int    // power of two, 2 to 64 MiB; 0: by the size
	Domain       Domain // DomainAuto: what Dir gives
	MaxKeys      uint64 // index address space; 0: as many as the log could ever hold
}

func (o *FormatOptions) complete() error {
	if o.Shards == 0 || o.Shard >= o.Shards {
		return fmt.Errorf("%w: shard %d of %d", ErrOptions, o.Shard, o.Shards)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = segmentBytesMin
		for o.SegmentBytes < segmentBytesMax/4 && o.SizeBytes/int64(o.SegmentBytes) > segmentsPerPoolWant {
			o.SegmentBytes *= 2
		}
	}
	s := int64(o.SegmentBytes)
	if s < segmentBytesMin || s > segmentBytesMax || s&(s-1) != 0 {
		return fmt.Errorf("%w: segment of %d bytes, want a power of two from %d to %d", ErrOptions, s, segmentBytesMin, segmentBytesMax)
	}
	if o.SizeBytes > dataOffset { // whole segments behind the superblocks
		o.SizeBytes = dataOffset + (o.SizeBytes-dataOffset)&^(s-1)
	}
	if least := dataOffset + segmentsMin*s; o.SizeBytes < least {
		return fmt.Errorf("%w: pool of %d bytes, at least %d with segments of %d", ErrOptions, o.SizeBytes, least, s)
	}
	if o.MaxKeys == 0 {
		o.MaxKeys = uint64(o.SizeBytes / recordBytesTypical)
	}
	return nil
}

// Format makes the pool of one shard: allocated as a whole, every page
// written, empty, complete. On an error nothing is left behind.
//
// Errors: ErrExists, ErrInUse, ErrOptions, ErrDomain, ErrIndexDir, ErrNoSpace.
func Format(o FormatOptions) (err error) {
	if err := o.complete(); err != nil {
		return err
	}
	for _, dir := range [...]string{o.Dir, o.IndexDir} {
		made, err2 := makeDir(dir)
		if err2 != nil {
			return err2
		}
		if made {
			defer func() {
				if err != nil {
					_ = os.Remove(dir) // only if empty
				}
			}()
		}
	}
	if err := checkIndexDir(o.IndexDir); err != nil {
		return err
	}
	path := poolPath(o.Dir, o.Shard)
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%w: %s; remove it first if its data is not needed", ErrExists, path)
	}
	lock, err := lockFile(lockPath(o.Dir, o.Shard))
	if err != nil {
		return err
	}
	if err := formatLocked(path, &o); err != nil {
		if errors.Is(err, ErrExists) {
			_ = lock.release()
		} else {
			lock.remove()
		}
		return err
	}
	return lock.release()
}

// formatLocked writes under another name and renames at the end, so that a
// pool is either whole or not there. The lock makes a leftover of a crashed
// format ours to remove.
func formatLocked(path string, o *FormatOptions) (err error) {
	draft := path + ".new"
	_ = os.Remove(draft)
	r, err := MapRegion(draft, o.SizeBytes, o.Domain, MapOptions{Create: true})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, r.Close())
		if err != nil {
			_ = os.Remove(draft)
		}
	}()
	s := Super{
		Identity: o.Identity, SizeBytes: o.SizeBytes, SegmentBytes: int64(o.SegmentBytes),
		MaxKeys: o.MaxKeys, Domain: r.Domain(), Complete: true, Clean: true,
	}
	_, _ = rand.Read(s.PoolID[:]) // never fails (crypto/rand)
	if s.BootID, err = bootID(); err != nil {
		return err
	}
	formatLog(r, &s)
	if err := Guard(func() error { return formatSuper(r, &s) }); err != nil {
		return err
	}
	switch err := unix.Renameat2(unix.AT_FDCWD, draft, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE); {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %s; remove it first if its data is not needed", ErrExists, path)
	case err != nil:
		return fmt.Errorf("pmem: naming %s: %w", path, err)
	}
	return syncDir(o.Dir)
}

// formatSuper writes both copies of a new pool's superblock.
func formatSuper(r *Region, s *Super) error {
	for range 2 {
		writeSuper(r, s)
		if err := r.Drain(); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes one private directory; its parents must exist, so that a
// mistyped path is an error and not a new tree.
func makeDir(dir string) (made bool, err error) {
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		return true, nil
	case errors.Is(err, os.ErrExist):
		return false, nil
	default:
		return false, fmt.Errorf("pmem: %w", err)
	}
}

// formatLog writes the headers of all segments: one that is blank later was not
// left so by anybody.
func formatLog(r *Region, s *Super) {
	l := seglog.Format(seglog.Config{Arena: r.Bytes()[dataOffset:], SegmentBytes: int(s.SegmentBytes), PoolTag: binary.LittleEndian.Uint64(s.PoolID[:])})
	for _, x := range l.HeaderRanges(nil) {
		r.Flush(dataOffset+x.Off, x.Len)
	}
}
