package explore

import (
	"fmt"

	"healkv/dataplane/proto"
)

// Limits of any configuration.
const (
	nodesMax  = 3
	keysMax   = 2
	writesMax = 4  // puts and deletes
	opsMax    = 4  // under way at one node
	viewsMax  = 12 // decided ones; beyond, a state is counted as cut
	livesMax  = 5  // of one node
)

// Config is one small world. What clients and faults may do is bounded by
// counts for the whole run; everything else happens whenever it can.
type Config struct {
	Name                    string
	Model                   proto.Model
	Nodes, Keys             int
	Puts, Deletes, Persists int  // offered by clients, at any live node
	Gets                    int  // reads that ask the worker, and may wait; see Explorer for the others
	Crashes                 int  // ends of a process
	Powers                  int  // of those, how many may lose what was not flushed
	Fences                  int  // leases lost by live nodes that run, shadows that run and are dropped
	Fine                    bool // watermarks, stream and publication are steps of their own
	// Bursts: every turn flushes, as dataplane.Worker does in the models whose
	// row says so; else the flush is a step of its own.
	Bursts                       bool
	LazySuper                    bool          // the superblock is written only where it must be
	FullCopy                     bool          // lives that were in no view heal by full copy
	NoRestart                    bool          // whoever is down stays down
	Prefix                       []string      // actions before the exploration begins
	CrashOnly, PutOnly, LoseOnly proto.NodeSet // 0: any node
}

func (c *Config) check() error {
	switch {
	case c.Nodes < 2 || c.Nodes > nodesMax:
		return fmt.Errorf("explore: %d nodes, want 2 to %d", c.Nodes, nodesMax)
	case c.Keys < 1 || c.Keys > keysMax:
		return fmt.Errorf("explore: %d keys, want 1 to %d", c.Keys, keysMax)
	case c.Puts+c.Deletes > writesMax:
		return fmt.Errorf("explore: %d writes, at most %d", c.Puts+c.Deletes, writesMax)
	}
	return nil
}

// String is the configuration as a report prints it.
func (c *Config) String() string {
	s := fmt.Sprintf("%s: %v, %d nodes, %d keys, %d puts", c.Name, c.Model, c.Nodes, c.Keys, c.Puts)
	for _, x := range []struct {
		n    int
		name string
	}{{c.Deletes, "deletes"}, {c.Persists, "persists"}, {c.Gets, "gets"}, {c.Crashes, "crashes"}, {c.Powers, "of them power losses"}, {c.Fences, "fences"}} {
		if x.n > 0 {
			s += fmt.Sprintf(", %d %s", x.n, x.name)
		}
	}
	for _, x := range []struct {
		on   bool
		name string
	}{{c.Bursts, "flushed every turn"}, {c.Fine, "fine steps"}, {c.LazySuper, "lazy superblock"}, {c.FullCopy, "full copy"}, {c.NoRestart, "no restart"}} {
		if x.on {
			s += ", " + x.name
		}
	}
	if len(c.Prefix) > 0 {
		s += fmt.Sprintf(", after %d actions", len(c.Prefix))
	}
	return s
}
