package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"healkv/rdma"
)

// Hub is a control plane within one process, for the tests of providers: any
// number of nodes, shards and lives. As in a real one, of several lives of a
// node the one that serves last is the one that is asked, and an error of an
// answer arrives as text only.
type Hub struct {
	mu    sync.Mutex
	seats []*seat // those that serve, oldest first
	cut   map[[2]int]bool
	calls int
}

// ErrCut is a call between two nodes that the test has cut.
var ErrCut = errors.New("conformance: control plane cut by the test")

// NewHub makes a hub without nodes.
func NewHub() *Hub { return &Hub{cut: map[[2]int]bool{}} }

// Exchange makes what one life of a node gives to its endpoint of one shard.
func (h *Hub) Exchange(node, shard int) rdma.Exchange {
	return &seat{hub: h, node: node, shard: shard}
}

// Cut makes calls from one node to another fail with ErrCut until Mend. One
// direction; what is being answered at the moment is answered.
func (h *Hub) Cut(from, to int)  { h.setCut(from, to, true) }
func (h *Hub) Mend(from, to int) { h.setCut(from, to, false) }

func (h *Hub) setCut(from, to int, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut[[2]int{from, to}] = on
}

// Calls counts the calls that reached a peer.
func (h *Hub) Calls() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls
}

// seat is one life's rdma.Exchange.
type seat struct {
	hub         *Hub
	node, shard int

	// Under hub.mu.
	answer func(ctx context.Context, from int, request []byte) ([]byte, error)
	busy   *sync.WaitGroup // answers under way of the present answer function
}

// Serve sets who answers; nil returns after the last answer has ended.
func (s *seat) Serve(answer func(ctx context.Context, from int, request []byte) ([]byte, error)) {
	h := s.hub
	h.mu.Lock()
	before := s.busy
	s.answer, s.busy = answer, new(sync.WaitGroup)
	h.seats = slices.DeleteFunc(h.seats, func(x *seat) bool { return x == s })
	if answer != nil {
		h.seats = append(h.seats, s)
	}
	h.mu.Unlock()
	if answer == nil && before != nil {
		before.Wait()
	}
}

// Call asks the newest life of the peer that serves this shard.
func (s *seat) Call(ctx context.Context, peer int, request []byte) ([]byte, error) {
	if len(request) > rdma.ExchangeMax {
		return nil, fmt.Errorf("conformance: request of %d bytes, at most %d", len(request), rdma.ExchangeMax)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	answer, busy, err := s.find(peer)
	if err != nil {
		return nil, err
	}
	type result struct {
		reply []byte
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer busy.Done()
		reply, err := answer(ctx, s.node, bytes.Clone(request))
		done <- result{bytes.Clone(reply), err}
	}()
	select {
	case r := <-done:
		switch {
		case r.err != nil:
			return nil, fmt.Errorf("conformance: node %d says: %s", peer, r.err.Error())
		case len(r.reply) > rdma.ExchangeMax:
			return nil, fmt.Errorf("conformance: answer of %d bytes, at most %d", len(r.reply), rdma.ExchangeMax)
		}
		return r.reply, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *seat) find(peer int) (func(context.Context, int, []byte) ([]byte, error), *sync.WaitGroup, error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cut[[2]int{s.node, peer}] {
		return nil, nil, fmt.Errorf("%w: node %d to node %d", ErrCut, s.node, peer)
	}
	for i := len(h.seats) - 1; i >= 0; i-- {
		if x := h.seats[i]; x.node == peer && x.shard == s.shard {
			h.calls++
			x.busy.Add(1)
			return x.answer, x.busy, nil
		}
	}
	return nil, nil, fmt.Errorf("%w: node %d serves no shard %d", rdma.ErrNoPeer, peer, s.shard)
}
