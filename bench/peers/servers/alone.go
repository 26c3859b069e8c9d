package servers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Served is something a Redis client can be pointed at, for redis-benchmark.
type Served interface {
	About() About
	Start(ctx context.Context) error
	// Port is where clients connect, on loopback; after Start.
	Port() int
	Stop() error
}

// Port of node 0.
func (h *healKV) Port() int { return h.resp }

// NewServed prepares HealKV's group of three nodes, or "redis-alone": one
// redis-server without replicas and without persistence.
func NewServed(name string, o Options) (Served, error) {
	switch name {
	case "healkv":
		sys, err := newHealKV(o)
		if err != nil {
			return nil, err
		}
		return sys.(*healKV), nil
	case RedisAlone:
		sys, err := newRedis(o)
		if err != nil {
			return nil, err
		}
		return &alone{redis: sys.(*redis)}, nil
	}
	return nil, fmt.Errorf("peers: no server %q; there are healkv and %s", name, RedisAlone)
}

// RedisAlone is the name of a Redis that promises nothing but speed.
const RedisAlone = "redis-alone"

// alone is the first process of what would be a group.
type alone struct{ *redis }

func (a *alone) About() About {
	about := a.redis.About()
	about.Name = RedisAlone
	about.Client = "redis-benchmark"
	about.Answered = "executed at the one server"
	about.Reads = "from the one server"
	about.Flush = "appendonly no, save \"\""
	return about
}

func (a *alone) Port() int { return a.port }

func (a *alone) Start(ctx context.Context) error {
	var err error
	if a.port, err = Ports(1); err != nil {
		return err
	}
	dir := filepath.Join(a.dir, "n0")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	a.nodes[0], err = spawn("redis", filepath.Join(a.dir, "log"), syscall.SIGKILL, nil, a.program,
		"--port", fmt.Sprint(a.port), "--bind", "127.0.0.1", "--dir", dir, "--daemonize", "no", "--loglevel", "warning",
		"--appendonly", "no", "--save", "")
	if err != nil {
		return err
	}
	return poll(ctx, 20*time.Millisecond, func() error {
		if err := a.alive(); err != nil {
			return err
		}
		return listens(ctx, addr(a.port))
	})
}
