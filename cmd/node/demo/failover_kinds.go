package demo

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"healkv/bench/report"
)

// failoverKind is a fault whose cost is measured on its own.
type failoverKind struct {
	name, what string
	signal     syscall.Signal
	oneHost    bool // over shared memory; else over the others
	trusted    bool // the nodes run with --trust-refused
	bound      func(r *runner) (stall time.Duration, says, unjudged string)
}

var failoverKinds = []failoverKind{
	{"SIGKILL", "the process is gone, and the kernel of the host proves it", syscall.SIGKILL, true, false, proven},
	{"SIGSTOP", "the process stands still, as a host that hangs: nothing proves its death, its lease must run out", syscall.SIGSTOP, true, false, silent},
	{"SIGTERM", "a planned leave: it finishes its writes and hands its place back first", syscall.SIGTERM, true, false, proven},
	{"SIGKILL", "the process is gone, but between hosts nothing proves it: its lease must run out", syscall.SIGKILL, false, false, silent},
	{"SIGSTOP", "the process stands still, as a host that hangs: its lease must run out", syscall.SIGSTOP, false, false, silent},
	{"SIGKILL, trust_refused", "the process is gone; its address refuses connections, and the setting says that this proves it", syscall.SIGKILL, false, true, refused},
}

// While the cost of a fault is measured there are only writes, and only so many:
// a workload that seldom writes shows the gap between two of its writes, and
// generators that use up the processors all nodes share show who waits for one.
const (
	stallRate      = 2000 // a second, all nodes together
	stallWatchRate = 30   // operations of watched keys a second, each node
)

// stallLoad is of the keys of the workload that was asked for.
func stallLoad(workload string) string {
	if strings.HasPrefix(workload, "ycsb-") {
		return "ycsb-a" // half of them are writes
	}
	return "write-only"
}

const (
	// provenBound is for a death that the kernel proves, or that was announced. It
	// is stated with huge pages: without, the kernel takes 30 to 200 ms per GiB
	// mapped to take a process down, and only then are its locks free.
	provenBound = 20 * time.Millisecond
	// refusedBound is for connections that are refused, as trust_refused has it.
	refusedBound = 50 * time.Millisecond
	// silentBeyond is what may come on top of the lease of a silent node and one
	// round trip, which on one host is nothing beside.
	silentBeyond = 10 * time.Millisecond
	// readBound is for reads of a key that nobody writes, at nodes that nothing was
	// done to: they wait for no node, only for a processor that all nodes and
	// generators share.
	readBound = 50 * time.Millisecond
)

func proven(r *runner) (time.Duration, string, string) {
	return provenBound, "with huge pages", r.smallPages()
}

func refused(*runner) (time.Duration, string, string) { return refusedBound, "", "" }

func silent(r *runner) (time.Duration, string, string) {
	return r.o.Lease + silentBeyond, fmt.Sprintf("lease %v + round trip + %v", r.o.Lease, silentBeyond), ""
}

// smallPages says so if there are no huge pages.
func (r *runner) smallPages() string {
	if r.env.PageSize != "4KiB" {
		return ""
	}
	return "pages of 4KiB: huge ones need root, who may mount a tmpfs with them"
}

// row begins the report's row of a kind.
func (k *failoverKind) row(r *runner, provider string) report.Failover {
	stall, says, unjudged := k.bound(r)
	return report.Failover{Kind: k.name, Provider: provider, What: fmt.Sprintf("%s; under %s, %d accesses/s", k.what, stallLoad(r.o.Workload), stallRate),
		Bound: int64(stall), BoundSays: says, Unjudged: unjudged, ReadBound: int64(readBound)}
}
