package healkv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"healkv/dataplane/proto"
	"healkv/rdma"
)

// kindLink carries the requests between two endpoints of one shard.
const kindLink = "link"

// exchangePatience bounds a call whose context has no deadline.
const exchangePatience = 5 * time.Second

// caller is the part of the control plane that exchanges use.
type caller interface {
	Handle(kind string, h func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error))
	Call(ctx context.Context, n proto.NodeID, kind string, req, resp any) error
}

// ErrProviders means that two nodes of a group have different providers, which
// cannot be connected.
var ErrProviders = errors.New("healkv: different providers")

// errProviders says at either end which provider is where, and what to do.
func errProviders(own string, peer proto.NodeID, peers string) error {
	return fmt.Errorf("%w: this node has %q, node %d has %.40q: set provider to the same at all nodes (verbs must be built in at all of them: `node doctor --provider verbs` says what a host lacks), then restart those that were wrong",
		ErrProviders, own, peer, peers)
}

// linkRequest is a request of one life's endpoint. Which life of the peer it
// is meant for only the provider knows; it stands in Data.
type linkRequest struct {
	Shard    int          `json:"shard"`
	From     proto.Member `json:"from"`
	Provider string       `json:"provider"`
	Data     []byte       `json:"data"`
}

// linkReply is the answer of the present life's endpoint.
type linkReply struct {
	From   proto.Member `json:"from"`
	NoPeer bool         `json:"no_peer,omitempty"` // no such endpoint at the moment
	Other  string       `json:"other,omitempty"`   // the provider, if it is not the asker's
	Data   []byte       `json:"data,omitempty"`
}

// exchanges hands the requests of peers to the endpoints of the present life.
type exchanges struct {
	ctl      caller
	provider string
	log      *slog.Logger

	mu     sync.Mutex
	serves [proto.ShardsMax]*exchange
	newest [proto.NodesMax]proto.Incarnation // that asked for something
	others [proto.NodesMax]string            // providers that were complained of
}

func newExchanges(ctl caller, provider string, log *slog.Logger) *exchanges {
	x := &exchanges{ctl: ctl, provider: provider, log: log}
	ctl.Handle(kindLink, x.answer)
	return x
}

// unlike is the error of a peer with another provider. The log says it once, not
// with every attempt.
func (x *exchanges) unlike(peer proto.NodeID, peers string) error {
	err := errProviders(x.provider, peer, peers)
	x.mu.Lock()
	told := x.others[peer] == peers
	x.others[peer] = peers
	x.mu.Unlock()
	if !told {
		x.log.Error("cannot connect with a peer", "peer", peer, "err", err)
	}
	return err
}

// of is the exchange of one life's shard.
func (x *exchanges) of(self proto.Member, shard int) rdma.Exchange {
	return &exchange{all: x, self: self, shard: shard}
}

// exchange is rdma.Exchange of one shard of one life.
type exchange struct {
	all   *exchanges
	self  proto.Member
	shard int

	// Under all.mu.
	handler func(ctx context.Context, from int, request []byte) ([]byte, error)
	busy    *sync.WaitGroup // answers under way of this handler
}

// Serve is rdma.Exchange's. A later life's endpoint takes the place of an
// earlier one's that has not gone yet; that one's end then changes nothing.
func (e *exchange) Serve(handler func(ctx context.Context, from int, request []byte) ([]byte, error)) {
	x := e.all
	x.mu.Lock()
	busy := e.busy
	e.handler, e.busy = handler, new(sync.WaitGroup)
	switch {
	case handler != nil:
		x.serves[e.shard] = e
	case x.serves[e.shard] == e:
		x.serves[e.shard] = nil
	}
	x.mu.Unlock()
	if handler == nil && busy != nil {
		busy.Wait()
	}
}

// Call is rdma.Exchange's.
func (e *exchange) Call(ctx context.Context, peer int, request []byte) ([]byte, error) {
	switch {
	case peer < 0 || peer >= proto.NodesMax || proto.NodeID(peer) == e.self.Node:
		return nil, fmt.Errorf("%w: node %d, asked by node %d", rdma.ErrNoPeer, peer, e.self.Node)
	case len(request) > rdma.ExchangeMax:
		return nil, fmt.Errorf("healkv: connection parameters of %d bytes, at most %d", len(request), rdma.ExchangeMax)
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, exchangePatience)
		defer cancel()
	}
	var r linkReply
	err := e.all.ctl.Call(ctx, proto.NodeID(peer), kindLink, linkRequest{e.shard, e.self, e.all.provider, request}, &r)
	switch {
	case err != nil:
		return nil, err
	case r.Other != "" && r.Other != e.all.provider:
		return nil, e.all.unlike(proto.NodeID(peer), r.Other)
	case r.NoPeer:
		return nil, fmt.Errorf("%w: node %d serves no endpoint of shard %d", rdma.ErrNoPeer, peer, e.shard)
	case len(r.Data) > rdma.ExchangeMax:
		return nil, fmt.Errorf("healkv: connection parameters of %d bytes from node %d, at most %d", len(r.Data), peer, rdma.ExchangeMax)
	}
	return r.Data, nil
}

// answer is the control plane's handler. What asks is an authenticated node;
// everything else is checked.
func (x *exchanges) answer(ctx context.Context, from proto.Member, body json.RawMessage) (any, error) {
	var q linkRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("healkv: malformed request for a connection: %w", err)
	}
	switch {
	case q.From.Node != from.Node || q.From.Node >= proto.NodesMax || q.From.Incarnation == 0:
		return nil, fmt.Errorf("healkv: node %d asks for a connection in the name of %v", from.Node, q.From)
	case q.Shard < 0 || q.Shard >= proto.ShardsMax:
		return nil, fmt.Errorf("healkv: node %d asks for a connection to shard %d, want 0 to %d", from.Node, q.Shard, proto.ShardsMax-1)
	case len(q.Data) > rdma.ExchangeMax:
		return nil, fmt.Errorf("healkv: connection parameters of %d bytes from node %d, at most %d", len(q.Data), from.Node, rdma.ExchangeMax)
	}
	if q.Provider != x.provider {
		_ = x.unlike(from.Node, q.Provider) // the asker is told which one is here
		return linkReply{Other: x.provider}, nil
	}
	x.mu.Lock()
	// A request that was under way when its life ended must not take the place
	// of the next one's connection.
	if q.From.Incarnation < x.newest[from.Node] {
		newest := x.newest[from.Node]
		x.mu.Unlock()
		return nil, fmt.Errorf("healkv: a request for a connection by %v, whose node lives as %d", q.From, newest)
	}
	x.newest[from.Node], x.others[from.Node] = q.From.Incarnation, ""
	e := x.serves[q.Shard]
	if e == nil {
		x.mu.Unlock()
		return linkReply{NoPeer: true}, nil
	}
	handler, busy := e.handler, e.busy
	busy.Add(1)
	x.mu.Unlock()
	defer busy.Done()
	data, err := handler(ctx, int(from.Node), q.Data)
	switch {
	case errors.Is(err, rdma.ErrNoPeer):
		return linkReply{From: e.self, NoPeer: true}, nil
	case err != nil:
		return nil, err
	case len(data) > rdma.ExchangeMax:
		return nil, fmt.Errorf("healkv: connection parameters of %d bytes, at most %d", len(data), rdma.ExchangeMax)
	}
	return linkReply{From: e.self, Data: data}, nil
}
