// Package operator is where a node takes orders of the people who run it:
// drain, come back, start cold. It listens on a unix socket in the node's state
// directory and on nothing else. The HTTP listener for status and metrics
// changes nothing and asks nobody who they are; orders do change something, so
// the kernel says who gives them: the socket lies in a directory of mode 0700
// and every connection's user (SO_PEERCRED) must be the node's own, or root.
//
// One request is one order: POST /name with a JSON object, answered with one.
// Everything is bounded: connections, sizes, the time for a request and for
// its order. One order is carried out at a time. Each is logged with the pid
// and user that gave it, before it is carried out and after.
package operator
