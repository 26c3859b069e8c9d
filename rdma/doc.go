// Package rdma carries streams and watermarks between the nodes of a group.
//
// An Endpoint is one shard's end. It has one outgoing stream, kept in one
// staging ring for all peers, one incoming mirror per peer, one line of
// watermarks each way, a doorbell to sleep on, and reads of a peer's exposed
// memory for recovery. There is no request and no response, no ordering
// between peers, and no copy per peer where the medium allows (transport.md).
//
// Ownership: everything of an Endpoint belongs to its shard worker, except
// Prepare, Wake and Remote, which any goroutine may call. The bytes of the
// staging ring belong to the producer from Out.Next to Publish, to all peers
// from Publish until Out.Reclaim passes them.
//
// Providers: shm (this host's processes), tcp (hosts with an ordinary network),
// verbs (hosts with an RDMA network), sim (deterministic, for tests). All pass the suite in rdma/conformance.
package rdma
