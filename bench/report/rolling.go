package report

import (
	"fmt"
	"slices"
	"strings"
)

// Rolling is a restart of every node as its operator would, one after the other,
// under load.
type Rolling struct {
	Nodes []RollingNode `json:"nodes"`
	// Of clients outside that go to another node when they are rejected or cannot
	// connect: operations that were answered, tries that had to be repeated, and
	// operations whose outcome they do not know.
	Clients    int    `json:"clients"`
	Operations uint64 `json:"operations"`
	Retried    uint64 `json:"retried"`
	Unknown    uint64 `json:"unknown"`
}

// RollingNode is one node's restart. Times in ns.
type RollingNode struct {
	Node    int    `json:"node"`
	Left    int64  `json:"left_ns"` // from the signal to the end of its process
	Away    int64  `json:"away_ns"` // from the signal until it is live again
	Stall   int64  `json:"stall_ns"`
	Kind    string `json:"kind"` // of its way back
	Bytes   uint64 `json:"bytes"`
	Unknown uint64 `json:"unknown"` // operations of the clients meanwhile
}

// ColdStart is what it takes to begin again when every process was killed.
type ColdStart struct {
	Provider string `json:"provider"`
	Domain   string `json:"domain"`
	Nodes    int    `json:"nodes"`
	// Times from the start of the processes until every node has answered a read, ns.
	Times []int64 `json:"times_ns"`
	// Cold is how many ways back were a cold start, over all times and nodes.
	Cold int `json:"cold"`
	// Acked is how many acknowledged writes were looked for afterwards, and Lost
	// how many of these were missing or older.
	Acked uint64 `json:"acked_writes"`
	Lost  uint64 `json:"lost_writes"`
}

func (c *ColdStart) where() string { return c.Provider + ", domain " + c.Domain }

func (c *ColdStart) medianMax() (median, most float64) {
	v := slices.Sorted(slices.Values(c.Times))
	return ms((v[(len(v)-1)/2] + v[len(v)/2]) / 2), ms(v[len(v)-1])
}

var rollingHeads = []string{"node", "process ended", "live again", "writes stall", "by", "moved", "unknown"}

func (r *Rolling) rows() (rows [][]string) {
	for _, n := range r.Nodes {
		rows = append(rows, []string{fmt.Sprint(n.Node), duration(ms(n.Left)), duration(ms(n.Away)), stallText(ms(n.Stall)), n.Kind, byteSize(n.Bytes), count(n.Unknown)})
	}
	return rows
}

func (r *Rolling) text() string {
	return fmt.Sprintf("%d clients outside: %s operations answered, %s tries rejected or not connected and done again elsewhere, %s of unknown outcome",
		r.Clients, count(r.Operations), count(r.Retried), count(r.Unknown))
}

func (c *ColdStart) row() []string {
	median, most := c.medianMax()
	return []string{c.where(), fmt.Sprint(c.Nodes), fmt.Sprint(len(c.Times)), duration(ms(slices.Min(c.Times))), duration(median), duration(most), count(c.Acked), count(c.Lost)}
}

var coldHeads = []string{"cluster", "nodes", "times", "read everywhere: min", "median", "max", "writes checked", "lost"}

// writePlanned writes both tables for the terminal.
func writePlanned(b *strings.Builder, r *Rolling, cold []ColdStart) {
	if r != nil {
		fmt.Fprintf(b, "\nRolling restart, %s\n", r.text())
		table(b, append([][]string{rollingHeads}, r.rows()...))
	}
	if len(cold) > 0 {
		b.WriteString("\nAll killed at once, then a cold start, timed from the start of all processes\n")
		rows := [][]string{coldHeads}
		for i := range cold {
			rows = append(rows, cold[i].row())
		}
		table(b, rows)
	}
}

func checkPlanned(r *Rolling, cold []ColdStart) error {
	if r != nil && (len(r.Nodes) == 0 || r.Operations == 0) {
		return fmt.Errorf("%w: a rolling restart of %d nodes with %d operations", ErrInput, len(r.Nodes), r.Operations)
	}
	for _, c := range cold {
		if len(c.Times) == 0 {
			return fmt.Errorf("%w: no cold start in domain %s", ErrInput, c.Domain)
		}
	}
	return nil
}
