package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"healkv"
	"healkv/cmd/node/local"
)

// process is one node process that the demo started.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// over says whether the process has ended and was reaped.
func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// cluster is the node processes of one run. The goroutine that starts them
// stays locked to its thread: they get onDeath when it dies.
type cluster struct {
	local   *local.Cluster
	program string
	onDeath syscall.Signal
	procs   []*process
	client  http.Client
	starts  chan func()
}

func newCluster(c *local.Cluster, program string) *cluster {
	k := &cluster{local: c, program: program, onDeath: syscall.SIGHUP, procs: make([]*process, c.Nodes), starts: make(chan func())}
	k.client.Transport = &http.Transport{MaxIdleConnsPerHost: 4}
	go func() {
		runtime.LockOSThread() // the parent-death signal follows the thread, prctl(2)
		for f := range k.starts {
			f()
		}
	}()
	return k
}

// start begins node i, with extra flags for node serve.
func (k *cluster) start(i int, flags ...string) error {
	log, err := os.OpenFile(k.local.LogPath(i), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(k.program, append([]string{"serve", "--config", k.local.ConfigPath(i)}, flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: k.onDeath}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	done := make(chan error)
	k.starts <- func() { done <- cmd.Start() }
	if err := <-done; err != nil {
		return fmt.Errorf("node %d: %w", i, err)
	}
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	k.procs[i] = p
	return nil
}

// kill sends SIGKILL to node i and returns the moment before it.
func (k *cluster) kill(i int) (at int64) {
	at = now()
	k.procs[i].cmd.Process.Kill()
	return at
}

// leave ends node i in order; it may be started again.
func (k *cluster) leave(ctx context.Context, i int) error {
	k.procs[i].cmd.Process.Signal(syscall.SIGHUP)
	select {
	case <-k.procs[i].ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends every process, in order where possible, with the signal given.
func (k *cluster) stop(with syscall.Signal) error {
	var wg sync.WaitGroup
	errs := make([]error, len(k.procs))
	for i, p := range k.procs {
		if p == nil {
			continue
		}
		wg.Go(func() {
			p.cmd.Process.Signal(with)
			select {
			case <-p.ended:
			case <-time.After(20 * time.Second):
				p.cmd.Process.Kill()
				<-p.ended
				errs[i] = fmt.Errorf("node %d did not stop within 20 s of %v and was killed", i, with)
			}
		})
	}
	wg.Wait()
	close(k.starts)
	return errors.Join(errs...)
}

func (k *cluster) url(i int, path string) string {
	return "http://" + k.local.Configs[i].Admin.Listen + path
}

// ask sends one request to node i's listener and decodes the answer.
func (k *cluster) ask(ctx context.Context, i int, method, path string, req, resp any) error {
	var body io.Reader
	if method == http.MethodPost {
		b, err := json.Marshal(req)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, k.url(i, path), body)
	if err != nil {
		return err
	}
	a, err := k.client.Do(r)
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

// each does something at several nodes side by side.
func (k *cluster) each(nodes []int, f func(i int) error) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for j, i := range nodes {
		wg.Go(func() { errs[j] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (k *cluster) all() []int {
	var l []int
	for i := range k.procs {
		l = append(l, i)
	}
	return l
}

func (k *cluster) status(ctx context.Context, i int) (s healkv.Status, err error) {
	err = k.ask(ctx, i, http.MethodGet, "/status", nil, &s)
	return s, err
}

// recovered waits until node i serves and says what its way back has cost.
func (k *cluster) recovered(ctx context.Context, i int) (s healkv.Status, err error) {
	if err := k.awaitServing(ctx, []int{i}); err != nil {
		return s, err
	}
	for {
		if s, err = k.status(ctx, i); err != nil || s.LastRecovery != nil {
			return s, err
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return s, fmt.Errorf("node %d serves but reports no recovery: %w", i, err)
		}
	}
}

// awaitServing waits until nodes are live and serve.
func (k *cluster) awaitServing(ctx context.Context, nodes []int) error {
	began := time.Now()
	return k.each(nodes, func(i int) error {
		for {
			// The longer it takes, the slower the machine, and the less is it asked.
			pause := min(max(5*time.Millisecond, time.Since(began)/20), 500*time.Millisecond)
			// readyz costs a node next to nothing; its status is asked for only
			// to say why it is not ready.
			err := k.ask(ctx, i, http.MethodGet, "/readyz", nil, nil)
			if err == nil {
				return nil
			}
			select {
			case <-k.procs[i].ended:
				return fmt.Errorf("node %d ended: %v; its log is %s", i, k.procs[i].cmd.ProcessState, k.local.LogPath(i))
			case <-ctx.Done():
				last, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				s, _ := k.status(last, i)
				return fmt.Errorf("node %d is %q, not serving (%s): %w; its log is %s", i, s.Role, s.Error, ctx.Err(), k.local.LogPath(i))
			case <-time.After(pause):
			}
		}
	})
}
