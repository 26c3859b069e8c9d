// Package floor measures what this machine can do at best in each of the few
// things that a write or a read of the data plane is made of, so that a figure
// of the product can be shown as a ratio to its floor, measured in the same
// run (design page bench.md).
//
// It is no benchmark of the product: nothing of the data plane runs in here.
// The last floor, a write without a protocol, is the product's work done by
// the barest program that could: processes that append records to rings in
// shared memory, check, copy and index each other's, and answer with watermarks;
// without views, recovery, durability, timestamps or any choice of model.
//
// Floors that need two processes start this program once more (Options.Child);
// the caller's main hands such a start to Child. Files lie in folders of their
// own below the two given ones and are removed. Everything is bounded in time.
//
// Units: nanoseconds per operation unless a figure says otherwise.
package floor
