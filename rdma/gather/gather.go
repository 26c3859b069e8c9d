// Package gather reads memory that a node lets its peers read for recovery:
// what providers of rdma.Remote have in common.
//
// The memory is its owner's, who writes to it meanwhile and may shorten its
// file. What is read may be torn; its reader checks checksums.
//
// Units: bytes. Any goroutine. Nothing is kept.
package gather

import (
	"errors"
	"fmt"
	"runtime/debug"

	"healkv/rdma"
)

// ErrFault is a page of exposed memory that is there no more: its file was
// shortened.
var ErrFault = errors.New("rdma: fault in exposed memory")

// Check is rdma.ErrRange unless the ranges lie within size bytes and are n
// bytes together.
func Check(n int, ranges []rdma.Range, size int64) error {
	sum := 0
	for _, r := range ranges {
		if r.Off < 0 || r.Len < 0 || r.Off > size || int64(r.Len) > size-r.Off {
			return fmt.Errorf("%w: %d bytes at %d of %d", rdma.ErrRange, r.Len, r.Off, size)
		}
		if sum += r.Len; sum < 0 || sum > n {
			break
		}
	}
	if sum != n {
		return fmt.Errorf("%w: %d ranges are not the %d bytes they are read into", rdma.ErrRange, len(ranges), n)
	}
	return nil
}

// Cursor goes through ranges, for providers that read them in pieces of their
// own sizes.
type Cursor struct {
	rest  []rdma.Range
	taken int // bytes of rest[0]
}

// After is the cursor behind the first n bytes.
func After(ranges []rdma.Range, n int) Cursor {
	c := Cursor{rest: ranges}
	for n > 0 {
		k := min(n, c.Peek().Len)
		c.Skip(k)
		n -= k
	}
	return c
}

// Peek is what is left of the present range; of no bytes at the end.
func (c *Cursor) Peek() rdma.Range {
	for len(c.rest) > 0 && c.taken == c.rest[0].Len {
		c.rest, c.taken = c.rest[1:], 0
	}
	if len(c.rest) == 0 {
		return rdma.Range{}
	}
	return rdma.Range{Off: c.rest[0].Off + int64(c.taken), Len: c.rest[0].Len - c.taken}
}

// Skip goes on by n bytes, at most those of Peek.
func (c *Cursor) Skip(n int) { c.taken += n }

// Copy fills dst with ranges of mapped memory that its owner may be
// writing, and whose file may be shortened meanwhile: that fault becomes
// ErrFault. Check was asked before.
func Copy(dst, mem []byte, ranges []rdma.Range) (err error) {
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
