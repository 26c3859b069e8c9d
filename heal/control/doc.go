// Package control is the control plane between the node processes of one
// host: small requests and answers in JSON over unix sockets in a private run
// directory. Views, leases, connection set-up and recovery requests travel
// here; records never do.
//
// It is not the data plane, not ordered (every request runs in a goroutine of
// its own; senders number what must not be reordered), and not a failure
// detector: it reports that a connection closed or that a process exited, and
// the membership decides what that proves.
//
// Trust: the run directory is 0700 and the peer's user must be our own
// (SO_PEERCRED). What a peer sends is still checked: bounded length, JSON,
// cluster, addressee, kind. Anything wrong is counted and answered with an
// error or ends the connection; it never ends the process.
//
// A frame is a 4-byte big-endian length, then that many bytes of JSON
// (envelope). Each node dials every other one and sends its own requests on
// that connection; the answers come back on it.
package control
