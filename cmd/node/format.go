package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"healkv/cmd/node/config"
	"healkv/cmd/node/local"
	"healkv/dataplane/proto"
	"healkv/heal/membership"
	"healkv/pmem"
)

func runFormat(_ context.Context, args []string) error {
	var a nodeArgs
	c, err := a.load("format", args)
	if err != nil {
		return err
	}
	if err := builtIn(c.Provider); err != nil {
		return err
	}
	if err := formatNode(c); err != nil {
		return err
	}
	fmt.Printf("made node %d of cluster %.8s: %d pool(s) in %s, state in %s\n", c.Node, c.ClusterID, c.Shards, c.PoolDir, c.StateDir)
	return nil
}

// formatNode makes the state file and the pools of one node.
func formatNode(c *config.Config) error {
	if err := makeDirs(c); err != nil {
		return err
	}
	lock, err := local.LockNode(c.StateDir, c.Node, 0)
	if err != nil {
		return err
	}
	defer lock.Release()
	if err := membership.FormatState(c.StateDir, c.ClusterID, proto.NodeID(c.Node), c.Ephemeral); err != nil {
		return err
	}
	if err := formatPools(c); err != nil {
		// Nobody has voted with this file yet, so it may go: else the next try
		// would find a node that exists already.
		return errors.Join(err, os.Remove(statePath(c)))
	}
	return nil
}

// statePath is the file with the node's votes and identity.
func statePath(c *config.Config) string { return filepath.Join(c.StateDir, "acceptor") }

// formatPools makes the pool of every shard. What exists is not touched.
func formatPools(c *config.Config) error {
	domain, err := pmem.ParseDomain(c.Domain)
	if err != nil {
		return err
	}
	var cluster [16]byte
	if _, err := hex.Decode(cluster[:], []byte(c.ClusterID)); err != nil {
		return fmt.Errorf("cluster_id: %w", err)
	}
	for shard := range c.Shards {
		err := pmem.Format(pmem.FormatOptions{
			Dir: c.PoolDir, IndexDir: c.IndexDir, Domain: domain,
			Identity: pmem.Identity{Cluster: cluster, Node: uint8(c.Node), Shard: uint8(shard),
				Shards: uint8(c.Shards), HashSeed: uint64(c.HashSeed)},
			SizeBytes:    int64(c.PoolSize) / int64(c.Shards),
			SegmentBytes: int(c.SegmentSize),
			MaxKeys:      uint64(c.MaxKeys) / uint64(c.Shards),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// makeDirs makes what a node needs, for this user only. Those in memory are
// gone after a reboot.
func makeDirs(c *config.Config) error {
	for _, dir := range []string{c.StateDir, c.PoolDir, c.IndexDir, c.RunDir} {
		if dir == "" { // run_dir, which only shm has
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	memory, err := local.OnTmpfs(c.StateDir)
	if err != nil {
		return err
	}
	if memory && !c.Ephemeral {
		return fmt.Errorf("state_dir = %q is in memory: a reboot would lose this node's votes; name a directory on a real file system, or set ephemeral = true for a cluster that may be lost as a whole", c.StateDir)
	}
	return nil
}
