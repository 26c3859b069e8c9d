package grant

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Hold is how long a holder counts on a lease that acceptors guard, when two
// clocks drift apart by less than drift in that time.
func Hold(lease, drift int64) int64 {
	if plant.Is(plant.GrantDrift) {
		return lease
	}
	return lease - drift
}

// Renewal is the holder's half: when it sent the newest request that each
// acceptor granted.
type Renewal struct {
	sent     [proto.NodesMax]int64 // 0: nothing granted
	majority int
}

// NewRenewal starts without any lease. majority is that of the acceptors.
func NewRenewal(majority int) Renewal { return Renewal{majority: majority} }

// Granted takes in that acceptor n granted a request sent at t, which is
// above 0.
func (r *Renewal) Granted(n proto.NodeID, t int64) { r.sent[n] = max(r.sent[n], t) }

// Reset forgets everything: another life asks from now on.
func (r *Renewal) Reset() {
	if !plant.Is(plant.RenewReset) {
		r.sent = [proto.NodesMax]int64{}
	}
}

// Until is the end of what the holder may count on: a majority granted requests
// that were sent no earlier than hold before it (see Hold). 0 if no majority
// granted anything.
func (r *Renewal) Until(hold int64) int64 {
	// The majority-th largest. 16 entries: a selection in place is enough.
	s := r.sent
	for i := range r.majority {
		top := i
		for j := i + 1; j < len(s); j++ {
			if s[j] > s[top] {
				top = j
			}
		}
		s[i], s[top] = s[top], s[i]
	}
	if plant.Is(plant.RenewMinority) && s[0] > 0 {
		return s[0] + hold
	}
	if t := s[r.majority-1]; t > 0 {
		return t + hold
	}
	return 0
}
