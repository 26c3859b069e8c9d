package rdma

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config is what any provider needs to make an endpoint.
type Config struct {
	RunDir      string // shm: directory of mode 0700 on tmpfs
	Node        int    // 0 to Nodes-1
	Nodes       int    // configured nodes, at most 16
	Shard       int    // 0 to 63
	Incarnation uint32 // from 1; this life of the node
	RingBytes   int    // power of two; 0 means the provider's default

	// tcp and verbs.
	Exchange Exchange     // connection parameters go over it
	Logger   *slog.Logger // nil: none
	// Patience is how long to wait for an answer over the Exchange, and with tcp
	// for a connection and each handshake; 0 or less than the provider's own takes
	// that. What comes later was in vain, and is asked for again: slow machines
	// need more.
	Patience time.Duration

	// tcp.
	Listen string      // host or address that data connections come to; "": 127.0.0.1
	TLS    *tls.Config // of the data connections, both ends verified; nil: plain
	// Plain allows data connections beyond loopback without TLS.
	Plain bool
	// Peer says whose certificate the other end of a TLS connection has shown:
	// one of another node than was meant is refused. nil: not compared.
	Peer func(*tls.ConnectionState) (node int, err error)

	Verbs Verbs // verbs
}

// Limits of a group that all providers have.
const (
	NodesMax  = 16
	ShardsMax = 64
)

// CheckEnd says what is wrong with an endpoint's place in a group; whoever asks
// puts its own error before it.
func CheckEnd(node, nodes, shard int, incarnation uint32) error {
	switch {
	case nodes < 1 || nodes > NodesMax:
		return fmt.Errorf("%d nodes, want 1 to %d", nodes, NodesMax)
	case node < 0 || node >= nodes:
		return fmt.Errorf("node %d of %d", node, nodes)
	case shard < 0 || shard >= ShardsMax:
		return fmt.Errorf("shard %d, want 0 to %d", shard, ShardsMax-1)
	case incarnation == 0:
		return errors.New("incarnation 0, want one from the register")
	}
	return nil
}

// Verbs chooses the device and the properties of its connections. The zero
// value chooses by itself.
type Verbs struct {
	Device       string // as ibv_devices(1) shows it; "": by Netdev, else the first one with an active port
	Netdev       string // the device of this network interface
	Port         int    // from 1; 0: the first active one
	GIDIndex     int    // negative: a RoCEv2 one is chosen
	MTU          int    // bytes: 256 to 4096; 0: the port's active one
	TrafficClass int    // 0 to 255
}

// ErrProvider is a provider that cannot be had; the text says why.
var ErrProvider = errors.New("rdma: provider")

var providers struct {
	sync.Mutex
	names []string
	open  []func(Config) (Endpoint, error)

	absent []string // names of providers that this build lacks
	why    []string
}

// Absent tells why a provider is not in this build, and what to do about it; a
// provider's package does it when it is initialised.
func Absent(name, why string) {
	providers.Lock()
	defer providers.Unlock()
	providers.absent = append(providers.absent, name)
	providers.why = append(providers.why, why)
}

// Register makes a provider available by name; a provider's package does it
// when it is initialised. Twice is a mistake.
func Register(name string, open func(Config) (Endpoint, error)) {
	providers.Lock()
	defer providers.Unlock()
	if slices.Contains(providers.names, name) {
		panic("rdma: provider " + name + " registered twice")
	}
	providers.names = append(providers.names, name)
	providers.open = append(providers.open, open)
}

// Providers lists what is built in.
func Providers() []string {
	providers.Lock()
	defer providers.Unlock()
	return slices.Sorted(slices.Values(providers.names))
}

// CheckProvider tells whether a provider can be asked for by that name:
// ErrProvider if not. Nothing falls back to another one.
func CheckProvider(name string) error {
	_, err := provider(name)
	return err
}

// Open makes an endpoint with the named provider.
func Open(name string, c Config) (Endpoint, error) {
	open, err := provider(name)
	if err != nil {
		return nil, err
	}
	return open(c)
}

func provider(name string) (func(Config) (Endpoint, error), error) {
	providers.Lock()
	i := slices.Index(providers.names, name)
	var open func(Config) (Endpoint, error)
	if i >= 0 {
		open = providers.open[i]
	}
	why := "unknown"
	if j := slices.Index(providers.absent, name); j >= 0 {
		why = providers.why[j]
	}
	providers.Unlock()
	if i >= 0 {
		return open, nil
	}
	return nil, fmt.Errorf("%w %q: %s; built in: %s", ErrProvider, name, why, builtIn())
}

func builtIn() string {
	if names := Providers(); len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return "none"
}
