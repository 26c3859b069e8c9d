package servers

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/statemachine"
)

// dragon is three NodeHosts in this process with one shard. Its clients are
// goroutines; only the nodes among themselves use sockets.
type dragon struct {
	o     Options
	port  int // first port
	hosts [Nodes]*dragonboat.NodeHost
}

const dragonShard = 1

var quiet = sync.OnceFunc(func() {
	for _, name := range []string{"raft", "rsm", "transport", "grpc", "dragonboat", "logdb", "raftpb", "settings", "config", "registry", "order", "server", "utils", "tan", "pebblekv"} {
		logger.GetLogger(name).SetLevel(logger.ERROR)
	}
})

func newDragonboat(o Options) (System, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	o.Dir = dir
	return &dragon{o: o}, nil
}

func (d *dragon) About() About {
	a := About{
		Name: "dragonboat", Version: dependency("github.com/lni/dragonboat/v4"),
		Client:   "in this process: SyncPropose and SyncRead at the NodeHosts in turn, no sockets",
		Answered: "in the logs of a majority, applied at the node asked",
		Reads:    "linearizable (SyncRead), at any node",
		Default:  "flush of the log before an entry is acknowledged",
	}
	a.Flush = a.Default
	if d.o.Domain == Memory {
		a.Flush = "directories on tmpfs, where a flush costs nothing (it has no setting without flushes)"
	}
	return a
}

func (d *dragon) Start(ctx context.Context) error {
	quiet()
	var err error
	if d.port, err = Ports(Nodes); err != nil {
		return err
	}
	for node := range Nodes {
		if err := d.Restart(ctx, node); err != nil {
			return err
		}
	}
	return firstTry(ctx, d, func() error { return nil })
}

// Restart opens a NodeHost and starts its replica, for the first time too.
func (d *dragon) Restart(_ context.Context, node int) error {
	host, err := dragonboat.NewNodeHost(config.NodeHostConfig{
		NodeHostDir:    filepath.Join(d.o.Dir, fmt.Sprintf("n%d", node)),
		RTTMillisecond: 10,
		RaftAddress:    addr(d.port + node),
	})
	if err != nil {
		return fmt.Errorf("%w: dragonboat node %d: %w", ErrStart, node, err)
	}
	d.hosts[node] = host
	members := map[uint64]dragonboat.Target{}
	for i := range Nodes {
		members[uint64(i+1)] = addr(d.port + i)
	}
	return host.StartReplica(members, false, newTable, config.Config{
		ReplicaID: uint64(node + 1), ShardID: dragonShard, CheckQuorum: true,
		ElectionRTT: 50, HeartbeatRTT: 5, // 500 ms, 50 ms
		SnapshotEntries: 100_000, CompactionOverhead: 10_000, // as often as etcd and ZooKeeper do by default
	})
}

type dragonClient struct {
	host    *dragonboat.NodeHost
	session *client.Session
}

func (d *dragon) Connect(_ context.Context, node int) (Client, error) {
	host := d.hosts[node]
	if host == nil {
		return nil, fmt.Errorf("dragonboat: node %d does not run", node)
	}
	return &dragonClient{host: host, session: host.GetNoOPSession(dragonShard)}, nil
}

func (d *dragon) At(ctx context.Context, node int) (Client, error) { return d.Connect(ctx, node) }

func (d *dragon) Follower(context.Context) (int, error) {
	for node := Nodes - 1; node >= 0; node-- {
		leader, _, ok, err := d.hosts[node].GetLeaderID(dragonShard)
		if err != nil {
			return 0, err
		}
		if ok && leader != uint64(node+1) {
			return node, nil
		}
	}
	return 0, errors.New("dragonboat: no node knows that it follows")
}

// Kill closes the NodeHost: within a process there is no harsher end.
func (d *dragon) Kill(node int) error {
	if d.hosts[node] == nil {
		return fmt.Errorf("dragonboat: node %d does not run", node)
	}
	d.hosts[node].Close()
	d.hosts[node] = nil
	return nil
}

func (d *dragon) Stop() error {
	for node, host := range d.hosts {
		if host != nil {
			host.Close()
			d.hosts[node] = nil
		}
	}
	return os.RemoveAll(d.o.Dir)
}

func (c *dragonClient) Write(ctx context.Context, key string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, OpPatience) // it insists on a deadline
	defer cancel()
	// The library keeps the command until it is applied; after an error that may
	// be later.
	command := append(binary.AppendUvarint(make([]byte, 0, 2+len(key)+len(value)), uint64(len(key))), key...)
	_, err := c.host.SyncPropose(ctx, c.session, append(command, value...))
	return err
}

func (c *dragonClient) Read(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, OpPatience)
	defer cancel()
	v, err := c.host.SyncRead(ctx, dragonShard, key)
	if err != nil {
		return nil, err
	}
	value, _ := v.([]byte)
	if value == nil {
		return nil, fmt.Errorf("%w: %s", ErrAbsent, key)
	}
	return value, nil
}

func (c *dragonClient) Close() error { return nil }

// table is the state machine: a map. The library lets lookups and updates not
// overlap.
type table struct{ values map[string][]byte }

func newTable(uint64, uint64) statemachine.IStateMachine {
	return &table{values: map[string][]byte{}}
}

var errCommand = errors.New("dragonboat: bad command")

func (t *table) Update(e statemachine.Entry) (statemachine.Result, error) {
	n, w := binary.Uvarint(e.Cmd)
	if w <= 0 || n > uint64(len(e.Cmd)-w) {
		return statemachine.Result{}, errCommand
	}
	key, value := e.Cmd[w:w+int(n)], e.Cmd[w+int(n):]
	t.values[string(key)] = append(make([]byte, 0, len(value)), value...)
	return statemachine.Result{Value: 1}, nil
}

func (t *table) Lookup(query any) (any, error) {
	value, ok := t.values[query.(string)]
	if !ok {
		return nil, nil
	}
	return value, nil // never changed after it was stored
}

func (t *table) SaveSnapshot(w io.Writer, _ statemachine.ISnapshotFileCollection, done <-chan struct{}) error {
	out := bufio.NewWriter(w)
	var head []byte
	for key, value := range t.values {
		head = binary.AppendUvarint(binary.AppendUvarint(head[:0], uint64(len(key))), uint64(len(value)))
		for _, part := range [][]byte{head, []byte(key), value} {
			if _, err := out.Write(part); err != nil {
				return err
			}
		}
		select {
		case <-done:
			return statemachine.ErrSnapshotStopped
		default:
		}
	}
	return out.Flush()
}

func (t *table) RecoverFromSnapshot(r io.Reader, _ []statemachine.SnapshotFile, done <-chan struct{}) error {
	in := bufio.NewReader(r)
	t.values = map[string][]byte{}
	for {
		k, err := binary.ReadUvarint(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		v, err := binary.ReadUvarint(in)
		if err != nil {
			return err
		}
		if k > 1<<20 || v > 1<<20 {
			return fmt.Errorf("%w: snapshot with key of %d and value of %d bytes", errCommand, k, v)
		}
		both := make([]byte, k+v)
		if _, err := io.ReadFull(in, both); err != nil {
			return err
		}
		t.values[string(both[:k])] = both[k:]
		select {
		case <-done:
			return statemachine.ErrSnapshotStopped
		default:
		}
	}
}

func (t *table) Close() error { return nil }
