package rdma

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// Remote reads the memory a peer exposes for recovery (its pool), without
// that peer's processor where the medium allows. Any one goroutine.
//
// What is read may be torn by a concurrent writer: the caller checks checksums.
type Remote interface {
	// ReadAt fills dst from the peer's exposed memory at off: Gather of one
	// range, and how much of it there is if that fails.
	ReadAt(dst []byte, off int64) (int, error)
	// Gather fills dst with the ranges, one after the other. A round trip is
	// paid for many of them, not for each. ErrRange, and nothing was read, if
	// one lies outside of what is exposed or all together are not len(dst);
	// after another error dst holds anything.
	Gather(dst []byte, ranges []Range) error
	Size() int64
	// BytesRead counts what ReadAt and Gather have moved.
	BytesRead() uint64
	Close() error
}

// Range is a part of a peer's exposed memory, in bytes.
type Range struct {
	Off int64
	Len int
}

// ErrFault is a page of exposed memory that is there no more: its file was
// shortened.
var ErrFault = errors.New("rdma: fault in exposed memory")

// CheckRanges is ErrRange unless the ranges lie within size bytes and are n
// bytes together.
func CheckRanges(n int, ranges []Range, size int64) error {
	sum := 0
	for _, r := range ranges {
		if r.Off < 0 || r.Len < 0 || r.Off > size || int64(r.Len) > size-r.Off {
			return fmt.Errorf("%w: %d bytes at %d of %d", ErrRange, r.Len, r.Off, size)
		}
		if sum += r.Len; sum < 0 || sum > n {
			break
		}
	}
	if sum != n {
		return fmt.Errorf("%w: %d ranges are not the %d bytes they are read into", ErrRange, len(ranges), n)
	}
	return nil
}

// Cursor goes through ranges, for providers that read them in pieces of their
// own sizes.
type Cursor struct {
	rest  []Range
	taken int // bytes of rest[0]
}

// After is the cursor behind the first n bytes.
func After(ranges []Range, n int) Cursor {
	c := Cursor{rest: ranges}
	for n > 0 {
		k := min(n, c.Peek().Len)
		c.Skip(k)
		n -= k
	}
	return c
}

// Peek is what is left of the present range; of no bytes at the end.
func (c *Cursor) Peek() Range {
	for len(c.rest) > 0 && c.taken == c.rest[0].Len {
		c.rest, c.taken = c.rest[1:], 0
	}
	if len(c.rest) == 0 {
		return Range{}
	}
	return Range{c.rest[0].Off + int64(c.taken), c.rest[0].Len - c.taken}
}

// Skip goes on by n bytes, at most those of Peek.
func (c *Cursor) Skip(n int) { c.taken += n }

// CopyExposed fills dst with ranges of mapped memory that its owner may be
// writing, and whose file may be shortened meanwhile: that fault becomes
// ErrFault. CheckRanges was asked before.
func CopyExposed(dst, mem []byte, ranges []Range) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(interface{ Addr() uintptr })
			if !ok {
				panic(p)
			}
			err = fmt.Errorf("%w at address %#x", ErrFault, f.Addr())
		}
	}()
	for _, r := range ranges {
		copyTorn(dst[:r.Len], mem[r.Off:r.Off+int64(r.Len)])
		dst = dst[r.Len:]
	}
	return nil
}

// copyTorn copies what its owner may be writing: the bytes are checksummed by
// their reader, so the race detector has no say here.
//
//go:norace
func copyTorn(dst, src []byte) { copy(dst, src) }
