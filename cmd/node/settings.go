package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"healkv"
	"healkv/cmd/node/config"
	"healkv/dataplane/proto"
	"healkv/heal/identity"
	"healkv/pmem"
	"healkv/rdma"
)

// nodeArgs are the flags of `node serve` and `node format`.
type nodeArgs struct {
	file   string
	source *config.Source
}

// load brings file, environment and flags together and checks them.
func (a *nodeArgs) load(name string, args []string) (*config.Config, error) {
	fs := newFlagSet(name)
	a.source = config.New()
	fs.StringVar(&a.file, "config", "", "the node's configuration `FILE`")
	a.source.AddFlags(fs, nil)
	if err := parse(fs, args); err != nil {
		return nil, err
	}
	if a.file == "" {
		return nil, usage("%s: --config is missing; `node cluster` writes a file for every node, `node help config` shows one", name)
	}
	for _, step := range []func() error{
		func() error { return a.source.File(a.file) },
		func() error { return a.source.Env(os.Environ()) },
		a.source.Flags,
		a.source.Validate,
	} {
		if err := step(); err != nil {
			return nil, badConfig(err)
		}
	}
	return &a.source.Config, nil
}

// nodeConfig is the configuration as the root package takes it.
func nodeConfig(c *config.Config, log *slog.Logger) (healkv.Config, error) {
	model, err := proto.ParseModel(c.Model)
	if err != nil {
		return healkv.Config{}, fmt.Errorf("model: %w", err)
	}
	domain, err := pmem.ParseDomain(c.Domain)
	if err != nil {
		return healkv.Config{}, fmt.Errorf("domain: %w", err)
	}
	spin := -1
	if c.Spin != config.Auto {
		spin = int(time.Duration(c.Spin) / time.Microsecond)
	}
	n := healkv.Config{
		Node: c.Node, Nodes: c.Nodes, ClusterID: c.ClusterID, HashSeed: uint64(c.HashSeed),
		Model: model, Shards: c.Shards,
		Provider: c.Provider, RunDir: c.RunDir,
		ControlListen: c.Control.Listen, ControlPeers: c.Control.PeerList(),
		TLS:        identity.Files{CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key},
		DataListen: c.Data.Listen, DataTLS: c.DataTLS(), DataPlain: c.Data.TLS == "off",
		TrustRefused: c.TrustRefused, BootstrapWait: time.Duration(c.BootstrapWait),
		Verbs: rdma.Verbs{Device: c.Verbs.Device, Netdev: c.Verbs.Netdev, Port: c.Verbs.Port, GIDIndex: c.Verbs.GIDIndex,
			MTU: c.Verbs.MTU, TrafficClass: c.Verbs.TrafficClass},
		PoolDir: c.PoolDir, IndexDir: c.IndexDir, StateDir: c.StateDir, Ephemeral: c.Ephemeral, Domain: domain,
		CheckpointBytes: checkpointBytes(c),
		RingBytes:       int(c.RingSize), SpinMicros: spin, Lease: time.Duration(c.Lease), Drift: time.Duration(c.Drift),
		Recovery: c.Recovery, RecoveryBudgetBytes: int(c.RecoveryBudget), RecoveryFloorBytes: int(c.RecoveryFloor), ScrubBytesPerSecond: int(c.Scrub),
		DigestInterval: time.Duration(c.DigestInterval),
		Logger:         log,
	}
	if n.Slow = time.Duration(c.Slow); n.Slow == 0 {
		n.Slow = -1
	}
	return n, n.Validate()
}

// newLog writes lines for people: time, level, message, then what it is about.
func newLog(c *config.Config) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Log.Level)) // checked by Validate
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.String(slog.TimeKey, a.Value.Time().Format("2006-01-02T15:04:05.000000Z07:00"))
			}
			return a
		},
	}))
}

// checkpointBytes: the file says 0 for none, healkv says it below 0.
func checkpointBytes(c *config.Config) int64 {
	if c.Checkpoint == 0 {
		return -1
	}
	return int64(c.Checkpoint)
}
