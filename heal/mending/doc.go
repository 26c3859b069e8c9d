// Package mending decides what becomes of a damaged record, given what the
// members say they hold of its key. It is pure: answers in, one verdict out.
//
// A damaged record is a word of the index behind which nothing verifies. Its
// key may be known (the header verifies) or be any of those whose hash agrees
// with what the word's place says. Every live member is asked what it holds of
// those keys (protocol-aware recovery; docs/decisions/0026).
//
// Invariants, named in tests:
//
//	M1  Only a live member that has installed the asker's view counts: what a
//	    member in a recovery lacks it may be about to get.
//	M2  Nothing is decided before every live member of the view has answered.
//	M3  Of a key the highest timestamp counts.
//	M4  What is locked at a member is never put: it is waited for, unless this
//	    node holds as much.
//	M5  A damaged record is given up only if a member holds all of its possible
//	    keys whole. Otherwise it stays, and its keys are refused.
package mending
