package rdma

// Exposed is the memory that a node lets its peers read for recovery: its
// pool's log. Providers use what suits them: the path (shm), the mapping (tcp,
// verbs).
type Exposed struct {
	Path string // absolute; a file of the same user
	Base int64  // bytes from the file's start
	Size int64  // bytes, more than 0
	// Mem is this process's mapping of those bytes, valid until the endpoint is
	// closed. Other goroutines write to it.
	Mem []byte
}

// Exposer is implemented by the endpoints of the providers that nodes use.
type Exposer interface {
	// Expose lets peers of this life's shard read x, with Remote. Again:
	// replaces what was exposed before, for those who open it from now on. Any
	// goroutine.
	Expose(x Exposed) error
}
