package doctor

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Descriptors is how many open files a node needs beside its clients, with all
// it may hold at once: files of its pools and rings, connections of the control
// plane both ways and those that prove themselves, data connections with remote
// reads of a recovery, status, metrics and orders. Idle nodes have a third.
func Descriptors(nodes, shards int) int { return 64 + 8*nodes + shards*(4+4*nodes) }

// clientsFew is how few clients a node may be left with before it is said to
// have no room.
const clientsFew = 32

// Clients is for how many clients a limit of open files leaves room, at most
// most. Clients must not take what the node needs to stay a member. An error
// says that there is no room for a node at all.
func Clients(limit uint64, nodes, shards, most int) (int, error) {
	own := Descriptors(nodes, shards)
	if limit < uint64(own+clientsFew) {
		return 0, fmt.Errorf("limit of open files is %d, and a node with %d nodes and %d shards needs %d beside its clients: ulimit -n, LimitNOFILE in a systemd unit",
			limit, nodes, shards, own)
	}
	return int(min(limit-uint64(own), uint64(most))), nil
}

// OpenFiles is the limit of this process. The Go runtime has raised it to the
// hard one.
func OpenFiles() (uint64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("doctor: open files: %w", err)
	}
	return l.Cur, nil
}

func (x *examination) openFiles() {
	const advice = "ulimit -n, LimitNOFILE in a systemd unit, nofile in /etc/security/limits.conf"
	n, err := Clients(x.OpenFiles, x.want.Nodes, x.want.Shards, x.want.clients())
	switch {
	case err != nil:
		x.gap(x.want.Provider != "", "kernel", "open files", fmt.Sprintf("%d; a node needs %d beside its clients", x.OpenFiles, Descriptors(x.want.Nodes, x.want.Shards)), advice)
	case n < x.want.clients():
		x.gap(false, "kernel", "open files", fmt.Sprintf("%d: room for %d clients of %d", x.OpenFiles, n, x.want.clients()), advice)
	default:
		x.ok("kernel", "open files", "%d: room for %d clients and the %d files a node may need itself", x.OpenFiles, n, Descriptors(x.want.Nodes, x.want.Shards))
	}
}

// clients is how many the front end takes at most.
func (w *Want) clients() int {
	if w.Clients > 0 {
		return w.Clients
	}
	return 10_000
}
