package servers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// etcd is three etcd processes and its official client.
type etcd struct {
	group
	o       Options
	program string
	version string
	client  int // first port for clients
	peer    int // first port for peers
}

func newEtcd(o Options) (System, error) {
	program, err := find("etcd", "etcd-server")
	if err != nil {
		return nil, err
	}
	return &etcd{o: o, program: program, group: group{dir: o.Dir},
		version: strings.TrimPrefix(output("etcd Version", program, "--version"), "etcd Version: ")}, nil
}

func (e *etcd) About() About {
	a := About{
		Name: "etcd", Version: e.version,
		Client:   "go.etcd.io/etcd/client/v3 " + dependency("go.etcd.io/etcd/client/v3") + ", one gRPC connection per client, spread over the nodes",
		Answered: "in the logs of a majority, applied at the leader",
		Reads:    "linearizable (default), at any node",
		Default:  "fdatasync of the log before every answer",
	}
	a.Flush = "default: fdatasync of the log before every answer"
	if e.o.Domain == Memory {
		a.Flush = "data directory on tmpfs, where a flush costs nothing (this version has no setting without flushes)"
	}
	return a
}

func (e *etcd) Start(ctx context.Context) error {
	first, err := Ports(2 * Nodes)
	if err != nil {
		return err
	}
	e.client, e.peer = first, first+Nodes
	for node := range Nodes {
		if err := e.begin(node, "new"); err != nil {
			return err
		}
	}
	return firstTry(ctx, e, e.alive)
}

func (e *etcd) begin(node int, state string) error {
	var members []string
	for i := range Nodes {
		members = append(members, fmt.Sprintf("n%d=http://%s", i, addr(e.peer+i)))
	}
	// etcd does not start beside the socket file of one that was killed.
	if err := os.Remove(filepath.Join(e.dir, etcdFile(node))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	client, peer := "http://"+addr(e.client+node), "http://"+addr(e.peer+node)
	p, err := spawn(fmt.Sprintf("etcd node %d", node), filepath.Join(e.dir, fmt.Sprintf("log-%d", node)), syscall.SIGKILL, nil, e.program,
		"--name", fmt.Sprintf("n%d", node), "--data-dir", filepath.Join(e.dir, fmt.Sprintf("n%d", node)),
		"--listen-client-urls", client+",unix://"+etcdFile(node), "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", strings.Join(members, ","), "--initial-cluster-state", state, "--initial-cluster-token", "peers",
		"--logger", "zap", "--log-level", "warn")
	e.nodes[node] = p
	return err
}

// etcdFile names a node's socket file, below the directory that it runs in: etcd
// wants the form of a host and a port.
func etcdFile(node int) string { return fmt.Sprintf("s%d:0", node) }

type etcdClient struct{ *clientv3.Client }

func (e *etcd) Connect(ctx context.Context, node int) (Client, error) {
	return e.connect(addr(e.client + node))
}

func (e *etcd) ConnectFile(ctx context.Context, node int) (Client, error) {
	return e.connect("unix://" + filepath.Join(e.dir, etcdFile(node)))
}

func (e *etcd) connect(endpoint string) (Client, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	return etcdClient{c}, nil
}

// At tries the port first: the library waits a second after a refusal.
func (e *etcd) At(ctx context.Context, node int) (Client, error) {
	if err := listens(ctx, addr(e.client+node)); err != nil {
		return nil, err
	}
	return e.Connect(ctx, node)
}

func (e *etcd) Follower(ctx context.Context) (int, error) {
	for node := Nodes - 1; node >= 0; node-- {
		c, err := e.Connect(ctx, node)
		if err != nil {
			return 0, err
		}
		s, err := c.(etcdClient).Status(ctx, addr(e.client+node))
		c.Close()
		if err != nil {
			return 0, err
		}
		if s.Leader != s.Header.MemberId {
			return node, nil
		}
	}
	return 0, fmt.Errorf("%w: every node says that it leads", errReply)
}

func (e *etcd) Kill(node int) error { return e.kill(node) }

func (e *etcd) Restart(_ context.Context, node int) error { return e.begin(node, "existing") }

func (e *etcd) Stop() error { return e.stop(syscall.SIGTERM) }

func (c etcdClient) Write(ctx context.Context, key string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, OpPatience)
	defer cancel()
	_, err := c.Put(ctx, key, string(value))
	return err
}

func (c etcdClient) Read(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, OpPatience)
	defer cancel()
	r, err := c.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	if len(r.Kvs) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrAbsent, key)
	}
	return r.Kvs[0].Value, nil
}
