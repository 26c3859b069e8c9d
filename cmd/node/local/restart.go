package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"healkv/cmd/node/operator"
)

// ErrRestart means that a node did not go through its restart.
var ErrRestart = errors.New("not restarted")

// RestartOptions say how one node is restarted.
type RestartOptions struct {
	Program string        // this binary, for a node that no supervisor starts again
	Within  time.Duration // for leaving, and again for coming back
	Force   bool          // also where too few nodes are left to decide anything
}

// Restarted is what one restart was like.
type Restarted struct {
	Left string        // what the node said when it had left
	Note string        // what went wrong in that, "" usually
	Away time.Duration // from the order until it served again
	Last *Recovery     // how it came back
	Own  bool          // it was started by this call: no supervisor watches it
}

// Restart drains node i, has it started again and waits until it serves. Who
// started it starts it again: its `node cluster`, or, where it was started by
// hand, this call, in the background with its output in the node's log.
func (c *Cluster) Restart(ctx context.Context, i int, o RestartOptions) (r Restarted, err error) {
	stateDir := filepath.Join(c.NodeDir(i), "state")
	before := ask(ctx, i, c.Configs[i].Admin.Listen, o.Within)
	if before.PID == 0 {
		return r, fmt.Errorf("%w: node %d is down (%s)", ErrRestart, i, before.Error)
	}
	supervised := c.Supervisor() != "" && parentOf(before.PID) == c.Supervisor()
	began := time.Now()
	out, cancel := context.WithTimeout(ctx, 2*o.Within)
	defer cancel()
	done, err := operator.Ask(out, stateDir, "drain", operator.Drain{Restart: true, Force: o.Force, Within: o.Within})
	if err != nil {
		return r, fmt.Errorf("%w: node %d: %w", ErrRestart, i, err)
	}
	r.Left, r.Note = done.Text, done.Failed
	back, cancelBack := context.WithTimeout(ctx, o.Within)
	defer cancelBack()
	if !supervised {
		if r.Own, err = true, c.startAlone(back, i, o.Program, stateDir); err != nil {
			return r, fmt.Errorf("%w: node %d has left and does not start: %w", ErrRestart, i, err)
		}
	}
	state := State{}
	for {
		if state = ask(back, i, c.Configs[i].Admin.Listen, time.Second); state.PID != 0 && state.PID != before.PID && state.Role == "live" && state.Ready {
			r.Away, r.Last = time.Since(began), state.Last
			return r, nil
		}
		select {
		case <-back.Done():
			return r, fmt.Errorf("%w: node %d has left and is %s after %v: %s %w; its log is %s", ErrRestart, i, state.Role, time.Since(began).Round(time.Millisecond),
				strings.TrimSpace(state.Error+" "+state.Blocked), back.Err(), c.LogPath(i))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// startAlone starts a node that nobody watches, once its former process has
// ended.
func (c *Cluster) startAlone(ctx context.Context, i int, program, stateDir string) error {
	for {
		if _, runs := RunsIn(stateDir); !runs {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("its former process goes on: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	log, err := openLog(c.LogPath(i))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(program, "serve", "--config", c.ConfigPath(i))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this program and its terminal
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// parentOf is the pid of a process's parent, "" if there is none to be seen.
func parentOf(pid int) string {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return ""
	}
	// pid (name) state ppid: the name may contain anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}
