package servers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// redis is a primary, node 0, with two replicas. Clients write with WAIT.
type redis struct {
	group
	o       Options
	program string
	version string
	port    int // first port
}

// waitFor so many replicas beside the primary: a majority of three, as in the
// stores with consensus. A replica that is away then stops nobody.
const waitFor = 1

func newRedis(o Options) (System, error) {
	program, err := find("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	version := output("v=", program, "--version")
	if _, v, ok := strings.Cut(version, "v="); ok {
		version, _, _ = strings.Cut(v, " ")
	}
	return &redis{o: o, program: program, version: version, group: group{dir: o.Dir}}, nil
}

func (r *redis) About() About {
	a := About{
		Name: "redis", Version: r.version,
		Client:   fmt.Sprintf("RESP over plain connections served by one event loop, SET and WAIT %d in one message, all to the primary", waitFor),
		Answered: fmt.Sprintf("executed at the primary, received by %d of 2 replicas (WAIT does not ask for their flush)", waitFor),
		Reads:    "from the primary; no promise after a failover",
		Default:  "no log, snapshots now and then",
	}
	a.Flush = "appendonly yes, appendfsync always"
	if r.o.Domain == Memory {
		a.Flush = "appendonly no, save \"\", on tmpfs"
	}
	return a
}

func (r *redis) Start(ctx context.Context) error {
	var err error
	if r.port, err = Ports(Nodes); err != nil {
		return err
	}
	for node := range Nodes {
		if err := r.begin(node); err != nil {
			return err
		}
	}
	return firstTry(ctx, r, r.alive)
}

func (r *redis) begin(node int) error {
	dir := filepath.Join(r.dir, fmt.Sprintf("n%d", node))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	args := []string{
		"--port", fmt.Sprint(r.port + node), "--bind", "127.0.0.1", "--unixsocket", r.file(node), "--dir", dir, "--daemonize", "no", "--loglevel", "warning",
		// The default waits 5 s for more replicas before a full copy begins.
		"--repl-diskless-sync-delay", "0",
		"--save", "",
	}
	if r.o.Domain == File {
		args = append(args, "--appendonly", "yes", "--appendfsync", "always")
	}
	if node > 0 {
		args = append(args, "--replicaof", "127.0.0.1 "+fmt.Sprint(r.port))
	}
	p, err := spawn(fmt.Sprintf("redis node %d", node), filepath.Join(r.dir, fmt.Sprintf("log-%d", node)), syscall.SIGKILL, nil, r.program, args...)
	r.nodes[node] = p
	return err
}

func (r *redis) Connect(ctx context.Context, _ int) (Client, error) {
	return dialRESP(ctx, addr(r.port), waitFor)
}

func (r *redis) ConnectFile(ctx context.Context, _ int) (Client, error) {
	return dialRESP(ctx, r.file(0), waitFor)
}

func (r *redis) file(node int) string { return filepath.Join(r.dir, fmt.Sprintf("s%d", node)) }

func (r *redis) At(ctx context.Context, node int) (Client, error) {
	return dialRESP(ctx, addr(r.port+node), 0)
}

func (r *redis) Follower(context.Context) (int, error) { return Nodes - 1, nil }

func (r *redis) Kill(node int) error { return r.kill(node) }

func (r *redis) Restart(_ context.Context, node int) error { return r.begin(node) }

func (r *redis) Stop() error { return r.stop(syscall.SIGTERM) }
