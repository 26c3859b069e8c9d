//go:build process

package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"healkv/bench/agent"
	"healkv/bench/check"
	"healkv/bench/load"
	"healkv/bench/record"
	"healkv/dataplane"
)

// What runs beside the faults: in every node a generator and a client of the
// watched keys, which a cut does not keep from asking; and for every node such a
// client outside, through the network, which outlives the node.
const (
	workloadName = "ycsb-a"
	watchKeys    = 8
	outsideID    = 1 << 24 // numbers of clients outside, above every one inside
	livesMax     = 1 << 16 // generators a node may have, one after the other
)

type clients struct {
	k       *cluster
	files   string
	life    []int
	driven  []*process // in which the generator of a node runs
	acks    []string
	history []string
	outside []*load.Watcher // by node

	cancel context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	errs   []error
}

func newClients(k *cluster) *clients {
	return &clients{k: k, files: k.t.TempDir(), life: make([]int, len(k.procs)), driven: make([]*process, len(k.procs))}
}

func (c *clients) path(name string, args ...any) string {
	return filepath.Join(c.files, fmt.Sprintf(name, args...))
}

// load writes every key through all nodes.
func (c *clients) load(ctx context.Context) error {
	for i := range c.k.procs {
		c.acks = append(c.acks, c.path("load%d.acks", i))
		q := agent.Run{Workload: workloadName, Keys: *keysFlag, Node: i, Nodes: len(c.k.procs), Load: true, Window: 256, Acks: c.acks[i]}
		if err := c.k.ask(ctx, i, "/bench/start", q, nil); err != nil {
			return err
		}
	}
	for i := range c.k.procs {
		if err := c.ended(ctx, i, "/bench/wait"); err != nil {
			return err
		}
	}
	return nil
}

func (c *clients) ended(ctx context.Context, i int, path string) error {
	var t agent.Totals
	err := c.k.ask(ctx, i, path, struct{}{}, &t)
	if err == nil && t.Err != "" {
		err = fmt.Errorf("generator at node %d: %s", i, t.Err)
	}
	return err
}

// drive begins a generator at every node that has none; the files of a life
// are known before it begins: what a killed process wrote counts.
func (c *clients) drive(ctx context.Context) error {
	for i, p := range c.k.procs {
		if c.driven[i] == p {
			continue
		}
		c.life[i]++
		q := agent.Run{Workload: workloadName, Keys: *keysFlag, Node: i, Nodes: len(c.k.procs), Rate: *rateFlag, Window: 64,
			Seed: uint64(c.life[i])<<16 | uint64(i), Acks: c.path("node%d-%d.acks", i, c.life[i]),
			History: c.path("node%d-%d.history", i, c.life[i]), Client: uint32(i*livesMax + c.life[i]), WatchKeys: watchKeys, WatchRate: *rateFlag}
		c.acks, c.history = append(c.acks, q.Acks), append(c.history, q.History)
		if err := c.k.ask(ctx, i, "/bench/start", q, nil); err != nil {
			return err
		}
		c.driven[i] = p
	}
	return nil
}

// goOutside begins the clients outside.
func (c *clients) goOutside() error {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	for i := range c.k.procs {
		path := c.path("outside%d.history", i)
		h, err := record.CreateHistory(path, record.HistoryHeader{Client: uint32(outsideID + i)})
		if err != nil {
			return err
		}
		c.history = append(c.history, path)
		w, err := load.NewWatcher(load.WatchConfig{Client: uint32(outsideID + i), Seed: uint64(i), Keys: watchKeys, Rate: *rateFlag, History: h})
		if err != nil {
			return err
		}
		c.outside = append(c.outside, w)
		c.done.Go(func() {
			s := &session{client: c.k.redis(c.k.Outside(), i)}
			err := errors.Join(w.Run(ctx, s), s.client.Close(), h.Close())
			if err != nil {
				c.mu.Lock()
				c.errs = append(c.errs, fmt.Errorf("client outside of node %d: %w", i, err))
				c.mu.Unlock()
			}
		})
	}
	return nil
}

// halt ends all clients; what ended one before is the error.
func (c *clients) halt(ctx context.Context) error {
	c.cancel()
	c.done.Wait()
	errs := c.errs
	for i := range c.k.procs {
		errs = append(errs, c.ended(ctx, i, "/bench/stop"))
	}
	return errors.Join(errs...)
}

// quiet is for the redis package: what it has to say of connections shows in
// histories.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(quiet{}) }

// errNotSent is a connection that was not made.
var errNotSent = errors.New("not connected, nothing was sent")

// redis is a client of node i in a host.
func (k *cluster) redis(from *Host, i int) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: fmt.Sprintf("%s:%d", Address(i), respPort), Password: password, MaxRetries: -1, PoolSize: 1, DisableIdentity: true,
		DialTimeout: 500 * time.Millisecond, DialerRetries: 1, ReadTimeout: 6 * time.Second, PoolTimeout: 10 * time.Second,
		Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := from.Dial(ctx, network, address)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errNotSent, err)
			}
			return c, nil
		},
	})
}

// session does a watcher's operations, each to its end, through the network.
type session struct {
	client *redis.Client
	op     *dataplane.Op // done, not polled yet
}

func (s *session) Submit(op *dataplane.Op) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var err error
	if op.Kind == dataplane.OpPut {
		err = s.client.Set(ctx, string(op.Key), op.Value, 0).Err()
	} else {
		var value []byte
		if value, err = s.client.Get(ctx, string(op.Key)).Bytes(); err == nil {
			op.Value = append(op.Value[:0], value...)
		}
	}
	op.Err, s.op = verdict(err), op
	return nil
}

// verdict is what an answer means to a history.
func verdict(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, redis.Nil):
		return dataplane.ErrNotFound
	case errors.Is(err, errNotSent):
		return dataplane.ErrTryAgain
	case strings.HasPrefix(err.Error(), "TRYAGAIN"):
		return dataplane.ErrTryAgain
	case strings.HasPrefix(err.Error(), "OOM"):
		return dataplane.ErrNoRoom
	}
	return dataplane.ErrUnknown // whatever else: it may have happened
}

func (s *session) Kick() {}

func (s *session) Poll(done []*dataplane.Op) int {
	if s.op == nil {
		return 0
	}
	done[0], s.op = s.op, nil
	return 1
}

func (s *session) Wait(time.Duration) bool { return s.op != nil }

// judged is what was compared in the end.
type judged struct {
	ackedKeys uint64 // at every node
	history   check.Result
}

// judge compares: every acknowledged write at every node, the nodes with one
// another, and the histories of the watched keys.
func (c *clients) judge(ctx context.Context) (j judged, err error) {
	got := make([]agent.Verified, len(c.k.procs))
	for i := range got {
		q := agent.Verify{Workload: workloadName, Keys: *keysFlag, Acks: c.acks}
		var asked error
		err := c.k.await(ctx, fmt.Sprintf("no locked record at node %d", i), time.Minute, func(ctx context.Context) bool {
			asked = c.k.ask(ctx, i, "/bench/verify", q, &got[i])
			return asked != nil || got[i].Digest.Locked == 0
		})
		if err = errors.Join(err, asked); err != nil {
			return j, err
		}
	}
	var wrong []error
	for i, g := range got {
		if !g.Acks.OK() {
			wrong = append(wrong, fmt.Errorf("node %d lacks acknowledged writes: %d missing, %d older: %v", i, g.Acks.Missing, g.Acks.Older, g.Acks.Losses))
		}
		if !g.Digest.Same(got[0].Digest) {
			wrong = append(wrong, fmt.Errorf("node %d and node 0 hold different data: %+v and %+v", i, g.Digest, got[0].Digest))
		}
	}
	j.ackedKeys = got[0].Acks.Compared
	var ops []check.Op
	for _, f := range c.history {
		h, err := record.ReadHistory(f)
		if err != nil {
			return j, err
		}
		ops = append(ops, h.Ops...)
	}
	j.history = check.Registers(ops)
	for _, v := range j.history.Violations {
		wrong = append(wrong, fmt.Errorf("the history is not linearizable: %v", v))
	}
	return j, errors.Join(wrong...)
}
