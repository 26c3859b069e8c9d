package healkv

import (
	"fmt"
	"math"
	"sync"
	"time"

	"healkv/heal/identity"
	"healkv/rdma"
)

// renewPause is left between two peers whose data connections are made anew.
const renewPause = 200 * time.Millisecond

// ends are the endpoints of the present life, for those who do not run it.
type ends struct {
	mu sync.Mutex
	of map[int]rdma.Endpoint // by shard
}

// opened takes an endpoint in; an earlier one of the shard is closed already, or
// about to be.
func (e *ends) opened(shard int, x rdma.Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil {
		e.of = map[int]rdma.Endpoint{}
	}
	e.of[shard] = x
}

func (e *ends) all() (list []rdma.Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.of {
		list = append(list, x)
	}
	return list
}

// redialData makes the data connections to all peers anew, one peer after the
// other: the certificates they were made with are not the present ones.
func (n *Node) redialData() {
	if !n.cfg.DataTLS {
		return
	}
	for peer := range n.cfg.Nodes {
		for _, x := range n.ends.all() {
			if r, ok := x.(rdma.Redialer); ok && peer != n.cfg.Node {
				r.Redial(peer)
			}
		}
		select {
		case <-n.ctx.Done():
			return
		case <-time.After(renewPause):
		}
	}
}

// CertificateStatus is what a node shows of the certificate with which it
// proves who it is.
type CertificateStatus struct {
	identity.Status
	DaysLeft float64 `json:"days_left"` // below 0: it has expired
}

func (n *Node) certificate() *CertificateStatus {
	s, ok := n.Certificate()
	if !ok {
		return nil
	}
	return &CertificateStatus{s, math.Floor(10*s.DaysLeft(time.Now())) / 10}
}

// expires records that the certificate has not long to go.
func (n *Node) expires(end time.Time, daysLeft float64) {
	n.event("certificate_expires", 0, fmt.Sprintf("valid until %s, %.0f days left", end.UTC().Format(time.RFC3339), math.Floor(daysLeft)))
}

// Certificate tells of the certificate with which this node proves who it is:
// until when, when it was replaced last, and what is wrong with the files if
// something is. ok is false where none is needed.
func (n *Node) Certificate() (s identity.Status, ok bool) { return n.control.Certificate() }
