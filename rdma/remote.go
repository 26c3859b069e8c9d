package rdma

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
