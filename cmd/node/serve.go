package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"healkv"
	"healkv/bench/agent"
	"healkv/bench/interference"
	"healkv/cmd/node/admin"
	"healkv/cmd/node/config"
	"healkv/cmd/node/doctor"
	"healkv/cmd/node/local"
	"healkv/dataplane/resp"
	"healkv/pmem"
)

// lockPatience covers the time in which the kernel takes the memory of a
// killed predecessor apart before it releases its locks.
const lockPatience = 3 * time.Second

func runServe(ctx context.Context, args []string) error {
	var a nodeArgs
	c, err := a.load("serve", args)
	if err == nil {
		err = builtIn(c.Provider)
	}
	if err != nil {
		return err
	}
	log := newLog(c)
	if err := serve(ctx, c, log); err == errRestart {
		log.Info("stopped cleanly, to be started again")
		return err
	} else if err != nil {
		log.Error("stopped", "error", err)
		return err
	}
	log.Info("stopped cleanly")
	return nil
}

// served is a node with its listeners.
type served struct {
	node  atomic.Pointer[healkv.Node] // nil until Open returned
	pid   int
	c     *config.Config
	log   *slog.Logger
	admin *admin.Server
	resp  *resp.Server
	orders
	watcher *interference.Watcher // nil unless bench.interference
}

func serve(ctx context.Context, c *config.Config, log *slog.Logger) error {
	if err := makeDirs(c); err != nil {
		return err
	}
	lock, err := local.LockNode(c.StateDir, c.Node, lockPatience)
	if err != nil {
		return err
	}
	defer lock.Release()
	settings, err := nodeConfig(c, log)
	if err != nil {
		return badConfig(err)
	}
	tuneRuntime(c)

	// Both listeners come first: a port in use is found before the node joins,
	// and /status shows the opening of a large pool.
	s := &served{pid: os.Getpid(), c: c, log: log, orders: newOrders()}
	clients, err := clientsMax(c, log)
	if err != nil {
		return badConfig(err)
	}
	socket := c.Resp.Socket
	if socket != "" {
		if socket, err = filepath.Abs(socket); err != nil {
			return badConfig(err)
		}
	}
	if s.resp, err = resp.Listen(resp.Config{
		ConnsMax: clients,
		Listen:   c.Resp.Listen, Socket: socket, Password: c.Resp.Password, Version: version, Logger: log,
	}, s); err != nil {
		return err
	}
	defer s.resp.Close()
	source := admin.Source{Status: func() any { return s.status() }, Metrics: s.metrics, Ready: s.Ready, Pprof: c.Admin.Pprof, Log: log}
	if c.Bench.Enabled {
		source.Extra = func(mux *http.ServeMux) { agent.New(s.node.Load).Register(mux) }
	}
	if s.admin, err = admin.Listen(c.Admin.Listen, source); err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.admin.Close(last) // a reader of /status that lingers is cut
	}()

	log.Info("starting", "version", version, "cluster", c.ClusterID[:8], "model", c.Model, "provider", c.Provider,
		"domain", c.Domain, "pool", c.PoolDir, "resp", c.Resp.Listen, "socket", socket, "admin", c.Admin.Listen, "recovery", c.Recovery)
	node, err := openNode(ctx, c, settings, log)
	if err != nil {
		return err
	}
	s.node.Store(node)
	sayOtherSize(c, log)
	defer s.watchScheduler()()
	defer s.takeOrders(node, log)()
	broken := make(chan error, 1)
	go func() {
		if err := s.resp.Serve(); !errors.Is(err, resp.ErrServerClosed) {
			broken <- err
		}
	}()
	go func() {
		if node.WaitReady(ctx) == nil {
			st := node.Status()
			log.Info("serving", "epoch", st.Epoch, "incarnation", st.Incarnation, "keys", st.Keys, "page_size", st.PageSize, "opened", st.Opened)
		}
	}()

	patience, alone := time.Duration(c.StopTimeout), true
	select {
	case <-ctx.Done():
		patience, alone = stopPatience(ctx, c)
		log.Info("stopping", "signal", context.Cause(ctx), "within", patience)
	case o := <-s.leave:
		log.Info("stopping", "order", "drain", "start_again", o.Restart)
		if o.Restart {
			err = errRestart
		}
	case <-node.Done():
		err = fmt.Errorf("the node stopped by itself: %w", node.Err())
	case err = <-broken:
	}
	if stopErr := s.stop(node, patience, alone); stopErr != nil && (err == nil || !errors.Is(stopErr, node.Err())) {
		return errors.Join(err, stopErr)
	}
	return err
}

// groupStopTimeout is what a node gets when all nodes stop at once. Leaving the
// view needs a majority, which is going away: the last ones would wait for it
// in vain. A node that does not leave is one more that counts at the next
// start, and nothing is lost by it.
const groupStopTimeout = 500 * time.Millisecond

// stopPatience is how long flushing and leaving may take. SIGHUP says that the
// whole group stops (`node cluster` sends it); else it is this node alone.
func stopPatience(ctx context.Context, c *config.Config) (patience time.Duration, alone bool) {
	patience = time.Duration(c.StopTimeout)
	var s signaled
	if errors.As(context.Cause(ctx), &s) && s.Signal == syscall.SIGHUP {
		return min(groupStopTimeout, patience), false
	}
	return patience, true
}

// stop ends the node. A node that goes alone leaves the view first, while its
// clients' connections stay open and every command is refused with an error
// that says so: they go to other nodes, and nobody is left in doubt about a
// write. When the whole group stops there is nowhere to go. An order that is
// under way is taken over: patience bounds everything but the last flush.
func (s *served) stop(node *healkv.Node, patience time.Duration, alone bool) error {
	all, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	node.End() // no order brings it back, and one that is under way makes room
	if alone {
		out, cancelOut := context.WithTimeout(all, patience*3/4)
		switch err := node.Drain(out); {
		case err == nil:
			s.grace(all)
		case errors.Is(err, healkv.ErrDrained):
			s.log.Warn("drained, but not in order", "err", err)
			s.grace(all)
		case !errors.Is(err, healkv.ErrClosed):
			s.log.Info("stops without having been drained", "why", err)
		}
		cancelOut()
	}
	clients, cancelClients := context.WithTimeout(all, patience/4)
	defer cancelClients()
	if err := s.resp.Shutdown(clients); err != nil {
		_ = s.resp.Close() // they were given their time
	}
	if err := node.Close(all); err != nil {
		return fmt.Errorf("closing the node: %w", err)
	}
	return nil
}

// grace waits until the clients have gone, at most as long as is configured:
// whoever sends a command meanwhile is told to go elsewhere.
func (s *served) grace(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.c.DrainGrace))
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for s.resp.Stats().Conns > 0 {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// sayOtherSize warns of a pool_size that says something else than the pools,
// whose size was decided when they were made.
func sayOtherSize(c *config.Config, log *slog.Logger) {
	pools, err := filepath.Glob(filepath.Join(c.PoolDir, "shard-*.pool"))
	total := config.Size(0)
	for _, p := range pools {
		info, statErr := os.Stat(p)
		if err = errors.Join(err, statErr); err != nil {
			return // gone since: whoever opens them says so
		}
		total += config.Size(info.Size())
	}
	rest := config.Size(c.Shards) * c.SegmentSize // a pool has whole segments
	if len(pools) == c.Shards && (total > c.PoolSize || c.PoolSize-total >= rest) {
		log.Warn("pool_size is not what the pools were made with, which stays", "pool_size", c.PoolSize, "pools", total)
	}
}

// openNode opens the node. A blank pool in memory is what a reboot leaves: it
// is made anew if the state file says that this node exists, which then joins
// with nothing and gets a full copy. In every other domain a missing pool is
// an error.
func openNode(ctx context.Context, c *config.Config, settings healkv.Config, log *slog.Logger) (*healkv.Node, error) {
	node, err := healkv.Open(ctx, settings)
	if !errors.Is(err, pmem.ErrNoPool) {
		return node, err
	}
	memory, statErr := local.OnTmpfs(c.PoolDir)
	if statErr != nil || !memory || c.Domain == "file" || c.Domain == "dax" {
		return nil, err
	}
	if _, noState := os.Stat(statePath(c)); noState != nil {
		return nil, err // never formatted; whose file it is, Open finds out
	}
	log.Warn("the pool in memory is gone, as after a reboot: making a blank one; this node will get a full copy", "pool", c.PoolDir)
	if err := formatPools(c); err != nil {
		return nil, err
	}
	// The others may hold a missed range for the pool that is gone: what lies
	// below it would never come. The node knows from its state directory that it
	// had one, and copies all; its later lives in this process heal again.
	return healkv.Open(ctx, settings)
}

// clientsMax is how many clients may be connected: they must not take the
// descriptors that the node needs to stay a member, or to become one again.
func clientsMax(c *config.Config, log *slog.Logger) (int, error) {
	limit, err := doctor.OpenFiles()
	if err != nil {
		return 0, err
	}
	n, err := doctor.Clients(limit, c.Nodes, c.Shards, resp.ConnsMaxDefault)
	if err == nil && n < resp.ConnsMaxDefault {
		log.Info("the limit of open files leaves room for fewer clients", "open_files", limit, "clients", n, "usual", resp.ConnsMaxDefault)
	}
	return n, err
}

// tuneRuntime gives the Go runtime what this program needs of it: a processor
// for every shard worker and three to spare, and a collector that a limit
// drives, not the heap's growth. Data are off the heap, so there is little to
// collect. GOMAXPROCS, GOGC and GOMEMLIMIT in the environment win.
func tuneRuntime(c *config.Config) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), c.Shards+3))
	}
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapLimit + int64(ringsOnHeap(c)))
		debug.SetGCPercent(-1)
	}
}

// heapLimit is ample for buffers of ten thousand ordinary connections.
const heapLimit = 512 << 20

// ringsOnHeap is what the provider keeps in the Go heap for good: over tcp every
// shard has the ring of its own stream and a mirror of every peer's. A limit
// below that would have the collector run without end.
func ringsOnHeap(c *config.Config) config.Size {
	if c.Provider != "tcp" {
		return 0 // mapped, or memory that a device has registered
	}
	return config.Size(c.Shards*c.Nodes) * c.RingSize
}

func (s *served) status() healkv.Status {
	if n := s.node.Load(); n != nil {
		return n.Status()
	}
	return healkv.Status{PID: s.pid, Node: s.c.Node, Role: "starting", Model: s.c.Model, Provider: s.c.Provider, Domain: s.c.Domain, Shards: s.c.Shards}
}

func (s *served) metrics() []admin.Metric {
	st := s.status()
	return slices.Concat(nodeMetrics(&st, s.Ready()), respMetrics(s.resp.Stats()), s.interferenceMetrics())
}

// Ready, NewSession, LiveKeys and Info make served the front end's backend;
// it asks only once Serve runs, when there is a node.
func (s *served) Ready() bool {
	n := s.node.Load()
	return n != nil && n.Ready()
}

func (s *served) NewSession(notify func()) resp.Session { return s.node.Load().NewWideSession(notify) }
func (s *served) LiveKeys() uint64                      { return s.node.Load().LiveKeys() }

func (s *served) Info() []resp.InfoSection {
	st := s.status()
	number := func(v uint64) string { return strconv.FormatUint(v, 10) }
	return []resp.InfoSection{{Name: "HealKV", Fields: []resp.InfoField{
		{Name: "healkv_version", Value: version},
		{Name: "node", Value: strconv.Itoa(st.Node)},
		{Name: "role_in_view", Value: st.Role},
		{Name: "epoch", Value: number(uint64(st.Epoch))},
		{Name: "incarnation", Value: number(uint64(st.Incarnation))},
		{Name: "live", Value: fmt.Sprint(st.Live)},
		{Name: "shadow", Value: fmt.Sprint(st.Shadow)},
		{Name: "model", Value: st.Model},
		{Name: "provider", Value: st.Provider},
		{Name: "device", Value: st.Device},
		{Name: "domain", Value: st.Domain},
		{Name: "page_size", Value: st.PageSize},
		{Name: "pool_bytes", Value: number(st.PoolBytes)},
		{Name: "pool_used_bytes", Value: number(st.PoolUsedBytes)},
	}}}
}
