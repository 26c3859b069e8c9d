// Package control is the control plane between the nodes of a cluster: small
// requests and answers in JSON. Views, leases, connection set-up and recovery
// requests travel here; records never do.
//
// It is not the data plane, not ordered (every request runs in a goroutine of
// its own; senders number what must not be reordered), and not a failure
// detector: it reports that a connection closed or that a process exited, and
// the membership decides what that proves.
//
// Two transports carry it. Within a host, unix sockets in a private run
// directory: 0700, and the peer's user must be our own (SO_PEERCRED); the
// kernel tells of a peer's exit (pidfd). Between hosts, TCP with TLS 1.3 and
// certificates on both sides, never without (package identity): a connection
// belongs to the node that its certificate names, and messages in another
// one's name are refused. Nothing is proved about a process elsewhere: there
// is no PeerExited, and a closed connection proves nothing anywhere. Where an
// address refuses connections that took them before, PeerRefused says so: that
// proves nothing either, and whoever was told to trust it may.
//
// Certificates change while the server runs: files that hold something new are
// taken into use at once, every link is dialled anew before the connection it
// had is closed, and those of nodes whose certificate is not good any more are
// cut. Files that will not do leave in use what they held before.
//
// What a peer sends is still checked: bounded length, JSON, cluster,
// addressee, kind. Anything wrong is counted and answered with an error or
// ends the connection; it never ends the process. Connections that have not
// proved who they are are bounded in number and time.
//
// A frame is a 4-byte big-endian length, then that many bytes of JSON
// (envelope). Each node dials every other one and sends its own requests on
// that connection; the answers come back on it.
package control
