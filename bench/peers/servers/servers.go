// Package servers starts groups of three nodes of several replicated stores on
// loopback, behind one interface: HealKV, etcd, ZooKeeper, Redis, dragonboat.
//
// Each is started the way its documentation says, from its Debian package (or,
// dragonboat, inside this process), with its defaults; what is set besides is
// listed in its About and in docs/peers.md. Sizes are in bytes.
package servers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Nodes of every group.
const Nodes = 3

// Domain is what an answered write has survived.
type Domain string

const (
	// File: flushed to disk before the answer, as the store does by default.
	File Domain = "file"
	// Memory: no flush anywhere; directories are on tmpfs.
	Memory Domain = "memory"
)

var (
	// ErrMissing: a program that the comparison needs is not there.
	ErrMissing = errors.New("peers: program is missing")
	// ErrStart: a group did not serve in time, or a process of it ended.
	ErrStart = errors.New("peers: the group did not start")
	// ErrAbsent: the key is not there.
	ErrAbsent = errors.New("peers: no such key")
)

// About is what a reader must know of a store to read its figures.
type About struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Client   string `json:"client"`   // library and how its connections are spread
	Flush    string `json:"flush"`    // the setting in force
	Default  string `json:"default"`  // the store's default of that setting
	Answered string `json:"answered"` // when a write is answered
	Reads    string `json:"reads"`    // what a read promises
}

// Options of a group.
type Options struct {
	Dir     string // made by Start, removed by Stop
	Domain  Domain
	Program string // bin/node, for HealKV
	Pool    string // HealKV's pool_size
}

// A System is a group of three nodes.
type System interface {
	About() About
	// Start returns when all nodes serve.
	Start(ctx context.Context) error
	// Connect opens a client connection to a node, for load.
	Connect(ctx context.Context, node int) (Client, error)
	// At opens a connection whose reads are answered by that node itself.
	At(ctx context.Context, node int) (Client, error)
	// Follower names a node whose death changes no leader.
	Follower(ctx context.Context) (int, error)
	// Kill ends a node without warning, and returns when it has ended.
	Kill(node int) error
	// Restart starts a killed node and returns at once.
	Restart(ctx context.Context, node int) error
	// Stop ends everything, after a failed Start and a second time too, and
	// removes the data.
	Stop() error
}

// A Client is one connection, used by one goroutine.
type Client interface {
	// Write returns nil when the write was acknowledged. After an error it may
	// have been applied.
	Write(ctx context.Context, key string, value []byte) error
	Read(ctx context.Context, key string) ([]byte, error)
	Close() error
}

// Filed is a system whose clients on the same host can come over socket files
// (unix(7)) instead of TCP, as its documentation says.
type Filed interface {
	System
	// ConnectFile is Connect over the node's socket file.
	ConnectFile(ctx context.Context, node int) (Client, error)
}

// Plain is a client of a protocol so simple that a loop can serve all connections
// at once, as redis-benchmark does: requests are bytes to be sent, answers bytes
// to be looked at. A goroutine for each connection would take as much of the
// processors as the sending and receiving, and the servers have the same ones.
type Plain interface {
	Client
	// Socket hands the connection over: the caller sends, receives and closes, and
	// Write and Read must not be called any more.
	Socket() (fd int, err error)
	// AppendWrite and AppendRead write a request behind out.
	AppendWrite(out []byte, key string, value []byte) []byte
	AppendRead(out []byte, key string) []byte
	// Written and Found look at what has come. n is the length of the whole answer,
	// and err its outcome, as Write and Read return it; n = 0: more is to come, or,
	// with an error, the connection cannot be used any more. value stands in in.
	Written(in []byte) (n int, err error)
	Found(in []byte) (n int, value []byte, err error)
}

// OpPatience bounds an operation whose context has no deadline.
const OpPatience = 10 * time.Second

// makers in the order of the tables.
var makers = []struct {
	name string
	make func(Options) (System, error)
}{
	{"healkv", newHealKV},
	{"etcd", newEtcd},
	{"zookeeper", newZooKeeper},
	{"redis", newRedis},
	{"dragonboat", newDragonboat},
}

// Names of all systems, HealKV first.
func Names() []string {
	var names []string
	for _, m := range makers {
		names = append(names, m.name)
	}
	return names
}

// New prepares a group. A missing program is ErrMissing, and the message says
// what to install.
func New(name string, o Options) (System, error) {
	for _, m := range makers {
		if m.name == name {
			return m.make(o)
		}
	}
	return nil, fmt.Errorf("peers: no system %q; there are %v", name, Names())
}

// Known tells whether New knows the name.
func Known(name string) bool { return slices.Contains(Names(), name) }

// poll calls ok every few milliseconds until it says nil, fails for good, or
// the context ends; then it returns what ok complained of last.
func poll(ctx context.Context, every time.Duration, ok func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil || errors.Is(err, ErrStart) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w: %w", ErrStart, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// firstTry has every node take a write and answer a read; groups are ready
// then. alive is ErrStart when one of their processes has ended.
func firstTry(ctx context.Context, s System, alive func() error) error {
	for node := range Nodes {
		err := poll(ctx, 50*time.Millisecond, func() error {
			if err := alive(); err != nil {
				return err
			}
			try, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			c, err := s.Connect(try, node)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.Write(try, "first", []byte("try")); err != nil {
				return err
			}
			_, err = c.Read(try, "first")
			return err
		})
		if err != nil {
			return fmt.Errorf("%s, node %d: %w", s.About().Name, node, err)
		}
	}
	return nil
}
