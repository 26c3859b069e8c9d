// Package membership agrees on the view: who is live, who is a shadow, in
// which life. It keeps this node's vote in the view register (package
// register) on disk, grants and holds leases (packages grant and lease),
// notices dead and silent members, and tells the node of every new view.
//
// It does not install views, move data, or decide what a node in a view may
// do: the node wiring does, through OnView, the lease and Admit, Promote,
// Leave, Remove and Update.
//
// Everything here runs in ordinary tasks of a flow.Env over package control;
// none of it is on the path of a read or a write but lease.Holder. Control
// plane, storage and environment are interfaces: the simulation of this
// package, and that of whole nodes, run what ships.
//
// Who may be removed without waiting for its lease: a member whose process is
// proven dead by Config.ProvenDead (the kernel released its liveness lock),
// one of which a later life said hello, and one that gave its lease back. A
// closed connection proves nothing.
package membership
