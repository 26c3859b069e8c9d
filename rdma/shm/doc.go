// Package shm is the transport between processes of one host: files in a run
// directory on tmpfs, mapped by everybody. It is not for different users and
// not for different hosts; peers are trusted not to shorten files that are
// mapped, and with nothing else.
//
// Source: transport.md, "Providers", row shm.
//
// # Files
//
// Per life of a node and shard, all mode 0600 in a directory of mode 0700:
//
//	n<i>-<incarnation>-s<shard>.ring   one header page, then the ring; peers map it read-only
//	n<i>-<incarnation>-s<shard>.bell   the doorbell line; peers map it writable
//	n<i>-<incarnation>-s<shard>.pool   where the memory for Remote lies; text
//	n<i>-<incarnation>.live            locked (flock) for as long as the process lives
//
// A file gets its name only when it is complete, so whoever can open it can
// use it.
//
// # Pairs
//
// The header page of node A has, for each node, a line of watermarks and a
// pair line {tag, feed}. The tag holds the incarnation of the peer for which
// both lines are meant, and a count of attachments above it, so that no tag
// comes twice. A stores tag 0, clears both lines, and stores the new tag
// last; B takes a line only if the tag names B's own incarnation, before and
// after. A's incarnation is in the file's name and header. So nothing passes
// from or to another life of either side (hazard H9). A connection between the
// same two lives can be made again, by either side or both in any order: each
// goes by the other's newest attachment, and reads on where it stood if that
// has not changed.
//
// Invariants, quoted in comments:
//
//	S1  The tail only grows, and every byte below it was written before it.
//	S2  While a tag stands, its lines belong to that pair of lives only.
//	S3  A sleeper's futex word was read before its sleeping mark was set, and
//	    a bell that saw the mark changes the word: the sleep ends.
//	S4  A killed waker leaves the bell such that the next one wakes.
//
// # Who may call what
//
// As rdma.Endpoint says. After Close, Wake does nothing and Prepare and
// Remote return ErrClosed. Nothing on the datapath allocates; Poll does once
// per feed.
package shm
