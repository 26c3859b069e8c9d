package pmem

import (
	"errors"
	"fmt"
)

// Domain names what a flush does and which failure the data survives. It is
// requested in the config and never degraded in silence.
type Domain uint8

const (
	DomainAuto   Domain = iota // dax where MAP_SYNC works, memory on tmpfs, else file
	DomainDAX                  // MAP_SYNC mapping, cache-line flushes: survives power loss
	DomainFile                 // page cache and fdatasync: survives power loss
	DomainMemory               // tmpfs or anonymous memory: survives a process crash
)

// ErrDomain means that a durability domain is unknown, or that the place
// cannot give the one that was asked for.
var ErrDomain = errors.New("pmem: durability domain not available")

var domainNames = [...]string{"auto", "dax", "file", "memory"}

// ParseDomain reads "auto", "dax", "file" or "memory".
func ParseDomain(s string) (Domain, error) {
	for i, n := range domainNames {
		if n == s {
			return Domain(i), nil
		}
	}
	return DomainAuto, fmt.Errorf("%w: %q is none of auto, dax, file, memory", ErrDomain, s)
}

func (d Domain) String() string {
	if int(d) < len(domainNames) {
		return domainNames[d]
	}
	return fmt.Sprintf("domain(%d)", uint8(d))
}

// MarshalText writes the name for TOML and JSON.
func (d Domain) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a name from TOML or JSON; ErrDomain for any other text.
func (d *Domain) UnmarshalText(text []byte) error {
	v, err := ParseDomain(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}
