package healkv

import (
	"cmp"
	"context"
	"time"

	"healkv/dataplane/plant"
	"healkv/heal/membership"
)

// lease is the configured one, or the default.
func (n *Node) lease() time.Duration { return cmp.Or(n.cfg.Lease, membership.LeaseDefault) }

// progress reports whether every shard's worker turns: the lease is renewed
// only then (H29). A worker that sleeps is woken to show that it can.
func (n *Node) progress() bool {
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	if l == nil {
		return plant.Is(plant.LifelessLease) // between two lives: nobody waits for the last one's lease
	}
	if n.host.Core() != l.core {
		return true
	}
	n.stuck.Store(false)
	for i, w := range l.core.Workers() {
		if w.Exhausted() {
			n.renew.begin(func() { n.renewVersions(l) })
		}
		was := l.turns[i]
		for tries := 0; w.Turns() == was; tries++ {
			if tries == 50 {
				n.stuck.Store(true)
				return false
			}
			l.endpoints[i].Wake()
			time.Sleep(time.Millisecond)
		}
		l.turns[i] = w.Turns()
	}
	return true
}

// renewVersions asks for the next epoch, in which versions begin anew: one is
// used up, or there are many tombstones, which go only in a later view than
// theirs. It is called again as long as that is so.
func (n *Node) renewVersions(l *life) {
	ctx, cancel := context.WithTimeout(n.ctx, 4*n.lease())
	defer cancel()
	if _, err := n.members.SameMembers(ctx, n.members.Current().Epoch); err != nil {
		n.log.Info("a new epoch is wanted, and there is none yet", "life", l.self, "err", err)
	}
}
