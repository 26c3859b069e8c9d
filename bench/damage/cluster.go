package damage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"healkv"
	"healkv/dataplane/proto"
	"healkv/heal/membership"
	"healkv/pmem"
)

const (
	tmpfs        = "/dev/shm"
	poolBytes    = 32 << 20
	segmentBytes = 2 << 20
	maxKeys      = 20_000
	// Of log between two checkpoints: the keys of a cell, once or twice.
	checkpointBytes = 4 << 10
	hashSeed        = 0x5eed
	clusterID       = "00d0a1a2a3a4a5a6a7a8a9aaabacadae"
)

// cluster is six nodes in this process, over shared memory, with files.
type cluster struct {
	dir    string // pools and states
	memory string // on tmpfs: indexes and rings
	cfgs   [Nodes]healkv.Config
	nodes  [Nodes]*healkv.Node
	log    *slog.Logger
}

// newCluster formats and starts one.
func newCluster(dir string, domain pmem.Domain, log *slog.Logger) (c *cluster, err error) {
	c = &cluster{log: log}
	defer func() {
		if err != nil {
			c.remove()
		}
	}()
	if c.dir, err = os.MkdirTemp(dir, "healkv-damage-"); err != nil {
		return c, err
	}
	if c.memory, err = os.MkdirTemp(tmpfs, "healkv-damage-"); err != nil {
		return c, err
	}
	for i := range Nodes {
		base, fast := filepath.Join(c.dir, fmt.Sprint("n", i)), filepath.Join(c.memory, fmt.Sprint("n", i))
		c.cfgs[i] = healkv.Config{Node: i, Nodes: Nodes, ClusterID: clusterID, HashSeed: hashSeed, Model: proto.Synchronous, Shards: 1,
			Provider: "shm", RunDir: filepath.Join(c.memory, "run"), PoolDir: base + "/pool", IndexDir: fast + "/index", StateDir: base + "/state",
			Ephemeral: true, Domain: domain, SpinMicros: -1, CheckpointBytes: checkpointBytes, Logger: log.With("node", i)}
		if err := c.format(i); err != nil {
			return c, err
		}
		if err := membership.FormatState(c.cfgs[i].StateDir, clusterID, proto.NodeID(i), true); err != nil {
			return c, err
		}
	}
	for i := range Nodes {
		if err := c.open(i); err != nil {
			return c, err
		}
	}
	return c, c.ready(time.Minute, all)
}

// format makes a node's pool.
func (c *cluster) format(i int) error {
	cfg := &c.cfgs[i]
	var id [16]byte
	if _, err := hex.Decode(id[:], []byte(clusterID)); err != nil {
		return err
	}
	for _, dir := range []string{cfg.PoolDir, cfg.IndexDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return pmem.Format(pmem.FormatOptions{Dir: cfg.PoolDir, IndexDir: cfg.IndexDir, SizeBytes: poolBytes, SegmentBytes: segmentBytes,
		Domain: cfg.Domain, MaxKeys: maxKeys, Identity: pmem.Identity{Cluster: id, Node: uint8(i), Shards: 1, HashSeed: hashSeed}})
}

// discard does what the error of an opening says: the pool is discarded and
// formatted anew, and the node heals by full copy.
func (c *cluster) discard(i int) error {
	return errors.Join(os.RemoveAll(c.cfgs[i].PoolDir), os.RemoveAll(c.cfgs[i].IndexDir), c.format(i))
}

func (c *cluster) open(i int) error {
	n, err := healkv.Open(context.Background(), c.cfgs[i])
	if err != nil {
		return fmt.Errorf("node %d: %w", i, err)
	}
	c.nodes[i] = n
	return nil
}

// ready waits until the nodes of a set serve.
func (c *cluster) ready(patience time.Duration, which uint8) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, n := range c.nodes {
		if which>>i&1 == 0 || n == nil {
			continue
		}
		if err := n.WaitReady(ctx); err != nil {
			s := n.Status()
			return fmt.Errorf("node %d: %w; %s, %s", i, err, s.Role, strings.TrimSpace(s.Blocked+" "+s.Error))
		}
	}
	return nil
}

// stop ends nodes in order.
func (c *cluster) stop(which uint8) {
	for i, n := range c.nodes {
		if which>>i&1 == 0 || n == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		if err := n.Close(ctx); err != nil {
			c.log.Info("closing", "node", i, "err", err)
		}
		cancel()
		c.nodes[i] = nil
	}
}

func (c *cluster) remove() {
	c.stop(all)
	if c.dir != "" {
		os.RemoveAll(c.dir)
	}
	if c.memory != "" {
		os.RemoveAll(c.memory)
	}
}
