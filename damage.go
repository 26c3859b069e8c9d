package healkv

import (
	"errors"
	"fmt"

	"healkv/dataplane"
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

// countDamage adds up what one shard knows, inside Do.
func countDamage(w *dataplane.Worker, c map[string]uint64) {
	d := w.Pool().Store().Damage()
	c["damaged_found"] += d.Found
	c["damaged_repaired"] += d.Repaired
	c["damaged_waiting_operations_refused"] += w.Counters.Hurt
}

// ErrAcceptLoss is why a loss was not accepted.
var ErrAcceptLoss = errors.New("healkv: loss not accepted")

// AcceptLoss gives up the damaged records that no live member has a good copy
// of: their keys are as if they had never been written, here, and at the other
// members when they ask this one again, within seconds. A member that is away
// may have a good copy: when it is back it is asked first, so this is for when
// it will not come. It returns how many were given up.
func (n *Node) AcceptLoss() (records int, err error) {
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	if l == nil || n.host.Core() != l.core {
		return 0, fmt.Errorf("%w: the node is between two lives; give the order again", ErrAcceptLoss)
	}
	if v := l.heal.Installed(); !v.Live.Has(l.self.Node) || !v.Has(l.self) {
		return 0, fmt.Errorf("%w: node %d is not live: what it lacks it may be about to get", ErrAcceptLoss, l.self.Node)
	}
	for i, w := range l.core.Workers() {
		if !w.Do(func() { records += w.Pool().Store().GiveUp() }) {
			return records, fmt.Errorf("%w: shard %d has stopped", ErrAcceptLoss, i)
		}
		w.Mended()
	}
	if records > 0 {
		n.event("loss_accepted", 0, fmt.Sprintf("%d records", records))
		n.log.Warn("damaged records given up by order: their keys are as if never written", "records", records)
	}
	return records, nil
}
