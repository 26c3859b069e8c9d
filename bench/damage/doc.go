// Package damage carries the damage matrix out: every kind of structure that a
// node keeps, hurt in every way that storage hurts, at every subset of six
// replicas, on a cluster of the shipped nodes in this process with real files.
//
// A cell writes its keys, hurts the files of the nodes of its subset (while
// they run, where the structure is a record; else while they are stopped),
// starts them, and reads every key through every node. An answer is exact,
// refused or wrong. Wrong fails; refused fails if a good copy was left
// anywhere. Afterwards new writes must cure what was refused.
//
// Who hurts knows the layout of the files from what pmem exports and finds its
// places by what stands there (places.go). Nothing in the product knows that it
// is hurt.
package damage
