package dataplane

import (
	"errors"
	"fmt"

	"healkv/dataplane/proto"
)

// Limits of keys and values, in bytes. One place, same on all sides.
const (
	KeyBytesMin   = 1
	KeyBytesMax   = 1024
	ValueBytesMax = 1 << 20
)

// What an operation can end with. A write is done (nil), rejected (certainly
// not applied: every error below but ErrUnknown) or unknown (ErrUnknown).
var (
	ErrNotFound = errors.New("healkv: key not found")
	// ErrTryAgain: rejected for now; the node is joining, fenced or has lost
	// its lease, or too many operations are under way. Certainly not applied.
	ErrTryAgain = errors.New("healkv: rejected for now, not applied: this node does not serve at the moment; try again or ask another node")
	// ErrOverload: rejected for now; the queues are full. Certainly not applied.
	ErrOverload = errors.New("healkv: rejected for now, not applied: too many operations under way; try again")
	// ErrNoRoom: the pool of this node or of a peer is full. Deletes still work.
	ErrNoRoom = errors.New("healkv: no room: the pool is full; delete keys or give the nodes larger pools")
	// ErrUnknown: the deadline passed, or lease or view was lost, while the
	// write was under way. It may have been applied, or may still be.
	ErrUnknown = errors.New("healkv: outcome unknown: the write may or may not have been applied; read the key to find out")
	// ErrDeadline: the deadline passed before anything was applied, or a read
	// was not answered in time.
	ErrDeadline  = errors.New("healkv: deadline passed, not applied")
	ErrKeySize   = fmt.Errorf("healkv: key length out of %d..%d bytes", KeyBytesMin, KeyBytesMax)
	ErrValueSize = fmt.Errorf("healkv: value longer than %d bytes", ValueBytesMax)
	ErrScope     = errors.New("healkv: unknown scope: a scope belongs to one life of its coordinator, and only the scope model has them")
	ErrClosed    = errors.New("healkv: node closed")
	// ErrDamaged: the record does not verify here, and none came from the other
	// members before the deadline, or none of them has a good one. It is refused,
	// never guessed and never taken for a miss.
	ErrDamaged    = errors.New("healkv: rejected, not applied: the record of the key is damaged at this node and did not come from the others in time; try again or ask another node; if they refuse it too no good copy is left: write or delete the key to cure it")
	ErrPoolFailed = errors.New("healkv: the pool failed, not applied: this node has left the group until its device works again; ask another node")
)

// OpKind is what an Op asks for.
type OpKind uint8

const (
	OpGet OpKind = iota + 1
	OpPut
	OpDelete
	OpPersist // of Scope: answered when every write of the scope is durable everywhere
)

// Op is one operation of the asynchronous API. The caller owns it, and the
// memory it refers to, except from Session.Submit until the Op came back from
// Session.Poll. Reusing Ops makes the path free of allocation.
type Op struct {
	Kind  OpKind
	Scope uint32 // of a Put or Delete: 0 for none; of a Persist: which
	Key   []byte
	// Value is written by a Put; a Get appends what it read to Value[:0].
	Value []byte
	// Deadline is on the clock of Now, in nanoseconds; 0 takes the session's
	// default from the moment of Submit, or of a get from when Kick or Poll give it
	// to the worker. It is not written.
	Deadline int64
	Tag      uint64 // the caller's, not looked at

	// Results, valid after Poll.
	Err     error
	TS      proto.TS // of the write, or of the value or tombstone read
	Existed bool     // Delete: there was a value

	hash   uint64 // of Key, from Submit on
	due    int64  // the deadline that counts, from Submit on; 0: none
	parent *Op    // of a part of a PERSIST over several shards
	left   *int   // parts that are not finished
}

// whole gives the operation the client knows: itself, or the parent once the
// last part is finished, else nil. The first error of a part stays.
func (op *Op) whole() *Op {
	if op.parent == nil {
		return op
	}
	if op.Err != nil && op.parent.Err == nil {
		op.parent.Err = op.Err
	}
	if *op.left--; *op.left > 0 {
		return nil
	}
	return op.parent
}
