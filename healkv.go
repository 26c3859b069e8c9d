// Package healkv embeds a HealKV node in a program: a leaderless, linearizable,
// persistent replicated key-value store whose nodes heal in milliseconds after
// a failure (HEAL, arXiv 2602.08257).
//
// Open starts a node: it opens its pools, finds the others, recovers what it
// missed and serves. A Session reads and writes; a program uses one per
// goroutine.
//
//	node, err := healkv.Open(ctx, config)
//	s := node.NewSession()
//	ts, err := s.Put(key, value, 0)
//
// A write ends done (nil), rejected (certainly not applied) or unknown; see
// the errors of package dataplane, repeated here.
package healkv

import "healkv/dataplane"

// The client API of package dataplane.
type (
	Session = dataplane.Session
	Op      = dataplane.Op
)

// Operations of the asynchronous API.
const (
	OpGet     = dataplane.OpGet
	OpPut     = dataplane.OpPut
	OpDelete  = dataplane.OpDelete
	OpPersist = dataplane.OpPersist
)

// What an operation can end with.
var (
	ErrNotFound   = dataplane.ErrNotFound
	ErrTryAgain   = dataplane.ErrTryAgain
	ErrOverload   = dataplane.ErrOverload
	ErrNoRoom     = dataplane.ErrNoRoom
	ErrUnknown    = dataplane.ErrUnknown
	ErrDeadline   = dataplane.ErrDeadline
	ErrKeySize    = dataplane.ErrKeySize
	ErrValueSize  = dataplane.ErrValueSize
	ErrScope      = dataplane.ErrScope
	ErrClosed     = dataplane.ErrClosed
	ErrDamaged    = dataplane.ErrDamaged
	ErrPoolFailed = dataplane.ErrPoolFailed
)
