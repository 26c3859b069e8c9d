//go:build lab

package reset

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	nodes     = 3
	firstPort = 7000
)

// TestLabReset is one life of the lab machine, told by environment variables of
// scripts/lab/dax.sh: it starts the cluster on the DAX mount, judges what the
// resets before have left, and puts the cluster under load until the plug is
// pulled. With LAB_RESET_LAST it ends in order instead.
func TestLabReset(t *testing.T) {
	text, err := os.ReadFile(setting(t, "LAB_RESET_JOURNAL"))
	if err != nil {
		t.Fatal(err)
	}
	j, err := ParseJournal(text)
	if err != nil {
		t.Fatal(err)
	}
	stop, ended := startCluster(t)
	clients := make([]*redis.Client, nodes)
	for i := range clients {
		clients[i] = redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", firstPort+i), PoolSize: Writers,
			MaxRetries: -1, DialTimeout: 20 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second})
	}
	d := judgeAll(t, j, clients)
	fmt.Printf("lab: judged %d acknowledged writes at each of %d nodes: %d keys acknowledged, all present; %d hold the newest acknowledged write, %d one that was under way, %d nothing\n",
		j.Acked, nodes, d.Acknowledged, d.Present, d.Newer, d.Unwritten)
	if os.Getenv("LAB_RESET_LAST") != "" {
		stop()
		return
	}
	load(t, j, clients, ended)
}

func setting(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run scripts/lab/dax.sh", name)
	}
	return v
}

// startCluster makes the cluster, or starts the one that is there, and returns
// how to end it in order, and what it says of nodes that end by themselves.
func startCluster(t *testing.T) (stop func(), ended <-chan string) {
	program, dir := setting(t, "LAB_RESET_NODE"), setting(t, "LAB_RESET_DIR")
	args := []string{"cluster", "--dir", dir}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		args = append(args, "--nodes", fmt.Sprint(nodes), "--resp-port", fmt.Sprint(firstPort), "--domain", "dax", "--model", "synchronous",
			"--pool-size", "64MiB", "--segment-size", "2MiB", "--max-keys", "8192", "--ring-size", "4MiB", "--lease", "10s", "--drift", "1s")
	}
	begun := time.Now()
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	ready := false
	for !ready && lines.Scan() {
		fmt.Println("node:", lines.Text())
		ready = lines.Text() == "ready"
	}
	if !ready {
		t.Fatalf("the cluster did not come up: %v", cmd.Wait())
	}
	said := make(chan string, nodes)
	go func() { // closed at its end: the cluster is one that ran until then
		defer close(said)
		for lines.Scan() {
			fmt.Println("node:", lines.Text())
			if strings.Contains(lines.Text(), " ended: ") {
				said <- lines.Text()
			}
		}
	}()
	fmt.Printf("lab: cluster ready after %v\n", time.Since(begun).Round(time.Millisecond))
	checkDomain(t, program, dir)
	return func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Fatalf("ending the cluster in order: %v", err)
		}
	}, said
}

// checkDomain: what was asked for was got, at every node. A node that is too busy
// to answer in time is asked again.
func checkDomain(t *testing.T, program, dir string) {
	for deadline := time.Now().Add(time.Minute); ; {
		text, err := exec.Command(program, "status", "--dir", dir, "--json").Output()
		var status struct {
			Nodes []struct{ Domain, Error string }
		}
		if err := json.Unmarshal(text, &status); err != nil {
			t.Fatalf("status: %v: %s", err, text)
		}
		dax, silent := 0, ""
		for i, n := range status.Nodes {
			switch n.Domain {
			case "dax":
				dax++
			case "":
				silent += fmt.Sprintf(" node %d (%s)", i, n.Error)
			default:
				t.Fatalf("node %d is in domain %q", i, n.Domain)
			}
		}
		if dax == nodes {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d nodes in domain dax, no answer of%s, %v", dax, nodes, silent, err)
		}
	}
}

// judgeAll judges every node; all must hold the same.
func judgeAll(t *testing.T, j *Journal, clients []*redis.Client) (d Judged) {
	var first map[string]string
	for i, c := range clients {
		have := readAll(t, c)
		var err error
		d, err = j.Judge(func(key string) ([]byte, error) {
			v, ok := have[key]
			if !ok {
				return nil, nil
			}
			return []byte(v), nil
		})
		if err != nil {
			t.Fatalf("node %d after %d acknowledged writes: %v", i, j.Acked, err)
		}
		if i == 0 {
			first = have
		}
		for key, v := range first {
			if have[key] != v {
				t.Fatalf("%s: node 0 and node %d differ", key, i)
			}
		}
		if len(have) != len(first) {
			t.Fatalf("node 0 has %d keys, node %d has %d", len(first), i, len(have))
		}
	}
	return d
}

func readAll(t *testing.T, c *redis.Client) map[string]string {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	have := map[string]string{}
	for w := range Writers {
		gets := make([]*redis.StringCmd, KeysPerWriter)
		_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for k := range gets {
				gets[k] = p.Get(ctx, Key(w, uint64(k)))
			}
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) {
			t.Fatal(err)
		}
		for k, g := range gets {
			v, err := g.Result()
			switch {
			case err == nil:
				have[Key(w, uint64(k))] = v
			case !errors.Is(err, redis.Nil):
				t.Fatalf("%s: %v", Key(w, uint64(k)), err)
			}
		}
	}
	return have
}

// load writes until the machine ends. It says that it is ready when every
// writer has had its first acknowledgement. A write that fails or a node that
// ends is said at once, for whoever pulls the plug at this very moment, and
// ends the test and the machine. LAB_RESET_KILL names a node that is killed
// under load, to see that.
func load(t *testing.T, j *Journal, clients []*redis.Client, ended <-chan string) {
	said, err := os.OpenFile(setting(t, "LAB_RESET_SAID"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := Load{Journal: j, Ended: ended,
		Set: func(ctx context.Context, w int, key string, value []byte) error {
			return clients[w%nodes].Set(ctx, key, value, 0).Err()
		},
		Say: func(line string) error {
			_, err := said.WriteString(line)
			return err
		},
		Ready: func() {
			if victim := os.Getenv("LAB_RESET_KILL"); victim != "" {
				kill(t, victim)
			}
			fmt.Println("lab: ready")
		}}
	err = l.Run(context.Background())
	fmt.Printf("lab: failed: %v\n", err)
	t.Fatal(err)
}

// kill ends the process of one node as the kernel would.
func kill(t *testing.T, node string) {
	text, err := os.ReadFile(filepath.Join(setting(t, "LAB_RESET_DIR"), "node-"+node, "state", "process.lock"))
	if err != nil {
		t.Error(err)
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Error(err)
	}
}
