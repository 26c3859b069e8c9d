// Package resp is the Redis-protocol front end of a node: any Redis client
// reads and writes the store through it. It speaks RESP2 and RESP3.
//
// It is not a Redis: no expiry, no data types beyond strings, one database.
// Whatever it does not know is answered with an error, never ignored.
//
// # A connection
//
// One goroutine owns a connection, and a [Session] while the connection has
// something to do. It reads what the socket has, parses, submits every whole
// command, kicks the session once, collects completions and writes replies. A
// command is one or several ops; its reply waits in a queue until it is the
// oldest one and all its ops are done, so replies are in the order of the
// commands. Effects are too, key by key, because ops are submitted in that
// order and the session keeps it.
//
// While ops are under way the goroutine does not stop reading. It waits for
// completions in bounded steps and looks at the socket in between (a read
// that does not block). The two simpler designs were not taken:
//
//   - Finish the batch before reading again: a command that comes just after a
//     burst was sent waits one whole round trip before it even starts. With
//     a client that many callers share, that doubles the latency, and the
//     writes in flight drop to zero between batches.
//   - A reader and a writer goroutine: a Session belongs to one goroutine at a
//     time, and handing every command over costs more than executing it.
//
// So a write starts at once if something completes meanwhile, and otherwise
// after readAgain to patienceMax; its answer has to wait for the older ones
// in any case. Replies that are ready while others are not are held back
// for at most about holdReplies, to send one segment and wake the client once.
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
// An idle connection owns a goroutine and a small struct. Buffers, ops and
// session are a workset, taken from a short list when input arrives and given
// back when nothing is under way and the socket is empty. In steady state a
// command allocates nothing.
package resp
