package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"healkv/dataplane/proto"
)

// Config is everything a node is told. The zero value is not usable; start
// from Default.
type Config struct {
	ClusterID string   `toml:"cluster_id"`
	Node      int      `toml:"node"`
	Nodes     int      `toml:"nodes"`
	HashSeed  HashSeed `toml:"hash_seed"`
	Model     string   `toml:"model"`
	Shards    int      `toml:"shards"`

	Provider string   `toml:"provider"`
	RunDir   string   `toml:"run_dir"`
	RingSize Size     `toml:"ring_size"`
	Spin     Duration `toml:"spin"`
	Lease    Duration `toml:"lease"`
	Drift    Duration `toml:"drift"`
	Slow     Duration `toml:"slow"`

	Domain      string `toml:"domain"`
	PoolDir     string `toml:"pool_dir"`
	IndexDir    string `toml:"index_dir"`
	StateDir    string `toml:"state_dir"`
	Ephemeral   bool   `toml:"ephemeral"`
	PoolSize    Size   `toml:"pool_size"`
	SegmentSize Size   `toml:"segment_size"`
	MaxKeys     int    `toml:"max_keys"`
	Checkpoint  Size   `toml:"checkpoint_bytes"`
	HugePages   string `toml:"huge_pages"`

	Recovery       string `toml:"recovery"`
	RecoveryBudget Size   `toml:"recovery_budget"`
	RecoveryFloor  Size   `toml:"recovery_floor"`
	Scrub          Size   `toml:"scrub_bytes_per_second"`

	DigestInterval Duration `toml:"digest_interval"`

	StopTimeout Duration `toml:"stop_timeout"`
	DrainGrace  Duration `toml:"drain_grace"`

	TrustRefused  bool     `toml:"trust_refused"`
	BootstrapWait Duration `toml:"bootstrap_wait"`

	Control Control `toml:"control"`
	TLS     TLS     `toml:"tls"`
	Data    Data    `toml:"data"`
	Verbs   Verbs   `toml:"verbs"`

	Resp  Resp  `toml:"resp"`
	Admin Admin `toml:"admin"`
	Log   Log   `toml:"log"`
	Bench Bench `toml:"bench"`
}

// Control is the control plane's addresses, for providers between hosts.
type Control struct {
	Listen string `toml:"listen"`
	Peers  string `toml:"peers"` // comma between, by node
}

// PeerList is the addresses of Peers, by node.
func (c *Control) PeerList() (list []string) {
	if c.Peers == "" {
		return nil
	}
	for p := range strings.SplitSeq(c.Peers, ",") {
		list = append(list, strings.TrimSpace(p))
	}
	return list
}

// TLS is the files with which nodes prove themselves to one another.
type TLS struct {
	CA   string `toml:"ca"`
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// Data is the data connections of the provider tcp.
type Data struct {
	Listen string `toml:"listen"`
	TLS    string `toml:"tls"`
}

// DataTLS is what data.tls comes to.
func (c *Config) DataTLS() bool {
	at := c.Data.Listen
	if _, _, err := net.SplitHostPort(at); err != nil && at != "" {
		at = net.JoinHostPort(at, "0")
	}
	if at == "" {
		at = c.Control.Listen
	}
	return c.Data.TLS == "on" || c.Data.TLS == "auto" && c.Provider == "tcp" && !IsLoopback(at)
}

// Verbs is the device of the provider verbs.
type Verbs struct {
	Device       string `toml:"device"`
	Netdev       string `toml:"netdev"`
	Port         int    `toml:"port"`
	GIDIndex     int    `toml:"gid_index"`
	MTU          int    `toml:"mtu"`
	TrafficClass int    `toml:"traffic_class"`
}

// Resp is the Redis-protocol listener.
type Resp struct {
	Listen   string `toml:"listen"`
	Socket   string `toml:"socket"`
	Password string `toml:"password"`
}

// Admin is the HTTP listener for status and metrics.
type Admin struct {
	Listen string `toml:"listen"`
	Pprof  bool   `toml:"pprof"`
}

// Bench lets load generators run inside the node.
type Bench struct {
	Enabled      bool `toml:"enabled"`
	Interference bool `toml:"interference"`
}

// Log is what the node writes to standard error.
type Log struct {
	Level string `toml:"level"`
}

// Limits of sizes that other parts rely on.
const (
	PoolSizeMin    = 64 * MiB
	PoolSizeMax    = 16 * TiB
	SegmentSizeMin = 2 * MiB // a record of the largest size and its header must fit
	SegmentSizeMax = 64 * MiB
	SegmentsMin    = 8 // per shard; below it the cleaner has nothing to work with
	RingSizeMin    = 4 * MiB
	RingSizeMax    = 1 * GiB
	MaxKeysMax     = 1 << 36
)

// Key is one setting.
type Key struct {
	Name    string // as in the file: "pool_size", "resp.listen"
	Help    string // what it is, for help texts and written files
	Allowed string // allowed values, in words
	PerNode bool   // differs from node to node: cannot be set for a whole cluster
	Fixed   bool   // decided when the cluster is made
	Secret  bool   // never shown

	field func(*Config) value
	check func(*Config) bool // nil: whatever parses is allowed
}

// Flag is the key's command line flag without dashes.
func (k *Key) Flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(k.Name) }

// Env is the key's environment variable.
func (k *Key) Env() string {
	return "HEALKV_" + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "_"))
}

// Text is the value in c, as it would be written in a file without quotes.
func (k *Key) Text(c *Config) string { return k.field(c).String() }

// Set parses text into c. It checks the spelling only; Validate checks the
// allowed values.
func (k *Key) Set(c *Config, text string) error { return k.field(c).Set(text) }

// IsBool tells whether the flag may stand without a value.
func (k *Key) IsBool() bool { _, ok := k.field(&Config{}).(boolValue); return ok }

func (k *Key) bare() bool {
	switch k.field(&Config{}).(type) {
	case boolValue, intValue:
		return true
	}
	return false
}

func oneOf(pick func(*Config) string, names ...string) (string, func(*Config) bool) {
	return strings.Join(names, ", "), func(c *Config) bool { return slices.Contains(names, pick(c)) }
}

func between[T ~int | ~int64](pick func(*Config) T, low, high T) func(*Config) bool {
	return func(c *Config) bool { return low <= pick(c) && pick(c) <= high }
}

func modelNames() []string {
	var names []string
	for _, m := range proto.Models() {
		names = append(names, m.String())
	}
	return names
}

// Keys lists every setting in the order in which files are written.
var Keys = keys()

func keys() []Key {
	models, modelOK := oneOf(func(c *Config) string { return c.Model }, modelNames()...)
	providers, providerOK := oneOf(func(c *Config) string { return c.Provider }, "shm", "tcp", "verbs")
	encrypted, encryptedOK := oneOf(func(c *Config) string { return c.Data.TLS }, "auto", "on", "off")
	domains, domainOK := oneOf(func(c *Config) string { return c.Domain }, "auto", "dax", "file", "memory")
	huge, hugeOK := oneOf(func(c *Config) string { return c.HugePages }, "auto", "on", "off")
	kinds, kindOK := oneOf(func(c *Config) string { return c.Recovery }, "heal", "full")
	levels, levelOK := oneOf(func(c *Config) string { return c.Log.Level }, "debug", "info", "warn", "error")
	text := func(pick func(*Config) *string) func(*Config) value {
		return func(c *Config) value { return stringValue{pick(c)} }
	}
	return []Key{
		{Name: "cluster_id", Help: "the cluster this node belongs to; made once, equal at all nodes", Allowed: "32 hex digits", Fixed: true,
			field: text(func(c *Config) *string { return &c.ClusterID }),
			check: func(c *Config) bool { b, err := hex.DecodeString(c.ClusterID); return err == nil && len(b) == 16 }},
		{Name: "node", Help: "number of this node", Allowed: "0 to nodes-1", Fixed: true, PerNode: true,
			field: func(c *Config) value { return intValue{&c.Node} },
			check: func(c *Config) bool { return 0 <= c.Node && c.Node < c.Nodes }},
		{Name: "nodes", Help: "number of configured nodes, equal at all of them; 3 or more survive a failure", Allowed: fmt.Sprintf("1 to %d", proto.NodesMax), Fixed: true,
			field: func(c *Config) value { return intValue{&c.Nodes} },
			check: between(func(c *Config) int { return c.Nodes }, 1, proto.NodesMax)},
		{Name: "hash_seed", Help: "key of the keyed hash over client keys; made once, equal at all nodes", Allowed: "16 hex digits", Fixed: true,
			field: func(c *Config) value { return &c.HashSeed }},
		{Name: "model", Help: "persistency model: what an answer promises about durability", Allowed: models, Fixed: true,
			field: text(func(c *Config) *string { return &c.Model }), check: modelOK},
		{Name: "shards", Help: "shard workers per node, each with its own log; equal at all nodes", Allowed: fmt.Sprintf("1 to %d", proto.ShardsMax), Fixed: true,
			field: func(c *Config) value { return intValue{&c.Shards} },
			check: between(func(c *Config) int { return c.Shards }, 1, proto.ShardsMax)},

		{Name: "provider", Help: "how nodes reach one another: shm = shared memory of one host, tcp = any network, verbs = RDMA devices; what is not built in is an error", Allowed: providers, Fixed: true,
			field: text(func(c *Config) *string { return &c.Provider }), check: providerOK},
		{Name: "run_dir", Help: "shm: rings, doorbells and control sockets, on tmpfs, mode 0700, the same for all nodes of a host", Allowed: "a directory of at most 70 characters (socket paths are limited to 108); may be empty with other providers", Fixed: true,
			field: text(func(c *Config) *string { return &c.RunDir }),
			check: func(c *Config) bool { return (c.RunDir != "" || c.Provider != "shm") && len(c.RunDir) <= RunDirMax }},
		{Name: "ring_size", Help: "outgoing stream of a shard kept for slow peers", Allowed: fmt.Sprintf("a power of two from %v to %v", RingSizeMin, RingSizeMax),
			field: func(c *Config) value { return &c.RingSize },
			check: func(c *Config) bool {
				return RingSizeMin <= c.RingSize && c.RingSize <= RingSizeMax && c.RingSize&(c.RingSize-1) == 0
			}},
		{Name: "spin", Help: "how long an idle worker spins before it sleeps", Allowed: "auto, or 0s to 10ms",
			field: func(c *Config) value { return &c.Spin },
			check: func(c *Config) bool {
				return c.Spin == Auto || 0 <= c.Spin && c.Spin <= Duration(10*time.Millisecond)
			}},
		{Name: "lease", Help: "a node that nobody hears, or that hangs, is removed after it; the node itself serves for the drift less", Allowed: "100ms to 60s", Fixed: true,
			field: func(c *Config) value { return &c.Lease },
			check: between(func(c *Config) Duration { return c.Lease }, Duration(100*time.Millisecond), Duration(time.Minute))},
		{Name: "drift", Help: "bound on how far two clocks drift apart within one lease", Allowed: "1ms to a quarter of the lease", Fixed: true,
			field: func(c *Config) value { return &c.Drift },
			check: func(c *Config) bool { return Duration(time.Millisecond) <= c.Drift && c.Drift <= c.Lease/4 }},
		{Name: "slow", Help: "a node at which writes become durable so late, for two leases and while most others are quick, is demoted to shadow until it keeps up again", Allowed: "0s for never, or 100ms to the lease (to 1s if that is less)",
			field: func(c *Config) value { return &c.Slow },
			check: func(c *Config) bool {
				return c.Slow == 0 || Duration(100*time.Millisecond) <= c.Slow && c.Slow <= max(c.Lease, Duration(time.Second))
			}},

		{Name: "domain", Help: "what a flush makes durable: dax and file survive power loss, memory survives a process crash; auto takes what pool_dir is", Allowed: domains, Fixed: true,
			field: text(func(c *Config) *string { return &c.Domain }), check: domainOK},
		{Name: "pool_dir", Help: "the node's log files; relative to this file", Allowed: "a directory", Fixed: true, PerNode: true,
			field: text(func(c *Config) *string { return &c.PoolDir }), check: func(c *Config) bool { return c.PoolDir != "" }},
		{Name: "index_dir", Help: "the node's index files, always on tmpfs", Allowed: "a directory", Fixed: true, PerNode: true,
			field: text(func(c *Config) *string { return &c.IndexDir }), check: func(c *Config) bool { return c.IndexDir != "" }},
		{Name: "state_dir", Help: "votes and identity, always flushed; on a real file system; relative to this file", Allowed: "a directory", Fixed: true, PerNode: true,
			field: text(func(c *Config) *string { return &c.StateDir }), check: func(c *Config) bool { return c.StateDir != "" }},
		{Name: "ephemeral", Help: "state_dir may lie on tmpfs: a reboot loses the cluster as a whole", Allowed: "true, false", Fixed: true,
			field: func(c *Config) value { return boolValue{&c.Ephemeral} }},
		{Name: "pool_size", Help: "log space of the node, over all its shards; used when the pool is made", Allowed: fmt.Sprintf("%v to %v, and at least %d segments for every shard", PoolSizeMin, PoolSizeMax, SegmentsMin), Fixed: true,
			field: func(c *Config) value { return &c.PoolSize },
			check: func(c *Config) bool {
				return PoolSizeMin <= c.PoolSize && c.PoolSize <= PoolSizeMax &&
					c.PoolSize/Size(max(c.Shards, 1)) >= SegmentsMin*c.SegmentSize
			}},
		{Name: "segment_size", Help: "unit in which log space is reused; used when the pool is made", Allowed: fmt.Sprintf("a power of two from %v to %v", SegmentSizeMin, SegmentSizeMax), Fixed: true,
			field: func(c *Config) value { return &c.SegmentSize },
			check: func(c *Config) bool {
				return SegmentSizeMin <= c.SegmentSize && c.SegmentSize <= SegmentSizeMax && c.SegmentSize&(c.SegmentSize-1) == 0
			}},
		{Name: "max_keys", Help: "keys the index can grow to, over all shards; 0 = as many as the pool can hold", Allowed: fmt.Sprintf("0 to %d", MaxKeysMax), Fixed: true,
			field: func(c *Config) value { return intValue{&c.MaxKeys} },
			check: between(func(c *Config) int { return c.MaxKeys }, 0, MaxKeysMax)},
		{Name: "checkpoint_bytes", Help: "bytes of log between two checkpoints of a shard's index, in pools that survive a power loss; 0B = none: after a power loss the index is made anew from the whole log", Allowed: "0B, or 1MiB to 16GiB",
			field: func(c *Config) value { return &c.Checkpoint },
			check: func(c *Config) bool {
				return c.Checkpoint == 0 || c.Checkpoint >= MiB && c.Checkpoint <= 16*GiB
			}},
		{Name: "huge_pages", Help: "huge pages for what lies in memory: auto takes them where permitted, on makes their absence an error", Allowed: huge, Fixed: true,
			field: text(func(c *Config) *string { return &c.HugePages }), check: hugeOK},

		{Name: "recovery", Help: "how this node comes back: heal = only what it missed, full = a full copy (for comparison)", Allowed: kinds,
			field: text(func(c *Config) *string { return &c.Recovery }), check: kindOK},
		{Name: "recovery_budget", Help: "bytes per millisecond a recovery may move; smaller disturbs live traffic less", Allowed: "0B for no limit, or 4KiB to 64MiB",
			field: func(c *Config) value { return &c.RecoveryBudget },
			check: func(c *Config) bool {
				return c.RecoveryBudget == 0 || 4*KiB <= c.RecoveryBudget && c.RecoveryBudget <= 64*MiB
			}},
		{Name: "recovery_floor", Help: "bytes per millisecond a recovery moves even where live traffic wants the cores that it takes; it is faster, up to recovery_budget, where none does, where a shard misses at most 32 MiB of log, and while a member runs out of log space", Allowed: "0B for the budget itself, or 4KiB to 64MiB",
			field: func(c *Config) value { return &c.RecoveryFloor },
			check: func(c *Config) bool {
				return c.RecoveryFloor == 0 || 4*KiB <= c.RecoveryFloor && c.RecoveryFloor <= 64*MiB
			}},
		{Name: "digest_interval", Help: "how often a live node compares digests of what it holds with another live one, to find what checksums cannot; 0s: never", Allowed: "0s, or 1s to 24h",
			field: func(c *Config) value { return &c.DigestInterval },
			check: func(c *Config) bool {
				return c.DigestInterval == 0 || Duration(time.Second) <= c.DigestInterval && c.DigestInterval <= Duration(24*time.Hour)
			}},
		{Name: "scrub_bytes_per_second", Help: "bytes of the pools verified per second in the background, so that damage is found before somebody needs the record", Allowed: "0B to go through them in about four hours, or 64KiB to 4GiB",
			field: func(c *Config) value { return &c.Scrub },
			check: func(c *Config) bool { return c.Scrub == 0 || 64*KiB <= c.Scrub && c.Scrub <= 4096*MiB }},
		{Name: "trust_refused", Help: "tcp, verbs: a node whose address refuses connections after it took them is dead: out at once, not after its lease; only where no firewall answers in its place", Allowed: "true, false",
			field: func(c *Config) value { return boolValue{&c.TrustRefused} }},
		{Name: "bootstrap_wait", Help: "a new cluster begins without the nodes that are not there when a majority has waited for them so long; they join it when they come", Allowed: "0s to wait for all of them, or 1s to 1h",
			field: func(c *Config) value { return &c.BootstrapWait },
			check: func(c *Config) bool {
				return c.BootstrapWait == 0 || Duration(time.Second) <= c.BootstrapWait && c.BootstrapWait <= Duration(time.Hour)
			}},
		{Name: "stop_timeout", Help: "after SIGTERM: how long flushing and leaving the view may take", Allowed: "100ms to 10m",
			field: func(c *Config) value { return &c.StopTimeout },
			check: between(func(c *Config) Duration { return c.StopTimeout }, Duration(100*time.Millisecond), Duration(10*time.Minute))},
		{Name: "drain_grace", Help: "after a drain or SIGTERM: how long clients are told to go elsewhere before their connections are closed; within stop_timeout", Allowed: "0s to 1m",
			field: func(c *Config) value { return &c.DrainGrace },
			check: between(func(c *Config) Duration { return c.DrainGrace }, 0, Duration(time.Minute))},

		{Name: "control.listen", Help: "tcp, verbs: where requests of the other nodes come to; always TLS with certificates on both sides", Allowed: "address:port; empty with shm", PerNode: true,
			field: text(func(c *Config) *string { return &c.Control.Listen }),
			check: func(c *Config) bool { return c.within(c.Control.Listen, addressOK) }},
		{Name: "control.peers", Help: "tcp, verbs: control.listen of every node as the others reach it, in order, this node's own included", Allowed: "address:port for each of the nodes, comma between; empty with shm", PerNode: true,
			field: text(func(c *Config) *string { return &c.Control.Peers }),
			check: func(c *Config) bool {
				return c.within(c.Control.Peers, func(string) bool {
					list := c.Control.PeerList()
					return len(list) == c.Nodes && !slices.ContainsFunc(list, func(a string) bool { return !addressOK(a) })
				})
			}},
		{Name: "tls.ca", Help: "tcp, verbs: the authority that signs the certificates of all nodes, PEM; relative to this file", Allowed: "a file; empty with shm", PerNode: true,
			field: text(func(c *Config) *string { return &c.TLS.CA }), check: func(c *Config) bool { return c.within(c.TLS.CA, anything) }},
		{Name: "tls.cert", Help: "this node's certificate, which names it healkv://CLUSTER_ID/NODE; `node certs` makes them", Allowed: "a file; empty with shm", PerNode: true,
			field: text(func(c *Config) *string { return &c.TLS.Cert }), check: func(c *Config) bool { return c.within(c.TLS.Cert, anything) }},
		{Name: "tls.key", Help: "its key", Allowed: "a file of mode 0600; empty with shm", PerNode: true,
			field: text(func(c *Config) *string { return &c.TLS.Key }), check: func(c *Config) bool { return c.within(c.TLS.Key, anything) }},
		{Name: "data.listen", Help: "tcp: where data connections of the other nodes come to; with a port, shard i takes the i-th from there on; empty = the address of control.listen", Allowed: "address or address:port, no wildcard; empty with shm", PerNode: true,
			field: text(func(c *Config) *string { return &c.Data.Listen }),
			check: func(c *Config) bool {
				return c.Data.Listen == "" || c.Provider != "shm" && dataAddressOK(c.Data.Listen)
			}},
		{Name: "data.tls", Help: "tcp: encrypt the data connections too: auto does where data.listen is no loopback address; equal at all nodes", Allowed: encrypted,
			field: text(func(c *Config) *string { return &c.Data.TLS }), check: encryptedOK},
		{Name: "verbs.device", Help: "verbs: the device, as ibv_devices shows it; empty = the one of verbs.netdev, else the first with an active port", Allowed: "a name",
			field: text(func(c *Config) *string { return &c.Verbs.Device })},
		{Name: "verbs.netdev", Help: "verbs: take the device of this network interface", Allowed: "a name",
			field: text(func(c *Config) *string { return &c.Verbs.Netdev })},
		{Name: "verbs.port", Help: "verbs: port of the device; 0 = the first active one", Allowed: "0 to 255",
			field: func(c *Config) value { return intValue{&c.Verbs.Port} },
			check: between(func(c *Config) int { return c.Verbs.Port }, 0, 255)},
		{Name: "verbs.gid_index", Help: "verbs: entry of the port's GID table; -1 = a RoCEv2 one is chosen", Allowed: "-1 to 255",
			field: func(c *Config) value { return intValue{&c.Verbs.GIDIndex} },
			check: between(func(c *Config) int { return c.Verbs.GIDIndex }, -1, 255)},
		{Name: "verbs.mtu", Help: "verbs: bytes of a packet's payload; 0 = the port's active one", Allowed: "0, 256, 512, 1024, 2048, 4096",
			field: func(c *Config) value { return intValue{&c.Verbs.MTU} },
			check: func(c *Config) bool { return slices.Contains([]int{0, 256, 512, 1024, 2048, 4096}, c.Verbs.MTU) }},
		{Name: "verbs.traffic_class", Help: "verbs: traffic class of the packets (DSCP in the upper six bits)", Allowed: "0 to 255",
			field: func(c *Config) value { return intValue{&c.Verbs.TrafficClass} },
			check: between(func(c *Config) int { return c.Verbs.TrafficClass }, 0, 255)},

		{Name: "resp.listen", Help: "Redis clients; an address beyond loopback needs resp.password", Allowed: "address:port", PerNode: true,
			field: text(func(c *Config) *string { return &c.Resp.Listen }),
			check: func(c *Config) bool { return addressOK(c.Resp.Listen) }},
		{Name: "resp.socket", Help: "a socket file for Redis clients of this host and user, beside resp.listen: cheaper than TCP; relative to this file; empty = none", Allowed: "a file; its whole path at most 107 characters", PerNode: true,
			field: text(func(c *Config) *string { return &c.Resp.Socket }),
			check: func(c *Config) bool { return len(c.Resp.Socket) <= 107 }},
		{Name: "resp.password", Help: "what AUTH asks for; empty = no password", Allowed: "up to 512 bytes", Secret: true,
			field: text(func(c *Config) *string { return &c.Resp.Password }),
			check: func(c *Config) bool { return len(c.Resp.Password) <= 512 }},
		{Name: "admin.listen", Help: "HTTP for /status, /metrics, /healthz, /readyz", Allowed: "address:port, the address a loopback one", PerNode: true,
			field: text(func(c *Config) *string { return &c.Admin.Listen }),
			check: func(c *Config) bool { return addressOK(c.Admin.Listen) && IsLoopback(c.Admin.Listen) }},
		{Name: "admin.pprof", Help: "serve Go profiles under /debug/pprof/", Allowed: "true, false",
			field: func(c *Config) value { return boolValue{&c.Admin.Pprof} }},
		{Name: "log.level", Help: "what is logged", Allowed: levels,
			field: text(func(c *Config) *string { return &c.Log.Level }), check: levelOK},
		{Name: "bench.enabled", Help: "run load generators inside the node on request of the admin port; for `node demo` and `node bench`, never on a node with data of worth", Allowed: "true, false",
			field: func(c *Config) value { return boolValue{&c.Bench.Enabled} }},
		{Name: "bench.interference", Help: "show in /metrics who keeps the shard workers off their cores (eBPF; needs root, or CAP_BPF and CAP_PERFMON)", Allowed: "true, false",
			field: func(c *Config) value { return boolValue{&c.Bench.Interference} }},
	}
}

// within checks a setting that providers between hosts need and shm has no use
// for: there it must be empty.
func (c *Config) within(value string, ok func(string) bool) bool {
	if c.Provider == "shm" {
		return value == ""
	}
	return value != "" && ok(value)
}

func anything(string) bool { return true }

// RunDirMax keeps room for the names of sockets below the directory.
const RunDirMax = 70

// Default is a configuration that lacks only what is a node's own: identity,
// directories and addresses.
func Default() Config {
	return Config{
		Nodes: 1, Model: "synchronous", Shards: 1,
		Provider: "shm", RingSize: 8 * MiB, Spin: Auto,
		Lease: Duration(3 * time.Second), Drift: Duration(300 * time.Millisecond), Slow: Duration(1500 * time.Millisecond),
		Domain: "auto", PoolDir: "pool", StateDir: "state",
		PoolSize: 512 * MiB, SegmentSize: 4 * MiB, Checkpoint: 64 * MiB, HugePages: "auto",
		Recovery: "heal", RecoveryBudget: MiB, RecoveryFloor: 16 * KiB,
		BootstrapWait:  Duration(30 * time.Second),
		DigestInterval: Duration(time.Minute),
		StopTimeout:    Duration(10 * time.Second),
		DrainGrace:     Duration(2 * time.Second),
		Data:           Data{TLS: "auto"},
		Verbs:          Verbs{GIDIndex: -1},
		Resp:           Resp{Listen: "127.0.0.1:7000"},
		Admin:          Admin{Listen: "127.0.0.1:7100"},
		Log:            Log{Level: "info"},
	}
}

func addressOK(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && 0 < n && n < 1<<16
}

// dataAddressOK allows a host, or a host with a port. Peers are told it, so it
// is no wildcard.
func dataAddressOK(s string) bool {
	host, _, err := net.SplitHostPort(s)
	if err != nil {
		host = s
	} else if !addressOK(s) {
		return false
	}
	ip := net.ParseIP(host)
	return host != "" && !strings.ContainsAny(host, " ,/") && (ip != nil && !ip.IsUnspecified() || ip == nil && !strings.Contains(host, ":"))
}

// IsLoopback tells whether address:port can be reached from this host only.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

var errPassword = errors.New("config: clients beyond this host need a password: set resp.password, or listen on 127.0.0.1")
