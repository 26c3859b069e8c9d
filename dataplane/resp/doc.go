// Package resp is the Redis-protocol front end of a node: any Redis client
// reads and writes the store through it. It speaks RESP2 and RESP3.
//
// It is not a Redis: no expiry, no data types beyond strings, one database.
// Whatever it does not know is answered with an error, never ignored.
//
// # Event loops
//
// A few goroutines, the loops, serve all connections; each connection belongs
// to one of them for good. A loop owns a [Session] with room for thousands of
// operations and goes round:
//
//  1. It asks epoll which sockets have something to say. Only if there is
//     nothing else to do does it block there; a finished operation, a new
//     connection and the end of the server ring an event counter that is
//     waited for like a socket.
//  2. For each of those connections it reads once, parses, and executes every
//     whole command. A GET is answered from the store at once, without another
//     goroutine. Writes, and reads of locked keys, are submitted. What is
//     answered goes out in one system call.
//  3. What all connections submitted is announced to the shard's worker with
//     one wake-up. What is finished by then is taken and answered, again one
//     system call for each connection.
//
// So under load a burst costs two system calls per connection and one wake-up
// each way for all of them together. decisions/0028 has the figures, and what
// was tried instead.
//
// # A connection
//
// A command is one or several ops; its reply waits in a queue until it is the
// oldest one and all its ops are done, so replies are in the order of the
// commands. Effects are too, key by key, because ops are submitted in that
// order and the session keeps it. While ops are under way, further commands are
// read and started.
//
// Nothing in a loop waits for one connection. A command that cannot be executed
// now (it has to come after the replies before it, too much is under way, the
// session is full) stays parsed, and is tried again when ops of the connection,
// or of others if that is what it waits for, are finished: execute and perform
// in conn.go and exec.go. Writes that nobody completes, as while a view changes,
// fill the session's room at their shard; reads need none and go on.
//
// Sockets tell news once (edge-triggered). A connection remembers that there is
// more to read, or that its client takes no replies, until a system call says
// otherwise; what it may do in one turn is bounded, so that others have theirs.
//
// # Limits and back-pressure
//
// Config.PipelineMax commands and heldBytesMax bytes of one connection are
// under way; then it stops parsing, and the socket fills up. A client may send
// a long pipeline before it reads the first reply: when its side of the socket
// is full of replies, further input is taken in up to Config.QueryBytesMax, so
// that neither side waits for the other. Arguments and commands over a limit
// are skipped without being stored, answered with an error, and the connection
// goes on; only bytes that are no protocol at all close it.
//
// # Memory
//
// An idle connection owns a small struct. Buffers and the queue of replies are
// a workset, taken from the loop's shelf when input arrives and given back when
// nothing is under way and the socket is empty: a burst of reads uses the same
// one for all connections. Ops are the loop's. In steady state a command
// allocates nothing.
package resp
