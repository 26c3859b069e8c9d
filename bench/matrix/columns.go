package matrix

import (
	"fmt"
	"strings"

	"healkv/dataplane/proto"
)

// Words of a column.
const (
	SHM    = "shm"    // all nodes on one host: the kernel proves deaths, no link can be cut
	TCP    = "tcp"    // a host for each: silence is all there is
	Memory = "memory" // a pool keeps nothing over a power loss
	File   = "file"   // it keeps what was flushed
)

// Column is a kind of cluster.
type Column struct{ Model, Provider, Domain string }

func (c Column) String() string { return c.Model + " " + c.Provider + " " + c.Domain }

// ParseColumn is the inverse of String.
func ParseColumn(s string) (Column, error) {
	for _, c := range Columns() {
		if c.String() == strings.TrimSpace(s) {
			return c, nil
		}
	}
	return Column{}, fmt.Errorf("matrix: %q is no column: a model, %s or %s, %s or %s", s, SHM, TCP, Memory, File)
}

// Columns are all kinds of cluster: five models, two ways to connect, two ways
// to keep.
func Columns() (all []Column) {
	for _, domain := range []string{Memory, File} {
		for _, provider := range []string{SHM, TCP} {
			for _, m := range proto.Models() {
				all = append(all, Column{m.String(), provider, domain})
			}
		}
	}
	return all
}
