package report

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"healkv/bench/interference"
	"healkv/bench/record"
)

// ErrInput: the input does not make a report. The text says what is missing.
var ErrInput = errors.New("report: bad input")

// Input is everything a report is made of.
type Input struct {
	Title string // "" takes a default
	Env   Environment
	Runs  []Run // one for each way of recovery, the first is the headline
	// Returns are further ways back of killed nodes, for the median of what is the
	// same in all of them; may be empty.
	Returns []Return
	// Verification is nil if nothing was verified, which the report then says.
	Verification *Verification
	// Failover is what faults of several kinds cost, each done several times; may be
	// empty.
	Failover []Failover
	Rolling  *Rolling    // may be nil
	Cold     []ColdStart // may be empty
	// NoInterference says why the scheduler was not watched, if it was not.
	NoInterference string
	Notes          []string // further lines for "How this was measured"
}

// Environment is what every figure carries.
type Environment struct {
	Commit     string  `json:"commit"`
	Machine    string  `json:"machine"`
	Kernel     string  `json:"kernel"`
	Cores      int     `json:"cores"`
	Nodes      int     `json:"nodes"`
	Provider   string  `json:"provider"`
	Device     string  `json:"device,omitempty"` // the provider's, at one node: RDMA device, address
	Domain     string  `json:"domain"`
	PageSize   string  `json:"page_size"`
	Model      string  `json:"model"`
	Shards     int     `json:"shards"`
	Keys       uint64  `json:"keys"`
	KeyBytes   string  `json:"key_bytes"` // for example "3 to 24"
	ValueBytes int     `json:"value_bytes"`
	Workload   string  `json:"workload"`
	Mix        string  `json:"mix"` // workload.Spec.About
	Clients    string  `json:"clients"`
	RatePerS   float64 `json:"rate_per_s"` // offered by all nodes together; 0 for a closed loop
	DurationS  float64 `json:"duration_s"`
	StartUnix  int64   `json:"start_unix_ns"`
	Emulated   string  `json:"emulated,omitempty"` // what is not the real hardware, if anything
}

// Transport is the provider and what it runs on.
func (e *Environment) Transport() string {
	if e.Device == "" {
		return e.Provider
	}
	return e.Provider + " (" + e.Device + ")"
}

// Run is one experiment: steady, kill, away, restart, steady again.
type Run struct {
	Name   string // "heal", "full"
	Victim int    // the killed node
	// Nodes are the traces of all nodes, the lives of one node joined.
	Nodes    []NodeTrace
	Events   []Event // of all nodes and of the one who killed; any order
	Marks    Marks
	Recovery Recovery
	// Interference is what the hot-path threads of the nodes that lived on went
	// through between two CLOCK_MONOTONIC moments; nil if nobody watched.
	// recovering is of the victim's new process.
	Interference func(from, to int64, recovering bool) interference.Share
	// WallOffset added to a CLOCK_MONOTONIC time gives unix time, ns.
	WallOffset int64
}

// NodeTrace is what one node's generators completed.
type NodeTrace struct {
	Node    int
	Windows []record.Window // rising Index; windows that are left out are empty
}

// JoinWindows puts several generators of one node, or several lives of it,
// together; windows of the same index are added up. The write gap of such a window
// is the smaller one, an upper bound.
func JoinWindows(files ...[]record.Window) []record.Window {
	var all []record.Window
	for _, f := range files {
		all = append(all, f...)
	}
	slices.SortStableFunc(all, func(a, b record.Window) int { return int(min(max(a.Index-b.Index, -1), 1)) })
	out := all[:0]
	for _, w := range all {
		if n := len(out); n > 0 && out[n-1].Index == w.Index {
			out[n-1] = out[n-1].Join(w)
			continue
		}
		out = append(out, w)
	}
	return out
}

// Event is something that happened at a node. The names the report knows are the
// Event constants; others are shown in the list only.
type Event struct {
	At     int64 // CLOCK_MONOTONIC ns
	Node   int
	Name   string
	Epoch  uint32
	Detail string
}

// Names of events.
const (
	EventKilled      = "killed"       // by the experiment: SIGKILL sent
	EventProcessGone = "process_gone" // by the experiment: the kernel has taken the process down
	EventRestarted   = "restarted"    // by the experiment: new process started

	EventSuspected     = "suspected"
	EventViewInstalled = "view_installed"

	EventProcessStarted  = "process_started"
	EventPoolMapped      = "pool_mapped"
	EventIncarnation     = "incarnation"    // the register has given the life its number
	EventEndpointsOpen   = "endpoints_open" // its ends of the data connections are made
	EventConnected       = "connected"      // hellos of all members answered
	EventJoinAsked       = "join_asked"
	EventAdmitted        = "admitted"
	EventAllInstalled    = "all_installed"
	EventTransferBegun   = "transfer_begun"
	EventTransferDone    = "transfer_done"
	EventFlushed         = "flushed"
	EventPromoted        = "promoted"
	EventFirstReadServed = "first_read_served"
)

// Marks bound the phases; CLOCK_MONOTONIC ns. A zero ViewInstalled or Serving is
// taken from the events.
type Marks struct {
	Begin         int64 // of the steady phase
	Killed        int64
	ViewInstalled int64 // at the last live node
	Restarted     int64
	Serving       int64 // the victim served its first read
	End           int64
}

// Recovery is the status the recovered node reported. Times in ns from its start.
type Recovery struct {
	Kind        string `json:"kind"` // "heal", "full", "none", "cold"
	Why         string `json:"why,omitempty"`
	Buddy       int    `json:"buddy"`
	ToAdmitted  int64  `json:"to_admitted_ns"`
	ToInstalled int64  `json:"to_installed_ns"`
	Transfer    int64  `json:"transfer_ns"`
	Finish      int64  `json:"finish_ns"`
	Total       int64  `json:"total_ns"`
	Bytes       uint64 `json:"bytes"`       // moved
	Records     uint64 `json:"records"`     // moved
	Applied     uint64 `json:"applied"`     // of these: newer than what was there
	RangeBytes  uint64 `json:"range_bytes"` // of the buddy's log range that had to be looked at
	StoreBytes  uint64 `json:"store_bytes"` // of the whole store
	Leftovers   uint64 `json:"leftovers"`   // own records rolled forward
	// MissedBytes is the distinct data written while the node was away; 0 if it was
	// not counted.
	MissedBytes uint64 `json:"missed_bytes"`
}

// Verification is what was compared at the end, and how it went.
type Verification struct {
	AckedWrites  uint64   `json:"acked_writes"`  // acknowledged in all
	AckedKeys    uint64   `json:"acked_keys"`    // distinct keys with one
	KeysCompared uint64   `json:"keys_compared"` // over all nodes
	Missing      uint64   `json:"missing"`
	Older        uint64   `json:"older"`
	DigestNodes  int      `json:"digest_nodes"` // nodes with the same data
	DigestKeys   uint64   `json:"digest_keys"`  // keys in each digest
	Digest       string   `json:"digest"`
	DigestsAgree bool     `json:"digests_agree"`
	HistoryOps   int      `json:"history_ops"` // compared
	HistoryKeys  int      `json:"history_keys"`
	Linearizable bool     `json:"linearizable"`
	Minimum      string   `json:"minimum,omitempty"` // the stated minima
	Problems     []string `json:"problems,omitempty"`
	OK           bool     `json:"ok"`
}

func (r *Run) fill() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%w: run %q: %s", ErrInput, r.Name, fmt.Sprintf(format, args...))
	}
	if r.Name == "" || strings.ContainsAny(r.Name, "/\\ \t\n,\"<>&'") {
		return fail("a run needs a name without blanks, commas, quotes and slashes")
	}
	if len(r.Nodes) == 0 {
		return fail("no nodes")
	}
	victim := false
	seen := map[int]bool{}
	for i, n := range r.Nodes {
		victim = victim || n.Node == r.Victim
		if seen[n.Node] {
			return fail("node %d twice: join its windows", n.Node)
		}
		seen[n.Node] = true
		if !slices.IsSortedFunc(r.Nodes[i].Windows, func(a, b record.Window) int { return int(min(max(a.Index-b.Index, -1), 1)) }) {
			return fail("windows of node %d are not in order", n.Node)
		}
	}
	if !victim {
		return fail("the victim, node %d, is not among the nodes", r.Victim)
	}
	r.Events = slices.Clone(r.Events)
	slices.SortStableFunc(r.Events, func(a, b Event) int { return int(min(max(a.At-b.At, -1), 1)) })
	m := &r.Marks
	if m.Killed == 0 {
		m.Killed = r.first(EventKilled, r.Victim, m.Begin)
	}
	if m.Restarted == 0 {
		m.Restarted = r.first(EventRestarted, r.Victim, m.Killed)
	}
	if m.ViewInstalled == 0 {
		for _, n := range r.Nodes {
			if at := r.first(EventViewInstalled, n.Node, m.Killed); n.Node != r.Victim && at != 0 && at < m.Restarted {
				m.ViewInstalled = max(m.ViewInstalled, at)
			}
		}
	}
	r.serving()
	order := []int64{m.Begin, m.Killed, m.ViewInstalled, m.Restarted, m.Serving, m.End}
	for i, at := range order {
		if at <= 0 || i > 0 && at < order[i-1] {
			return fail("marks begin, killed, view installed, restarted, serving, end are %d: each must be there and not before the one in front", order)
		}
	}
	if m.Killed-m.Begin < 2*record.WindowNanos {
		return fail("the steady phase is %d ns, at least two windows of %d ns", m.Killed-m.Begin, record.WindowNanos)
	}
	return nil
}

// serving takes the end of the way back from the events, unless it is known.
func (r *Run) serving() {
	for _, name := range []string{EventFirstReadServed, EventPromoted} {
		if r.Marks.Serving == 0 {
			r.Marks.Serving = r.first(name, r.Victim, r.Marks.Restarted)
		}
	}
}

// first event of that name at a node from a moment on; 0 if there is none.
func (r *Run) first(name string, node int, from int64) int64 {
	for _, e := range r.Events {
		if e.Name == name && e.Node == node && e.At >= from {
			return e.At
		}
	}
	return 0
}
