package healkv

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/identity"
	"healkv/heal/membership"
	"healkv/pmem"
	"healkv/rdma"
	"healkv/rdma/shm"
	"healkv/rdma/tcp"
)

// ErrConfig is a configuration outside its limits.
var ErrConfig = errors.New("healkv: config")

// Recovery ways a node can be told to take.
const (
	RecoveryHeal = "heal" // only what was missed; full copy where that is impossible
	RecoveryFull = "full" // the conventional full copy, always
)

// Config says what a node is. Validate checks it once; nothing reads flags,
// files or the environment below this package.
type Config struct {
	Node      int    // 0 to Nodes-1
	Nodes     int    // configured nodes, 1 to 16
	ClusterID string // 32 hexadecimal digits, the same at all nodes
	HashSeed  uint64 // keyed hash of keys, the same at all nodes
	Model     proto.Model
	Shards    int // 1 to 64, the same at all nodes

	Provider string // one of rdma.Providers: "shm", and where built in "tcp", "verbs"
	// RunDir is for shm: 0700, on tmpfs, with rings, doorbells, liveness locks and
	// control sockets; the same for all nodes of the host.
	RunDir string
	// The others have the control plane on TCP, always with TLS 1.3 and
	// certificates on both sides.
	ControlListen string         // host:port
	ControlPeers  []string       // host:port by node, this one's own included
	TLS           identity.Files // authority, this node's certificate and key
	// DataListen is for tcp: where peers' data connections come to, an address of
	// this host that they can reach. With a port, shard i takes the i-th from
	// there on; without one, any. "": the host of ControlListen.
	DataListen string
	DataTLS    bool // the same TLS for data connections; equal at all nodes
	DataPlain  bool // tcp: records may cross a network in the clear; beyond loopback it is this or DataTLS
	// TrustRefused takes connections that are refused where a node was connected
	// for the death of its process: it is out within milliseconds of it, and not
	// after its lease. Only where nobody else can refuse in a node's name: no
	// firewall that answers with a reset, no address that moves to another host,
	// net.ipv4.tcp_abort_on_overflow=0.
	TrustRefused bool
	// BootstrapWait is for how long a majority of the nodes of a new cluster waits
	// for the others before it begins without them; they join it when they come.
	// 0: as long as it takes.
	BootstrapWait time.Duration
	Verbs         rdma.Verbs // verbs: device and properties of its connections

	PoolDir  string // pools made by pmem.Format
	IndexDir string // on tmpfs
	StateDir string // view register and identity; on a real file system
	// Ephemeral accepts a StateDir on tmpfs: a reboot loses the cluster as a
	// whole.
	Ephemeral bool
	Domain    pmem.Domain // exact, or auto
	// CheckpointBytes of log lie between two checkpoints of a shard's index, in
	// pools that survive a power loss; 0: 64 MiB; below 0: none, and the index is
	// made anew from the whole log after a power loss.
	CheckpointBytes int64

	RingBytes  int           // per shard, a power of two; 0: 4 MiB
	SpinMicros int           // idle spinning before a worker sleeps; negative: by the number of cores
	Lease      time.Duration // 0: 1 s
	Drift      time.Duration // clock drift bound over a lease; 0: a tenth of it
	// Slow is how late writes may become durable at a member, for two leases
	// without interruption and while the others are quick, before it is demoted
	// to shadow until it keeps up; at most the lease, or a second if that is
	// more. 0: half of that; below 0: nobody is demoted.
	Slow time.Duration

	onMap  func(shard int, r *pmem.Region)    // for tests: hears of every opening of a pool
	onGrow func(shard int, bytes int64) error // for tests: the file system of an index
	last   bool                               // for tests: nothing is made for the next life

	// DigestInterval is how often this node, while it is live, compares what it
	// holds with another live one; 0: never.
	DigestInterval time.Duration

	Recovery            string // RecoveryHeal (also "") or RecoveryFull
	RecoveryBudgetBytes int    // bytes per millisecond a recovery may move; 0: no limit
	// RecoveryFloorBytes per millisecond it moves even where others want the cores
	// that it takes, and not more then; 0: as many as the budget.
	RecoveryFloorBytes int
	// ScrubBytesPerSecond of the pools are verified in the background; 0: so many
	// that they are gone through in about four hours, 1 MiB at least; below 0: none.
	ScrubBytesPerSecond int
	Logger              *slog.Logger
}

// cluster is the id as bytes.
func (c *Config) cluster() (id [16]byte, err error) {
	if len(c.ClusterID) != 32 {
		return id, fmt.Errorf("%w: cluster id %q: want 32 hexadecimal digits", ErrConfig, c.ClusterID)
	}
	if _, err := hex.Decode(id[:], []byte(c.ClusterID)); err != nil {
		return id, fmt.Errorf("%w: cluster id %q: %w", ErrConfig, c.ClusterID, err)
	}
	return id, nil
}

// Validate checks every field and fills in defaults.
func (c *Config) Validate() error {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Lease == 0 {
		c.Lease = time.Second
	}
	if c.Drift == 0 {
		c.Drift = c.Lease / 10
	}
	if c.Drift > c.Lease/membership.DriftMost {
		return fmt.Errorf("%w: drift %v with a lease of %v, limit %v", ErrConfig, c.Drift, c.Lease, c.Lease/membership.DriftMost)
	}
	if c.Recovery == "" {
		c.Recovery = RecoveryHeal
	}
	if c.RingBytes == 0 {
		c.RingBytes = 4 << 20
	}
	if _, err := c.cluster(); err != nil {
		return err
	}
	for _, dir := range []*string{&c.RunDir, &c.PoolDir, &c.IndexDir, &c.StateDir} {
		if *dir == "" && dir == &c.RunDir && c.Provider != shm.Name {
			continue
		}
		if *dir == "" {
			return fmt.Errorf("%w: run (with provider %s), pool, index and state directory are all needed", ErrConfig, shm.Name)
		}
		abs, err := filepath.Abs(*dir) // peers map the pool by its path
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		*dir = abs
	}
	switch {
	case c.Nodes < 1 || c.Nodes > proto.NodesMax:
		return fmt.Errorf("%w: %d nodes, want 1 to %d", ErrConfig, c.Nodes, proto.NodesMax)
	case c.Node < 0 || c.Node >= c.Nodes:
		return fmt.Errorf("%w: node %d, want 0 to %d", ErrConfig, c.Node, c.Nodes-1)
	case c.Shards < 1 || c.Shards > proto.ShardsMax:
		return fmt.Errorf("%w: %d shards, want 1 to %d", ErrConfig, c.Shards, proto.ShardsMax)
	case c.Recovery != RecoveryHeal && c.Recovery != RecoveryFull:
		return fmt.Errorf("%w: recovery %q, want %q or %q", ErrConfig, c.Recovery, RecoveryHeal, RecoveryFull)
	case c.RingBytes < ringBytesMin:
		return fmt.Errorf("%w: ring of %d bytes, want at least %d: it must hold the largest record twice", ErrConfig, c.RingBytes, ringBytesMin)
	case c.Slow > max(c.Lease, membership.PatienceLeast):
		return fmt.Errorf("%w: a node is slow from %v on, limit %v: what is later than that stands still", ErrConfig, c.Slow, max(c.Lease, membership.PatienceLeast))
	case c.BootstrapWait < 0:
		return fmt.Errorf("%w: the first view waits for %v, want 0 (for all nodes) or more", ErrConfig, c.BootstrapWait)
	case c.DigestInterval < 0:
		return fmt.Errorf("%w: live nodes compare what they hold every %v, want 0 (never) or more", ErrConfig, c.DigestInterval)
	case c.RecoveryFloorBytes < 0:
		return fmt.Errorf("%w: recovery floor %d bytes per millisecond, want 0 or more", ErrConfig, c.RecoveryFloorBytes)
	case c.RecoveryBudgetBytes < 0:
		return fmt.Errorf("%w: recovery budget %d bytes per millisecond, want 0 or more", ErrConfig, c.RecoveryBudgetBytes)
	}
	if err := rdma.CheckProvider(c.Provider); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return c.validateNetwork()
}

// validateNetwork checks what the providers between hosts need, and that shm,
// which takes none of it, was not given it by mistake.
func (c *Config) validateNetwork() error {
	if c.Provider == shm.Name {
		if c.ControlListen != "" || len(c.ControlPeers) > 0 || c.DataListen != "" || c.DataTLS {
			return fmt.Errorf("%w: provider %s stays within this host: addresses and TLS are for the others; leave them out, or choose another provider", ErrConfig, shm.Name)
		}
		return nil
	}
	host, _, err := net.SplitHostPort(c.ControlListen)
	if err != nil {
		return fmt.Errorf("%w: control plane listens on %q: %w; provider %s needs host:port", ErrConfig, c.ControlListen, err, c.Provider)
	}
	if c.DataListen == "" {
		c.DataListen = host
	}
	if err := c.validateData(); err != nil {
		return err
	}
	if len(c.ControlPeers) != c.Nodes {
		return fmt.Errorf("%w: %d addresses of control planes for %d nodes: give one for each, in order, this node's own included", ErrConfig, len(c.ControlPeers), c.Nodes)
	}
	for i, a := range c.ControlPeers {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			return fmt.Errorf("%w: control plane of node %d is at %q: want host:port", ErrConfig, i, a)
		}
	}
	if _, err := c.dataAddress(c.Shards - 1); err != nil {
		return err
	}
	return nil
}

// validateData checks where data connections come to, and that nobody asks for
// encryption where there is none.
func (c *Config) validateData() error {
	if c.Provider != tcp.Name {
		if c.DataTLS {
			return fmt.Errorf("%w: provider %s cannot encrypt its data connections: turn data TLS off, or choose provider %s", ErrConfig, c.Provider, tcp.Name)
		}
		return nil
	}
	host := c.DataListen
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%w: data connections come to %q, which names no host: peers are told this address; give the one at which they reach this node (data.listen)", ErrConfig, c.DataListen)
	}
	if !c.DataTLS && !c.DataPlain && !tcp.Loopback(host) {
		return fmt.Errorf("%w: data connections to %q would go over the network in the clear: set DataTLS at all nodes, or DataPlain if that is meant", ErrConfig, c.DataListen)
	}
	return nil
}

// dataAddress is where a shard's data connections come to.
func (c *Config) dataAddress(shard int) (string, error) {
	host, port, err := net.SplitHostPort(c.DataListen)
	if err != nil {
		return c.DataListen, nil // a host: any port
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 0 && n+shard > 1<<16-1 {
		return "", fmt.Errorf("%w: data connections come to %q: want a port from 1 to %d, as %d shards take one each from there on, or none", ErrConfig, c.DataListen, 1<<16-c.Shards, c.Shards)
	}
	if n > 0 {
		n += shard
	}
	return net.JoinHostPort(host, strconv.Itoa(n)), nil
}

// ringBytesMin: the largest entry, and the skip before it at the ring's end.
const ringBytesMin = 4 << 20

// spinTurns is how many idle turns a worker makes before it sleeps, giving the
// core away after each. Waking a sleeper costs more than some turns even where
// workers outnumber cores: measured on 2 cores, 20 turns instead of 2 gave 3
// nodes 10 to 15 % more writes and 6 nodes about as many. disk: flushes run beside
// the worker.
func (c *Config) spinTurns(disk bool) int {
	alone := c.yieldTurns() > 1
	micros := c.SpinMicros
	if micros < 0 {
		micros = 0
		if alone {
			micros = 10
		}
		if runtime.NumCPU() > c.Nodes*c.Shards+1 {
			micros = 50
		} else if disk && c.Model.Gates().Answer == proto.Durable {
			return spinTurnsDisk
		}
	}
	turnNanos := 400 // an idle turn with its yield
	if alone {
		turnNanos = 100
	}
	return max(spinTurnsMin, micros*1000/turnNanos)
}

// yieldTurns is how many idle turns a worker makes before it offers its core to
// others: where every worker can have one for itself, what it waits for happens on
// another, and a yield is a system call that makes it hear of that later.
func (c *Config) yieldTurns() int {
	if runtime.NumCPU() >= c.Nodes*c.Shards {
		return 64
	}
	return 1
}

const (
	spinTurnsMin = 20
	// spinTurnsDisk are enough where every write waits for a disk: nobody answers
	// sooner, and those who could run meanwhile want the processors.
	spinTurnsDisk = 4
)
