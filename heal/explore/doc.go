// Package explore drives the shipped state machine through every interleaving
// of small configurations and checks the invariants of protocol.md at every
// state: dataplane/replica.Shard over pmem/store and pmem/seglog on heap
// memory, and heal/rejoin.Machine. It holds no copy of what these decide.
//
// # A world
//
// Two or three nodes with one shard of one or two keys; what clients and faults
// may do is bounded by counts (Config), everything else happens whenever it
// can. An action is one thing that one node does (grammar in action.go): take
// in what one member has published, flush, append one roll-forward, adopt one
// record, install a view, go one round on the way back, and so on. Each ends as
// a turn of dataplane.Worker does, with Advance, the watermarks and the
// answers: a turn in which nothing else was due. A real turn is several of
// these in the order of Worker.turn, so its outcomes are among those explored.
// With Config.Fine watermarks, stream and publication are steps of their own,
// as they are for somebody who looks at a turn from outside.
//
// The flush is a step of its own in every model. Under Synchronous, Strict and
// Read-Enforced a worker flushes in the turn in which it applies; that the
// flush comes later is allowed by the protocol, and only adds interleavings.
// What is published and what is appended for others to read needs no steps of
// its own: that it is seen later is a reader that looks later, that it is never
// seen is a reader that installs a view without the writer first. What a life
// has published stays readable after its end until then.
//
// The way back follows heal.Life (drive, installer, onRange, list) in its order
// of steps; the pool follows pmem.Open, Pool.Begin, Discard, Flush and Close.
// Views are decided by compare and swap; a live member is dropped when it is
// dead or its lease is gone. A power loss keeps any prefix of the records above
// the flushed ones; torn ones are the crash states of pmem.
//
// Not here: the cleaner, missed ranges given up, older copies of a pool, damaged
// bytes, agreement on the register, clocks, several shards.
//
// # How
//
// What a node does follows from its local state and from what it is handed. So
// each step of each local state is carried out once, by the real code, and its
// outcome kept (Explorer.do); a state of the world is four numbers: local states
// and history. Local states are compared in a canonical form (canon, which says
// why what it leaves out cannot matter), hashed to 128 bits. There is no symmetry over nodes:
// timestamps are ordered by node, and so are buddies and proposers. Values are
// named after their life and its count, so the order in which different nodes
// take writes leaves no trace.
//
// The search is breadth first, so what it reports is a shortest script; a
// configuration too large to be seen whole is then followed newest state first,
// and its report says "bounded, not complete". Walks goes at random through
// configurations with everything in them. A script can be replayed with Direct,
// on live objects that never go back: testdata holds one for each of the
// planted bugs that was found, and TestGoingBackChangesNothing compares the two
// ways of running step by step.
//
//	go test ./heal/explore                              # half a minute of one core
//	go test ./heal/explore -explore.time 2m -timeout 0  # each configuration so long
//	go test ./heal/explore -explore.config behind-3 -explore.model synchronous -v
//	go test ./heal/explore -run TestScripts
package explore
