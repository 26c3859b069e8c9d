package healkv

import (
	"healkv/pmem/store"
)

// DamageStatus is what is known of damaged records of this node.
type DamageStatus struct {
	Found    uint64   `json:"found"`    // since the node's life began
	Repaired uint64   `json:"repaired"` // of those: fetched from a member, or superseded
	Open     int      `json:"open"`     // not repaired yet
	Refused  int      `json:"refused"`  // of the open ones: no member has a good copy
	Dropped  uint64   `json:"dropped,omitempty"`
	Keys     []string `json:"keys,omitempty"` // what is known of the refused ones' keys
}

// damagedKeysMost bounds the list in a status.
const damagedKeysMost = 100

// Damage tells what is damaged here. Any goroutine.
func (n *Node) Damage() (d DamageStatus) {
	c := n.host.Core()
	if c == nil {
		return d
	}
	for _, w := range c.Workers() {
		d.add(w.Pool().Store())
	}
	return d
}

func (d *DamageStatus) add(st *store.Store) {
	c := st.Damage()
	d.Found += c.Found
	d.Repaired += c.Repaired
	d.Open += c.Open
	d.Refused += c.Refused
	d.Dropped += c.Dropped
	for _, h := range st.RefusedHurts() {
		if len(d.Keys) == damagedKeysMost {
			return
		}
		d.Keys = append(d.Keys, h.String())
	}
}
