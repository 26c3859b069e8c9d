//go:build process

package netns

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"healkv"
)

// Ports and password of every node; each has an address of its own.
const (
	controlPort = 7200
	dataPort    = 7300
	respPort    = 7000
	adminPort   = 7100
	password    = "netns"
)

// cluster is a node process in each host of a network, set up as
// docs/operations.md says for several hosts.
type cluster struct {
	*Network
	t       *testing.T
	program string
	dir     string
	procs   []*process
	admin   []*http.Client // each inside its node's host: the listener is on loopback there
}

type process struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	felled bool // ended by us
}

func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// node runs the program to its end, where it does not matter where.
func (k *cluster) node(args ...string) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, k.program, args...).CombinedOutput(); err != nil {
		k.t.Fatalf("node %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// newCluster makes what the nodes need and starts none.
func newCluster(t *testing.T, w *Network, program string, lease time.Duration) *cluster {
	t.Helper()
	k := &cluster{Network: w, t: t, program: program, dir: t.TempDir(), procs: make([]*process, w.Hosts())}
	scratch, err := w.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	var id [16]byte
	var seed [8]byte
	_, _ = rand.Read(id[:])
	_, _ = rand.Read(seed[:])
	cluster := hex.EncodeToString(id[:])
	k.node("certs", "--dir", filepath.Join(k.dir, "authority"), "--nodes", fmt.Sprint(w.Hosts()), "--cluster-id", cluster)
	var peers []string
	for i := range w.Hosts() {
		peers = append(peers, fmt.Sprintf("%s:%d", Address(i), controlPort))
	}
	for i := range w.Hosts() {
		own := filepath.Join(k.dir, fmt.Sprintf("node-%d", i))
		if err := os.Mkdir(own, 0o700); err != nil {
			t.Fatal(err)
		}
		// The files that an operator copies to the host.
		if err := os.Rename(filepath.Join(k.dir, "authority", fmt.Sprintf("node-%d", i)), filepath.Join(own, "tls")); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf(`provider = "tcp"
cluster_id = %q
hash_seed = %q
node = %d
nodes = %d
run_dir = ""
index_dir = %q
pool_dir = %q
domain = "memory"
pool_size = "64MiB"
segment_size = "2MiB"
ephemeral = true
lease = %q
drift = %q

[control]
listen = "%s:%d"
peers = %q

[tls]
ca = "tls/ca.pem"
cert = "tls/cert.pem"
key = "tls/key.pem"

[data]
listen = "%s:%d"

[resp]
listen = "%s:%d"
password = %q

[admin]
listen = "127.0.0.1:%d"

[bench]
enabled = true
`, cluster, hex.EncodeToString(seed[:]), i, w.Hosts(), filepath.Join(scratch, fmt.Sprintf("index-%d", i)), filepath.Join(scratch, fmt.Sprintf("pool-%d", i)),
			lease.String(), (lease / 10).String(), Address(i), controlPort, strings.Join(peers, ", "), Address(i), dataPort, Address(i), respPort, password, adminPort)
		if err := os.WriteFile(k.config(i), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		k.node("format", "--config", k.config(i))
		h := w.Host(i)
		k.admin = append(k.admin, &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return h.Dial(ctx, network, address)
			},
		}})
	}
	t.Cleanup(k.clean)
	return k
}

func (k *cluster) config(i int) string {
	return filepath.Join(k.dir, fmt.Sprintf("node-%d", i), "node.toml")
}
func (k *cluster) logPath(i int) string {
	return filepath.Join(k.dir, fmt.Sprintf("node-%d", i), "log")
}

// start begins node i in its host.
func (k *cluster) start(i int, flags ...string) {
	k.t.Helper()
	log, err := os.OpenFile(k.logPath(i), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		k.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(k.program, append([]string{"serve", "--config", k.config(i)}, flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := k.Host(i).Start(cmd); err != nil {
		k.t.Fatal(err)
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.ended) }()
	k.procs[i] = p
}

// kill ends node i as a power cut of its host would: it says nothing more.
func (k *cluster) kill(i int) {
	k.t.Helper()
	k.procs[i].felled = true
	if err := k.procs[i].cmd.Process.Kill(); err != nil {
		k.t.Fatal(err)
	}
	<-k.procs[i].ended
}

// stop ends all nodes as one who stops a group does, and wants exit status 0.
func (k *cluster) stop() {
	k.t.Helper()
	for _, p := range k.procs {
		_ = p.cmd.Process.Signal(syscall.SIGHUP)
	}
	for i, p := range k.procs {
		select {
		case <-p.ended:
		case <-time.After(30 * time.Second):
			k.t.Errorf("node %d does not stop\n%s", i, k.log(i, 10))
			continue
		}
		if !p.cmd.ProcessState.Success() {
			k.t.Errorf("node %d ended with %v\n%s", i, p.cmd.ProcessState, k.log(i, 10))
		}
	}
}

// clean ends what still runs, and shows what the nodes said, if the test has
// failed or it was asked for.
func (k *cluster) clean() {
	for _, p := range k.procs {
		if p != nil && !p.over() {
			_ = p.cmd.Process.Kill()
		}
	}
	for i, p := range k.procs {
		if p != nil {
			<-p.ended
		}
		k.admin[i].CloseIdleConnections()
		if k.t.Failed() || *logsFlag {
			k.t.Logf("node %d:\n%s", i, k.log(i, 60))
		}
	}
}

// log is the end of what node i said.
func (k *cluster) log(i, lines int) string {
	text, err := os.ReadFile(k.logPath(i))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// never are words that no log may hold, whatever was done to the network.
var never = []string{"panic", "fatal error", "DATA RACE", "assertion failed", "invariant broken", "unexpected fault address"}

func (k *cluster) readLogs() {
	k.t.Helper()
	for i := range k.procs {
		text, err := os.ReadFile(k.logPath(i))
		if err != nil {
			k.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			for _, word := range never {
				if strings.Contains(line, word) {
					k.t.Errorf("node %d said: %.300s", i, line)
				}
			}
		}
	}
}

// ask sends one request to node i's listener, from within its host, and decodes
// the answer.
func (k *cluster) ask(ctx context.Context, i int, path string, req, resp any) error {
	method, body := http.MethodGet, io.Reader(nil)
	if req != nil {
		b, err := json.Marshal(req)
		if err != nil {
			return err
		}
		method, body = http.MethodPost, bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://127.0.0.1:%d%s", adminPort, path), body)
	if err != nil {
		return err
	}
	a, err := k.admin[i].Do(r)
	if err != nil {
		return fmt.Errorf("node %d: %w", i, err)
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(a.Body, 4096))
		return fmt.Errorf("node %d: %s: %s", i, path, strings.TrimSpace(string(text)))
	}
	if resp == nil {
		return nil
	}
	return json.NewDecoder(a.Body).Decode(resp)
}

func (k *cluster) status(ctx context.Context, i int) (s healkv.Status, err error) {
	err = k.ask(ctx, i, "/status", nil, &s)
	return s, err
}

// states asks all nodes; of one that does not answer the state is empty.
func (k *cluster) states(ctx context.Context) []healkv.Status {
	all := make([]healkv.Status, len(k.procs))
	for i := range all {
		if s, err := k.status(ctx, i); err == nil {
			all[i] = s
		}
	}
	return all
}

// look is between two looks at something awaited.
const look = 10 * time.Millisecond

var errLate = errors.New("has not happened in time")

// await looks until done says so. Processes that end by themselves end it too.
func (k *cluster) await(ctx context.Context, what string, patience time.Duration, done func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !done(ctx) {
		for i, p := range k.procs {
			if p != nil && p.over() && !p.felled {
				return fmt.Errorf("node %d ended by itself: %v\n%s", i, p.cmd.ProcessState, k.log(i, 20))
			}
		}
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			var at []string
			for i, s := range k.states(last) {
				at = append(at, fmt.Sprintf("node %d %q, serving %t, epoch %d, incarnation %d, live %v, shadow %v", i, s.Role, s.Serving, s.Epoch, s.Incarnation, s.Live, s.Shadow))
			}
			return fmt.Errorf("%s %w (%v):\n%s", what, errLate, patience, strings.Join(at, "\n"))
		case <-time.After(look):
		}
	}
	return nil
}
