package healkv

import (
	"context"

	"healkv/dataplane/proto"
	"healkv/heal/membership"
	"healkv/pmem"
)

// Members is for tests that change the view in another node's name.
func (n *Node) Members() *membership.Service { return n.members }

// OnMap has fn hear of every opening of a pool, to set hooks.
func (c *Config) OnMap(fn func(shard int, r *pmem.Region)) { c.onMap = fn }

// Last has the node make nothing for its next life.
func (c *Config) Last() { c.last = true }

// KeepNumber has the node leave its next life a number now.
func (n *Node) KeepNumber(ctx context.Context) error { return n.keepNumber(ctx) }

// KeptPath is where it lies.
func (n *Node) KeptPath() string { return n.keptPath() }

// TakeNumber takes it away, as a start does.
func (n *Node) TakeNumber() proto.Incarnation { return n.takeNumber() }

// Pool is a shard's pool in the present life; nil between two.
func (n *Node) Pool(shard int) *pmem.Pool {
	if l := n.present(); l != nil {
		return l.pools[shard]
	}
	return nil
}

// FailPause is for a test of how it grows.
var FailPause = failPause

// OnGrow has fn stand in the way of every growth of an index.
func (c *Config) OnGrow(fn func(shard int, bytes int64) error) { c.onGrow = fn }

// Final is for a test of what is tried again.
var Final = final
