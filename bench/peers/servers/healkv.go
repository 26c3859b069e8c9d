package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// healKV is `node cluster` with three nodes, clients over its Redis front end.
type healKV struct {
	o       Options
	version string
	dir     string // the cluster's
	resp    int    // first port for clients
	admin   int    // first port for status
	cluster *process
	again   [Nodes]*process // nodes that Restart started
	web     http.Client
}

func newHealKV(o Options) (System, error) {
	if _, err := os.Stat(o.Program); err != nil {
		return nil, fmt.Errorf("%w: %w; make build makes it", ErrMissing, err)
	}
	program, err := filepath.Abs(o.Program)
	if err != nil {
		return nil, err
	}
	o.Program = program
	text, err := exec.Command(program, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s version: %w", program, err)
	}
	dir, err := filepath.Abs(filepath.Join(o.Dir, "cluster"))
	if err != nil {
		return nil, err
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return &healKV{o: o, version: version, dir: dir, web: http.Client{Timeout: 2 * time.Second}}, nil
}

func (h *healKV) About() About {
	a := About{
		Name: "healkv", Version: h.version,
		Client:   "RESP over plain connections served by one event loop, no pipelining, connections spread over the nodes",
		Answered: "durable at all live members (model synchronous)",
		Reads:    "linearizable, at any node",
		Default:  "domain auto: file where the directory is on a disk",
	}
	a.Flush = "domain file: every burst is flushed (fdatasync) before it counts"
	if h.o.Domain == Memory {
		a.Flush = "domain memory: no flush, pools on tmpfs"
	}
	return a
}

func (h *healKV) Start(ctx context.Context) error {
	first, err := Ports(2 * Nodes)
	if err != nil {
		return err
	}
	h.resp, h.admin = first, first+Nodes
	log := filepath.Join(h.o.Dir, "cluster.log")
	h.cluster, err = spawn("healkv", log, syscall.SIGTERM, nil, h.o.Program, "cluster", "--nodes", fmt.Sprint(Nodes), "--dir", h.dir,
		"--domain", string(h.o.Domain), "--pool-size", h.o.Pool,
		"--resp-port", fmt.Sprint(h.resp), "--admin-port", fmt.Sprint(h.admin))
	if err != nil {
		return err
	}
	err = poll(ctx, 20*time.Millisecond, func() error {
		if err := h.cluster.dead(); err != nil {
			return err
		}
		text, err := os.ReadFile(log)
		if err == nil && !bytes.Contains(text, []byte("ready\n")) {
			err = errors.New("healkv: nodes are not live yet")
		}
		return err
	})
	if err != nil {
		return err
	}
	return firstTry(ctx, h, h.cluster.dead)
}

func (h *healKV) Connect(ctx context.Context, node int) (Client, error) {
	return dialRESP(ctx, addr(h.resp+node), 0)
}

// ConnectFile asks the node where its socket file is, as clients of Redis do.
func (h *healKV) ConnectFile(ctx context.Context, node int) (Client, error) {
	c, err := dialRESP(ctx, addr(h.resp+node), 0)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	path := ""
	c.out = appendCommand(c.out[:0], "CONFIG", "GET", "unixsocket")
	err = c.exchange(ctx, func(in []byte) (n int, err error) { // an array of two
		for i := range 3 {
			more, _, text, err := reply(in[n:])
			if more == 0 || err != nil {
				return 0, err
			}
			if n += more; i == 2 {
				path = string(text)
			}
		}
		return n, nil
	})
	if err == nil && path == "" {
		err = fmt.Errorf("healkv: node %d has no socket file", node)
	}
	if err != nil {
		return nil, err
	}
	return dialRESP(ctx, path, 0)
}

// A node answers reads when it is live and holds a lease.
func (h *healKV) At(ctx context.Context, node int) (Client, error) { return h.Connect(ctx, node) }

// Nobody leads.
func (h *healKV) Follower(context.Context) (int, error) { return Nodes - 1, nil }

func (h *healKV) Kill(node int) error {
	if p := h.again[node]; p != nil {
		h.again[node] = nil
		return p.end(syscall.SIGKILL, 10*time.Second)
	}
	r, err := h.web.Get("http://" + addr(h.admin+node) + "/status")
	if err != nil {
		return err
	}
	defer r.Body.Close()
	var status struct{ Pid, Node int }
	if err := json.NewDecoder(r.Body).Decode(&status); err != nil {
		return fmt.Errorf("healkv: status of node %d: %w", node, err)
	}
	if status.Pid <= 1 || status.Node != node {
		return fmt.Errorf("healkv: status of node %d is that of node %d, pid %d", node, status.Node, status.Pid)
	}
	if err := syscall.Kill(status.Pid, syscall.SIGKILL); err != nil {
		return err
	}
	// The supervisor reaps it, since it is its child.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return poll(ctx, time.Millisecond, func() error {
		if err := syscall.Kill(status.Pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("healkv: node %d (pid %d) has not ended", node, status.Pid)
		}
		return nil
	})
}

func (h *healKV) Restart(_ context.Context, node int) error {
	dir := filepath.Join(h.dir, fmt.Sprintf("node-%d", node))
	p, err := spawn(fmt.Sprintf("healkv node %d", node), filepath.Join(dir, "log"), syscall.SIGTERM, nil,
		h.o.Program, "serve", "--config", filepath.Join(dir, "node.toml"))
	h.again[node] = p
	return err
}

func (h *healKV) Stop() error {
	var errs []error
	if h.cluster != nil {
		// The whole group goes: nobody waits for a majority to leave.
		_ = h.cluster.cmd.Process.Signal(syscall.SIGTERM)
		for node, p := range h.again {
			if p != nil {
				errs = append(errs, p.end(syscall.SIGHUP, 20*time.Second))
				h.again[node] = nil
			}
		}
		errs = append(errs, h.cluster.end(syscall.SIGTERM, 25*time.Second))
		h.cluster = nil
	}
	if _, err := os.Stat(h.dir); err == nil {
		if text, err := exec.Command(h.o.Program, "cluster", "--destroy", "--dir", h.dir).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("healkv: destroy: %w: %s", err, bytes.TrimSpace(text)))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(h.o.Dir))...)
}
