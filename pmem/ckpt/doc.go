// Package ckpt is the file of a shard's index checkpoint: images of index
// pages in slots, and two places for a table that says which slot holds which
// page.
//
// A page that has changed goes to a slot that no table in force names; the
// table that names it goes to the place of the older one. So whatever a crash
// leaves of the newest checkpoint, the one before it is whole until the caller
// says, by giving its slots away, that the newer one is in force.
//
// It decides nothing: when to take a checkpoint, when its table may be written
// (the log must be durable through Needs before), whether it is of this log and
// what the log adds to it is pmem's.
// docs/decisions/0021-instant-restart.md has the reasons.
//
// Order is the caller's duty and is what makes a table true: pages, Sync,
// table, Sync. Every table has a checksum over all of it and every page a sum
// in the table, so that an older or damaged byte anywhere is noticed: of the
// table when it is read, of a page when it is first used.
//
// One goroutine at a time writes; reads of slots in force may go on beside it.
//
// Units: bytes; positions are the log's.
package ckpt
