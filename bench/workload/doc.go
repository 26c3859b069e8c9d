// Package workload decides which key is read or written next: TAOBench A, O
// and read-only from the published distributions, YCSB A, B, C, D and F, and
// two plain write mixes. It is not a load generator: it has no clock, sends
// nothing and records nothing; package load drives it.
//
// A Spec is the immutable description of one workload over a number of keys. A
// Generator is one deterministic sequence of accesses drawn from it: equal seed,
// equal sequence. Key ids are dense (0 to Capacity-1), so that a table by id can
// hold what was acknowledged for each key, and map to key bytes and back without
// a table.
//
// What was decided where the sources leave room, for whoever quotes a figure:
//
//   - TAOBench range, count and time reads become point reads of an edge, as in
//     the original driver. Transactions are flattened to independent accesses,
//     since HEAL is not transactional; both requests (a transaction is one) and
//     accesses are counted. Adds overwrite loaded keys: the key space is fixed.
//   - Keys are placed uniformly over the 50 shards of primary_shards, half of them
//     objects and half edges. The weights decide which shard is accessed; inside a
//     shard every key of the wanted kind is equally likely. remote_shards,
//     latencies, predicates and tiers are not used.
//   - YCSB E is scans and is not there. A read-modify-write of F is a read and a
//     write of the same key: one request, two accesses. Inserts of D take the ids
//     above the loaded ones; when those are used up they start over.
//
// Sources: TAOBench (VLDB'22) and its data files (CC0, see data/NOTICE.md); YCSB
// (SoCC'10); Gray et al., "Quickly generating billion-record synthetic
// databases" (SIGMOD'94) for the zipfian draw.
//
// Units: sizes in bytes. Nothing allocates after NewGenerator. A Spec may be
// shared by goroutines, a Generator belongs to one.
package workload
