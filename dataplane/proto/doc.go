// Package proto holds the words of the protocol: timestamps, members, views,
// watermarks, persistency models and limits. It is pure: no I/O, no clock, no
// goroutine, and every other package may use it.
//
// Sources: HEAL (arXiv 2602.08257) for views, buddy and shadow; MINOS
// (HPCA'24) and DDP (MICRO'21) for the persistency models; Hermes
// (ASPLOS'20) for timestamps and INV/ACK/VAL.
package proto
