package matrix

import (
	"fmt"
	"slices"
	"time"
)

// Row is one thing that happens to a cluster.
type Row struct {
	Name   string
	Family string // a heading of the table, and of a runbook
	What   string
	// NA says why the row means nothing in a column; "" where it does.
	NA func(Column) string
	// Bound is the longest stall of writes: at a node that may serve, or of all
	// of them. It counts what the row itself takes away.
	Bound func(c Column, lease time.Duration) time.Duration
}

// How long things last, in leases. Who carries out a row keeps to it.
const (
	Away       = 2 // a process that was killed is started again
	ShortPause = 0.5
	LongPause  = 5
	ShortCut   = 0.5
	LongCut    = 5
	LastingCut = 12 // a cut that people must mend
)

// Families.
const (
	Deaths    = "deaths"
	Second    = "a second failure on the way back"
	Majority  = "more than a majority"
	Networks  = "networks"
	Slowness  = "standing still"
	Disks     = "disks and pools"
	Returns   = "ways back"
	Planned   = "planned"
	Acceptors = "the view register's files"
)

// Steps of a way back at which something may fail a second time, as the nodes'
// events name them, and who may fail.
var (
	Steps = []string{"admitted", "all_installed", "transfer_begun", "transfer_done", "leftovers_rolled", "flushed", "promoted"}
	Whose = []string{"itself", "buddy", "another"}
)

// AtStep names a row of the family Second.
func AtStep(step, whose string) string { return step + ": " + whose }

func always(Column) string { return "" }

func onlyLinks(c Column) string {
	if c.Provider == SHM {
		return "the memory that nodes of one host share is no link and cannot be cut"
	}
	return ""
}

func onlyFile(c Column) string {
	if c.Domain == Memory {
		return "a pool in memory is never flushed to a medium and keeps nothing over a power loss: see reboot"
	}
	return ""
}

// leases is a bound of so many, the same in every column.
func leases(n float64) func(Column, time.Duration) time.Duration {
	return func(_ Column, lease time.Duration) time.Duration { return times(n, lease) }
}

func times(n float64, lease time.Duration) time.Duration { return time.Duration(n * float64(lease)) }

// removal is how long a dead member holds up writes. The kernel proves a death
// on its host as soon as it has taken the memory down; else the lease must have
// lapsed, and be missed for up to half its length where its beats come unevenly.
const (
	proven = 0.75
	silent = 1.5
)

// apart is how long two members that do not reach one another, and are reached
// by all others, hold up writes, their own or all: until their streams have
// stood still for a lease, one of them has been named and its lease has run out.
const apart = 3

// afterDeaths is the bound after so many deaths one after the other, and
// something more.
func afterDeaths(n int, more float64) func(Column, time.Duration) time.Duration {
	return func(c Column, lease time.Duration) time.Duration {
		one := float64(silent)
		if c.Provider == SHM {
			one = proven
		}
		return times(float64(n)*one+more, lease)
	}
}

// Rows are all of them, by family.
func Rows() []Row {
	rows := []Row{
		{"killed", Deaths, "one process is killed and started again", always, afterDeaths(1, 0)},
		{"killed again", Deaths, "the same process is killed as soon as it is live again", always, afterDeaths(1, 0)},
		{"killed while it starts", Deaths, "a process is killed several times before it is a member", always, afterDeaths(1, 0.5)},
		{"two killed", Deaths, "two processes are killed at once, a majority is left", always, afterDeaths(1, 0.5)},
		{"view change", Deaths, "a second process is killed while the first one is being removed", always, afterDeaths(2, 0)},
	}
	for _, step := range Steps {
		for _, whose := range Whose {
			na := always
			if whose == "buddy" && slices.Index(Steps, step) < slices.Index(Steps, "transfer_begun") {
				na = func(Column) string { return "nobody is a buddy before the transfer begins" }
			}
			rows = append(rows, Row{AtStep(step, whose), Second, fmt.Sprintf("a process returns; at its step %s %s is killed", step, subject(whose)), na, afterDeaths(2, 0.5)})
		}
	}
	return append(rows, []Row{
		{"majority lost", Majority, "so many are killed that no majority is left; they come back", always, leases(Away + 3)},
		{"all killed", Majority, "every process is killed at once: a cold start", always, leases(Away + 3)},
		{"all lose power", Majority, "every machine loses power: a cold start from what was flushed", onlyFile, leases(Away + 4)},
		{"killed in the cold start", Majority, "every process is killed, and one of them again during the cold start", always, leases(Away + 6)},
		{"forced cold start", Majority, "all are down, one pool is gone, and the operator orders to go on without it", always, leases(Away + 4)},

		{"isolated", Networks, "one node is cut off from all others for long", onlyLinks, afterDeaths(1, 0.5)},
		{"cut shortly", Networks, "all links of one node are cut for half a lease", onlyLinks, leases(1.25)},
		{"one way", Networks, "what one node sends to all others is lost, what they send arrives", onlyLinks, afterDeaths(1, 0.5)},
		{"one way between two", Networks, "what one node sends to another is lost", onlyLinks, leases(apart)},
		{"two apart", Networks, "the link between two nodes is cut and heals", onlyLinks, leases(apart)},
		{"two stay apart", Networks, "the link between two nodes is cut and stays so for longer: one of them must leave", onlyLinks, leases(3)},
		{"split", Networks, "a minority is cut off from the majority for long", onlyLinks, afterDeaths(1, 1)},
		{"split without a majority", Networks, "three parts, none of them a majority", onlyLinks, leases(LongCut + 3)},
		{"slow link", Networks, "messages between two nodes take a quarter of a lease for a while", onlyLinks, leases(2.5)},
		{"damaged stream", Networks, "bits of a stream are wrong when they arrive", always, afterDeaths(1, 0.5)},
		{"damaged control message", Networks, "a message of the control plane cannot be read: its connection ends", onlyLinks, afterDeaths(1, 0.5)},
		{"refused connection", Networks, "a process is killed where a refused connection is trusted as proof", func(c Column) string {
			if c.Provider == SHM {
				return "the kernel proves deaths on one host, nobody waits for a connection to be refused"
			}
			return ""
		}, leases(1)}, // three refusals, and where not everybody was refused yet a view that is held back for 10 ms, half of a short lease

		{"paused shortly", Slowness, "a process stands still for half a lease", always, leases(ShortPause + 0.5)},
		{"paused for long", Slowness, "a process stands still until it is removed and some time more", always, leases(silent + 0.5)},
		{"all paused", Slowness, "every process stands still until all leases are over", always, leases(LongPause + 3)},
		{"hung shards", Slowness, "a process answers its peers, its shards do not move", always, leases(silent + 1)},
		{"slow node", Slowness, "a node does everything many times slower", always, leases(2)},
		{"clock too fast", Slowness, "a clock gains as much as it may, and jumps ahead", always, leases(1)},

		{"slow disk", Disks, "flushes of one node take half a lease", onlyFile, leases(2)},
		{"failed flush", Disks, "a flush fails: the node stops, comes back and heals", onlyFile, afterDeaths(1, 0.5)},
		{"dies in a flush", Disks, "a machine loses power in the middle of a flush", onlyFile, leases(silent + 0.5)},
		{"reboot", Disks, "one machine loses power: memory is blank, a file has what was flushed", always, leases(silent + 0.5)},
		{"reboot of all", Disks, "every machine loses power and all pools are blank: nothing serves, all say so and refuse to be ordered", func(c Column) string {
			if c.Domain == File {
				return "a file keeps what was flushed: see all lose power"
			}
			return ""
		}, leases(Away + 8)},
		{"blank pool", Disks, "a node's pool is lost: it comes back by a full copy", always, leases(silent + 0.5)},
		{"older pool", Disks, "a copy of the pool from earlier in the same life is brought back", onlyFile, leases(silent + 0.5)},
		{"older pool of an earlier life", Disks, "a copy of the pool from before an earlier way back is brought back", onlyFile, leases(2*silent + 0.5)},
		{"older pool after all restarted", Disks, "the same, and nobody is left who saw what the pool had: only their pools say it", onlyFile, leases(Away + 3)},
		{"foreign pool", Disks, "the pool of another node lies where the node's was", always, leases(silent + 0.5)},

		{"acceptor's disk fails", Acceptors, "a node cannot write down its votes for a while, and tries again: meanwhile another is removed without its vote", always, afterDeaths(1, 1)},
		{"acceptor's disk is slow", Acceptors, "one node takes a quarter of a lease to write down a vote while another is removed", always, afterDeaths(1, 1)},
		{"acceptor's file older", Acceptors, "an older copy of the file is brought back: it must not vote with old promises", always, afterDeaths(1, 0.5)},
		{"acceptor's file lost", Acceptors, "the file is made anew by the operator", always, afterDeaths(1, 0.5)},
		{"acceptor's file foreign", Acceptors, "the file of another node lies where the node's was", always, afterDeaths(1, 0.5)},

		{"shadow that keeps dying", Returns, "a node dies every time it has been admitted", always, afterDeaths(2, 0.5)},
		{"full copy cut off", Returns, "a node dies in the middle of a full copy and begins another", always, afterDeaths(2, 0.5)},
		{"first view with one missing", Returns, "the cluster begins, and one node is not there yet", always, leases(Away + 3)},

		{"leave", Planned, "a process is asked to stop: it leaves the view, and comes back by heal", always, leases(0.75)},
		{"rolling restart", Planned, "every process is asked to stop and started again, one after the other", always, leases(0.75)},
		{"drain", Planned, "a node is drained by the operator's command and comes back", always, leases(0.75)},
		{"certificates rotated", Planned, "the authority and all certificates are exchanged under load", func(c Column) string {
			if c.Provider == SHM {
				return "nodes of one host meet over sockets of the file system, without certificates"
			}
			return ""
		}, leases(0.5)},
	}...)
}

func subject(whose string) string {
	switch whose {
	case "itself":
		return "it"
	case "buddy":
		return "the node that serves its transfer"
	}
	return "a third node"
}

// RowOf finds a row by its name.
func RowOf(name string) (Row, bool) {
	all := Rows()
	if i := slices.IndexFunc(all, func(r Row) bool { return r.Name == name }); i >= 0 {
		return all[i], true
	}
	return Row{}, false
}
