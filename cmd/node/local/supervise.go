package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// RunOptions say how the processes of a cluster are run.
type RunOptions struct {
	Program string   // this binary
	Flags   []string // for every `node serve`, after --config
	// ReadyWithin bounds the start; 0 for no bound.
	ReadyWithin time.Duration
	Out         io.Writer // "ready", and what happens to nodes
	// Force is closed by a second signal: stop waiting and kill.
	Force <-chan struct{}
}

var (
	// ErrStart means that a node ended, or was not live in time, at the start.
	ErrStart = errors.New("the cluster did not start")
	// ErrStop means that a node did not stop cleanly.
	ErrStop = errors.New("not every node stopped cleanly")
)

// stopSignal tells a node that the whole group stops: it flushes and does not
// insist on leaving the view, for which there will be no majority.
const stopSignal = syscall.SIGHUP

// RestartStatus is how a node's process ends that asks to be started again
// (EX_TEMPFAIL of sysexits.h): one that was drained for a restart.
const RestartStatus = 75

// child is one node process that this supervisor started.
type child struct {
	node  int
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process was reaped; cmd.ProcessState is set then
	seen  bool          // its end was reported
	given bool          // up: it is not started again
}

// wantsRestart tells whether it has ended with the wish to be started again.
func (c *child) wantsRestart() bool {
	return !c.running() && !c.given && c.cmd.ProcessState.ExitCode() == RestartStatus
}

func (c *child) running() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// exit says how the process ended, nil for exit status 0.
func (c *child) exit() error {
	if s := c.cmd.ProcessState; !s.Success() {
		return errors.New(s.String())
	}
	return nil
}

// Run starts every node and stays until ctx is done, then stops them. A node
// that was drained for a restart (RestartStatus) is started again. One that
// dies meanwhile is reported and not restarted: what a killed node means,
// and when it comes back, is the user's to say. The calling goroutine's thread
// must live as long as Run, since the children are bound to it: they get
// the stop signal when it, and so this process, dies.
func (c *Cluster) Run(ctx context.Context, o RunOptions) error {
	runtime.LockOSThread() // the parent-death signal follows the thread, prctl(2)
	defer runtime.UnlockOSThread()

	lock, err := take(filepath.Join(c.Dir, lockName), c.Dir, 0)
	if err != nil {
		return fmt.Errorf("%w; `node status --dir %s` shows it", err, c.Dir)
	}
	defer lock.Release()
	for i, pid := range c.Running() {
		return fmt.Errorf("node %d of %s: %w (process %s); stop it first", i, c.Dir, ErrRunning, pid)
	}
	if err := checkPorts(c.addresses(c.Configs[0].Shards)); err != nil {
		return err
	}
	if _, err := makeRunDir(c.RunDir, c.Dir, c.Configs[0].HugePages); err != nil {
		return err
	}

	children := make([]*child, 0, c.Nodes)
	// Leftovers die whatever happens, a panic included.
	defer func() {
		for _, ch := range children {
			if ch.running() {
				_ = ch.cmd.Process.Kill()
				<-ch.ended
			}
		}
	}()
	for i := range c.Nodes {
		ch, err := c.start(i, o)
		if err != nil {
			return fmt.Errorf("%w: node %d: %w", ErrStart, i, err)
		}
		children = append(children, ch)
	}
	if err := c.awaitLive(ctx, children, o); err != nil {
		for _, ch := range children {
			ch.seen = true // err tells of it
		}
		_ = c.stop(children, o)
		return err
	}
	if ctx.Err() == nil {
		fmt.Fprintln(o.Out, "ready")
	}
	for watch := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			watch.Stop()
			return c.stop(children, o)
		case <-watch.C:
			c.report(children, o)
			c.startAgain(children, o)
		}
	}
}

// startAgain starts what has ended by order to be started again.
func (c *Cluster) startAgain(children []*child, o RunOptions) {
	for k, ch := range children {
		if !ch.wantsRestart() {
			continue
		}
		fresh, err := c.start(ch.node, o)
		if err != nil {
			ch.seen, ch.given = true, true
			fmt.Fprintf(o.Out, "node %d was drained and cannot be started again: %v\n", ch.node, err)
			continue
		}
		children[k] = fresh
		fmt.Fprintf(o.Out, "node %d (pid %d) was drained and is started again (pid %d)\n", ch.node, ch.cmd.Process.Pid, fresh.cmd.Process.Pid)
	}
}

func (c *Cluster) start(i int, o RunOptions) (*child, error) {
	log, err := openLog(c.LogPath(i))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(o.Program, append([]string{"serve", "--config", c.ConfigPath(i)}, o.Flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true, // Ctrl-C at the terminal reaches us only, and we pass it on in order
		Pdeathsig: stopSignal,
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ch := &child{node: i, cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // ProcessState says it all
		close(ch.ended)
	}()
	return ch, nil
}

// logMax is how much of earlier runs a log keeps.
const logMax = 16 << 20

func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > logMax {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// awaitLive waits until every node says that it is live and serving.
func (c *Cluster) awaitLive(ctx context.Context, children []*child, o RunOptions) error {
	began := time.Now()
	// Slow machines have a long lease, and the longer they take the less are they
	// asked: an answer costs them something too.
	patience := max(time.Second, time.Duration(c.Configs[0].Lease)/4)
	for {
		states := c.Ask(ctx, patience)
		waiting := ""
		for i := range states {
			if s := &states[i]; s.Role != "live" || !s.Ready {
				waiting += fmt.Sprintf(" node %d is %s", i, s.Role)
				if s.Error != "" {
					waiting += " (" + s.Error + ")"
				}
				waiting += ";"
			}
		}
		if waiting == "" || ctx.Err() != nil {
			return nil
		}
		for _, ch := range children {
			if !ch.running() {
				return fmt.Errorf("%w: node %d ended (%s): %s", ErrStart, ch.node, ch.cmd.ProcessState, c.lastWords(ch.node))
			}
		}
		if o.ReadyWithin > 0 && time.Since(began) > o.ReadyWithin {
			return fmt.Errorf("%w within %v:%s the logs are %s", ErrStart, o.ReadyWithin, waiting, filepath.Join(c.Dir, "node-*", "log"))
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(max(50*time.Millisecond, time.Since(began)/20), time.Second)):
		}
	}
}

// lastWords is the end of a node's log, which says why it ended.
func (c *Cluster) lastWords(i int) string {
	text, err := os.ReadFile(c.LogPath(i))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1] + " (log: " + c.LogPath(i) + ")"
}

// report tells of every node that has ended since the last call.
func (c *Cluster) report(children []*child, o RunOptions) {
	for _, ch := range children {
		if ch.seen || ch.running() || ch.wantsRestart() {
			continue
		}
		ch.seen = true
		if ch.exit() == nil {
			fmt.Fprintf(o.Out, "node %d (pid %d) has left and stopped in order; start it again with: %s serve --config %s\n",
				ch.node, ch.cmd.Process.Pid, o.Program, c.ConfigPath(ch.node))
			continue
		}
		fmt.Fprintf(o.Out, "node %d (pid %d) ended: %s; bring it back with: %s serve --config %s\n",
			ch.node, ch.cmd.Process.Pid, ch.cmd.ProcessState, o.Program, c.ConfigPath(ch.node))
	}
}

// stop sends the stop signal to every child that runs, waits for their deadline
// and a little more, and kills what is left then.
func (c *Cluster) stop(children []*child, o RunOptions) error {
	c.report(children, o)
	patience := time.Duration(c.Configs[0].StopTimeout) + 5*time.Second
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	var asked []*child
	for _, ch := range children {
		if ch.running() {
			_ = ch.cmd.Process.Signal(stopSignal) // an error means it has just ended
			asked = append(asked, ch)
		}
	}
	var unclean []string
	for _, ch := range asked {
		select {
		case <-ch.ended:
		case <-deadline.C:
			deadline.Reset(0) // for those that come after it
			unclean = append(unclean, c.kill(ch, fmt.Sprintf("did not stop within %v", patience)))
			continue
		case <-o.Force:
			unclean = append(unclean, c.kill(ch, "was not waited for"))
			continue
		}
		if err := ch.exit(); err != nil && ch.cmd.ProcessState.ExitCode() != RestartStatus {
			unclean = append(unclean, fmt.Sprintf("node %d: %v: %s", ch.node, err, c.lastWords(ch.node)))
		}
	}
	for i, pid := range c.Running() {
		fmt.Fprintf(o.Out, "node %d (process %s) was started by hand and goes on\n", i, pid)
	}
	if len(unclean) > 0 {
		return fmt.Errorf("%w: %s", ErrStop, strings.Join(unclean, "; "))
	}
	return nil
}

func (c *Cluster) kill(ch *child, why string) string {
	_ = ch.cmd.Process.Kill()
	<-ch.ended
	return fmt.Sprintf("node %d %s and was killed", ch.node, why)
}
