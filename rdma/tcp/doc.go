// Package tcp is the transport between hosts with an ordinary network: one
// connection per direction of each pair of nodes and shard, written straight
// from the staging ring. It is not a service: it admits only those whom the
// control plane has given a token, and speaks with one cluster's own nodes.
//
// Source: transport.md, "Providers", row tcp.
//
// # Connections
//
// Each direction of a pair has a connection of its own, made by the one who
// sends the stream. A connection so belongs to one link of its maker, and the
// two directions break, resume and end independently of each other. What that
// costs is that the acknowledgements of one direction do not travel on the
// segments of the other.
//
// Link A to B is made so: A asks B over rdma.Exchange, and is told B's address,
// ring size and a random token that is good for one connection of this life of
// A, for a short time. It connects and shows the token; B admits it or closes
// it. Nothing is allocated for whoever has no token but a goroutine of a bounded
// number, with a deadline.
//
// # Frames
//
// A to B go frames of 104 bytes and the stream's bytes that were published since
// the last one (frame.go). Every frame carries the tag of A's attachment, the
// position it feeds B from, and its newest line of watermarks: the last write
// wins, and a line is never torn. A burst of more than 256 KiB goes in parts. Header and bytes have a CRC-32C each; what
// does not match is counted and the connection is cut.
//
// The only thing B ever sends is the position it reads on from, once, when its
// worker takes the connection. A new attachment does not wait for it. A
// connection that is made again does, and goes on there; the receiver closes
// the old connection before it names the position. So a broken connection
// costs time and no entry. Where the producer has detached us it says so
// with a frame; a connection that ends without it is broken, and made again by
// its maker for as long as the link is attached.
//
// # Burst
//
// Publish and PublishMarks note what there is to say. WakePeers says it, with
// one writev per peer whose parts lie in the staging ring: no byte of the
// stream is copied in the sender's memory. What is published and not followed
// by WakePeers goes out with the next Poll or PrepareSleep. A peer whose
// socket is full is written to by Poll when it has room again, with everything
// that has come up by then in one frame; the worker never waits.
//
// Poll asks epoll once for all peers, and reads of those who have sent
// something straight into the memory of their Mirror, the frame's header beside
// it with the same call. What of a second frame was read with the first is
// copied.
//
// # Invariants, quoted in comments
//
//	T1  Bytes below have were received, checked, and lie in the mirror's memory.
//	T2  The mirror's limit moves only with the last part of a burst, so it is
//	    always where an entry ends.
//	T3  A position is named only after the connection before it was closed.
//	T4  A tag names one attachment of one life of the peer; it never comes back.
//	T5  What ends a sleep is still there to be seen when the sleep begins.
//
// # Mutual TLS
//
// With Config.TLS the data connections are TLS 1.3, both ends verified. Then
// the sender gathers up to 64 KiB and encrypts them, the receiver decrypts and
// copies into the mirror: two copies more on each side and the cipher, all on the
// worker, and crypto/tls allocates now and then. The worker still waits for nobody: what the socket does not take is kept, at most one such
// piece.
//
// # Who may call what
//
// As rdma.Endpoint says. Marks, Mirror and its limit are as of the last Poll.
// Nothing on the plain datapath allocates; Poll does once per feed.
package tcp
