// Package verbs is the transport over an RDMA network: one-sided writes and
// reads through libibverbs. It is built with the tag verbs; without it, asking
// for the provider is an error that says so.
//
// Source: transport.md, "verbs".
//
// # Lanes
//
// A lane carries one direction between two lives: a reliable connection whose
// writer posts RDMA WRITEs from its staging ring into memory that the reader
// made for this lane alone: a mirror ring, a memory region for itself, and the
// line with everything else the writer says (tag, feed, tail, watermarks, sleep,
// version, check), another one. Nothing else is exposed. A lane is opened by its
// writer with one call over rdma.Exchange, which carries queue pair numbers,
// random packet numbers, keys and addresses; both get fresh ones with every
// lane. Two directions are two lanes, so that fencing one leaves the other.
//
// A burst is, per peer, one list of work requests with one doorbell: the bytes
// (two requests where the ring wraps), then the line, on the same queue pair and
// so placed after them; all peers, and the completions, in one crossing into C.
// Completions are signalled every signalEvery requests.
//
// # Sleep
//
// A worker that goes to sleep writes the number of its sleep into its line at
// each peer and then reads, on the same connection, the version word that this
// peer stores before each post. The peer stores its version, then loads the
// line. So either the read shows a version that the worker has not seen, and it
// does not sleep, or the peer sees the number, and its next post carries
// immediate data, which completes a receive and ends the sleep: Dekker's
// algorithm, with the RDMA READ as the fence. The peer's processor takes no
// part. A number is rung for once; a peer that has not rung need not be told
// again.
//
// # Ends
//
// Detach writes tag 0, waits for that to complete for a bounded time, and puts
// the queue pairs of both directions into ERR: afterwards nothing of the peer
// arrives, and nothing is sent. Memory is deregistered later, off the worker's
// thread. A lane that breaks is opened anew while its link is attached, with
// fresh memory; the reader puts the old queue pair into ERR before it names the
// position at which the writer goes on. A reader without a lane asks for one.
//
// Invariants, quoted in comments:
//
//	V1  A line counts only if its check value matches, its tag names this life,
//	    and its version is not older than the one taken before.
//	V2  A lane's memory is written by nobody once its queue pair is in ERR, and
//	    given back only after that.
//	V3  A version is stored before the line of its reader is loaded (Sleep).
//	V4  At most sendDepth requests of a lane are posted and not known complete.
//
// # Who may call what
//
// As rdma.Endpoint says. Lanes and links are made and closed under the
// endpoint's lock by any goroutine; a lane that is in use is the worker's.
// Nothing on the datapath allocates; Poll does once per feed.
package verbs

// Name is what the provider is chosen by.
const Name = "verbs"
