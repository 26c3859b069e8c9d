package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child that ends when this process ends.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{} // closed when it was reaped
}

// starter runs functions on one thread that lives as long as the process: the
// kernel signals a child when the thread that made it ends, prctl(2).
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for fn := range work {
			fn()
		}
	}()
	return work
})

// spawn starts a program with its output appended to a file, in that file's folder. orphan is the signal
// it gets if this process dies.
func spawn(name, log string, orphan syscall.Signal, env []string, program string, args ...string) (*process, error) {
	if err := os.MkdirAll(filepath.Dir(log), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &process{name: name, cmd: exec.Command(program, args...), log: log, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.Dir = filepath.Dir(log)
	p.cmd.Env = append(os.Environ(), env...)
	// Ctrl-C at the terminal reaches the harness only, which ends its children in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: orphan}
	done := make(chan error)
	starter() <- func() { done <- p.cmd.Start() }
	if err := <-done; err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrStart, name, err)
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState says it all
		close(p.ended)
	}()
	return p, nil
}

// dead is nil while the process runs, and otherwise says how it ended.
func (p *process) dead() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%w: %s ended (%s): %s", ErrStart, p.name, p.cmd.ProcessState, lastWords(p.log))
	default:
		return nil
	}
}

// end signals the process, waits, and kills what is left after patience.
func (p *process) end(sig syscall.Signal, patience time.Duration) error {
	_ = p.cmd.Process.Signal(sig) // an error means it has ended
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-p.ended:
		return nil
	case <-late.C:
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("peers: %s did not stop within %v and was killed", p.name, patience)
}

func lastWords(log string) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ") + " (" + log + ")"
}

// group is three processes, one a node.
type group struct {
	nodes [Nodes]*process
	dir   string
}

// alive is ErrStart if a process has ended.
func (g *group) alive() error {
	for _, p := range g.nodes {
		if p != nil {
			if err := p.dead(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *group) kill(node int) error {
	p := g.nodes[node]
	if p == nil {
		return fmt.Errorf("peers: node %d does not run", node)
	}
	if err := p.end(syscall.SIGKILL, 10*time.Second); err != nil {
		return err
	}
	g.nodes[node] = nil
	return nil
}

// stop ends all nodes at once and removes their directory.
func (g *group) stop(sig syscall.Signal) error {
	for _, p := range g.nodes {
		if p != nil {
			_ = p.cmd.Process.Signal(sig)
		}
	}
	var errs []error
	for i, p := range g.nodes {
		if p != nil {
			errs = append(errs, p.end(sig, 10*time.Second))
			g.nodes[i] = nil
		}
	}
	return errors.Join(append(errs, os.RemoveAll(g.dir))...)
}

// find looks a program up; pkg is the Debian package that has it.
func find(program, pkg string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%w: %s; install it, as root: apt-get install %s (make peers does)", ErrMissing, program, pkg)
	}
	return path, nil
}

// output of a program that tells its version, first line that has word.
func output(word, program string, args ...string) string {
	text, err := exec.Command(program, args...).CombinedOutput()
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, word) {
			return strings.TrimSpace(line)
		}
	}
	if err != nil {
		return "unknown: " + err.Error()
	}
	return "unknown"
}

var (
	portsLock sync.Mutex
	portsNext = 21000
)

// Ports returns n loopback ports in a row that were free just now. None is
// handed out twice, so that connections of the last group, still waiting to
// be forgotten, are in nobody's way.
func Ports(n int) (int, error) {
	portsLock.Lock()
	defer portsLock.Unlock()
	for ; portsNext+n < 31000; portsNext++ {
		if free(portsNext, n) {
			first := portsNext
			portsNext += n
			return first, nil
		}
	}
	return 0, fmt.Errorf("%w: no %d free ports in a row from 21000 to 31000", ErrStart, n)
}

func free(first, n int) bool {
	for p := first; p < first+n; p++ {
		l, err := net.Listen("tcp", addr(p))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

func addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// listens is nil if something accepts connections at the address.
func listens(ctx context.Context, address string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return c.Close()
}
