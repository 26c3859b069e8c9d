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
	nodes     = 6
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
	begun := time.Now()
	stop, ended, first := startCluster(t)
	live := time.Since(begun)
	clients := make([]*redis.Client, nodes)
	for i := range clients {
		clients[i] = redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", firstPort+i), PoolSize: Writers,
			MaxRetries: -1, DialTimeout: 20 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second})
	}
	readAtEach(t, clients)
	fmt.Printf("lab: %s: all %d nodes live %v and each serving a read %v after their processes were started, %s s after the machine was switched on; %s\n",
		choose(first, "first start", "cold start"), nodes, live.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond), uptime(t), waysBack(t, first))
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
// how to end it in order, what it says of nodes that end by themselves, and
// whether it was made.
func startCluster(t *testing.T) (stop func(), ended <-chan string, first bool) {
	program, dir := setting(t, "LAB_RESET_NODE"), setting(t, "LAB_RESET_DIR")
	args := []string{"cluster", "--dir", dir}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		first = true
		args = append(args, "--nodes", fmt.Sprint(nodes), "--resp-port", fmt.Sprint(firstPort), "--domain", "dax", "--model", "synchronous",
			"--pool-size", "64MiB", "--segment-size", "2MiB", "--max-keys", "8192", "--ring-size", "4MiB", "--lease", "10s", "--drift", "1s")
	}
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
	return func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Fatalf("ending the cluster in order: %v", err)
		}
	}, said, first
}

// readAtEach waits until every node has answered a read: not before does it
// serve. They are asked side by side.
func readAtEach(t *testing.T, clients []*redis.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	errs := make(chan error, len(clients))
	for i, c := range clients {
		go func() {
			err := c.Get(ctx, Key(0, 0)).Err()
			for err != nil && !errors.Is(err, redis.Nil) && ctx.Err() == nil {
				time.Sleep(10 * time.Millisecond)
				err = c.Get(ctx, Key(0, 0)).Err()
			}
			if errors.Is(err, redis.Nil) {
				err = nil
			}
			if err != nil {
				err = fmt.Errorf("node %d answers no read: %w", i, err)
			}
			errs <- err
		}()
	}
	for range clients {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

func choose(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// uptime of the machine, s, as the kernel counts it.
func uptime(t *testing.T) string {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))[0]
}

// waysBack asks every node for its domain, which must be the one that was asked
// for, and how it came back: when all lost power together nobody is left to heal
// from, so that every one must have taken part in a cold start. A node that is
// too busy to answer in time is asked again.
func waysBack(t *testing.T, first bool) string {
	program, dir := setting(t, "LAB_RESET_NODE"), setting(t, "LAB_RESET_DIR")
	for deadline := time.Now().Add(time.Minute); ; {
		text, err := exec.Command(program, "status", "--dir", dir, "--json").Output()
		var status struct {
			Nodes []struct {
				Domain, Error string
				Last          *struct{ Kind string } `json:"last_recovery"`
			}
		}
		if err := json.Unmarshal(text, &status); err != nil {
			t.Fatalf("status: %v: %s", err, text)
		}
		dax, silent, kinds := 0, "", map[string]int{}
		for i, n := range status.Nodes {
			switch {
			case n.Domain == "" || !first && n.Last == nil:
				silent += fmt.Sprintf(" node %d (%s)", i, n.Error)
			case n.Domain != "dax":
				t.Fatalf("node %d is in domain %q", i, n.Domain)
			case !first:
				kinds[n.Last.Kind]++
				dax++
			default:
				dax++
			}
		}
		if dax == nodes && first {
			return "new pools"
		}
		if dax == nodes {
			if kinds["cold"] != nodes {
				t.Fatalf("%d nodes lost power at once; they came back by %v, want all by a cold start", nodes, kinds)
			}
			return fmt.Sprintf("%d of %d nodes by a cold start, none by heal or full copy", kinds["cold"], nodes)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d nodes in domain dax with a way back, no answer of%s, %v", dax, nodes, silent, err)
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
