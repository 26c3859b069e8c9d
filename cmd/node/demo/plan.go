package demo

import (
	"errors"
	"fmt"
	"time"

	"healkv/bench/record"
)

// Options of a demo.
type Options struct {
	Out           string // report and files; made if absent
	Dir           string // cluster directory; made, and removed at the end
	Program       string // the binary that serves
	Nodes         int
	Keys          uint64
	Workload      string
	Rate          float64 // accesses a second, all nodes together
	Victim        int     // the node that is killed
	Steady        time.Duration
	Away          time.Duration
	After         time.Duration
	Full          bool          // the second experiment: the same with a full copy
	Returns       int           // further kills and ways back, for what is the same in all of them
	Overwrite     int           // times the hot 1 % is overwritten in the third experiment; 0: leave it out
	WatchRate     float64       // operations of watched keys a second, each node
	History       int           // operations of watched keys to be judged, at least: the load goes on until there are as many
	HistoryWithin time.Duration // bound on that
	Lease         time.Duration // of the cluster: on machines that need a long one everything takes longer
	Interference  bool          // watch the scheduler, for the report
	Commit        string
	Verify        Minima
	Measured      Measured // before, for the report
	Check         bool     // whether what was measured keeps its bounds
	Say           func(format string, args ...any)
}

// Minima are how much must have been compared for the verdict to mean
// anything.
type Minima struct {
	AckedWrites uint64 // acknowledged writes over all generators
	AckedKeys   uint64 // distinct keys compared at every node
	HistoryOps  int    // operations of the watched keys
}

// Defaults of `node demo`: within two minutes on two cores.
func Defaults() Options {
	return Options{Nodes: 6, Keys: 500_000, Workload: "taobench-a", Rate: 60_000, Victim: 2,
		Steady: 6 * time.Second, Away: 5 * time.Second, After: 5 * time.Second, Full: true, Returns: 5, Overwrite: 100, WatchRate: 300, HistoryWithin: 10 * time.Minute,
		Interference: true,
	}
}

// MinimaFor scales what must be compared with what is asked for: every loaded
// key, and of the watched operations as many as were asked for, or a share of
// what the time allows: 300 a second and node are offered, but one client has
// one under way, and where a write waits for a disk it gets to a fraction of
// them.
func MinimaFor(o *Options) Minima {
	load := (2*(o.Steady+o.After) + o.Away).Seconds()
	m := Minima{AckedWrites: o.Keys, AckedKeys: o.Keys, HistoryOps: int(load * 40 * float64(o.Nodes-1))}
	if o.History > 0 {
		m.HistoryOps = o.History
	}
	return m
}

// patience is how long to wait for something that takes part of usual, or a
// number of leases.
func (o *Options) patience(usual time.Duration, leases int) time.Duration {
	return max(usual, time.Duration(leases)*o.Lease)
}

var errOptions = errors.New("demo: options")

func (o *Options) validate() error {
	switch {
	case o.Nodes < 3 || o.Nodes > 16:
		return fmt.Errorf("%w: %d nodes, want 3 to 16: a group of fewer has no majority without the one that is killed", errOptions, o.Nodes)
	case o.Victim < 0 || o.Victim >= o.Nodes:
		return fmt.Errorf("%w: victim %d of %d nodes", errOptions, o.Victim, o.Nodes)
	case o.Keys < 1000:
		return fmt.Errorf("%w: %d keys, want at least 1000", errOptions, o.Keys)
	case !(o.Rate > 0):
		return fmt.Errorf("%w: rate %v, want above 0", errOptions, o.Rate)
	case !(o.WatchRate > 0 && o.WatchRate <= 1e6):
		return fmt.Errorf("%w: %v operations of watched keys a second, want above 0 to 1e6", errOptions, o.WatchRate)
	case o.History < 0 || o.History > 1e8:
		return fmt.Errorf("%w: %d operations of watched keys, want 0 to 1e8", errOptions, o.History)
	case o.Returns < 0 || o.Returns > 1000:
		return fmt.Errorf("%w: %d further returns, want 0 to 1000", errOptions, o.Returns)
	case o.Overwrite > 0 && !o.Full:
		return fmt.Errorf("%w: the overwriting is compared with a full copy, which is left out: leave it out too, --overwrite 0", errOptions)
	}
	return nil
}

func now() int64 { return record.Now() }

// missed is what the victim had to catch up with, computed from the tables of
// acknowledged writes, not from what the nodes say.
type missed struct {
	Keys  uint64 // distinct keys acknowledged between kill and return
	Bytes uint64 // of their records in the log
}
