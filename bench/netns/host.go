package netns

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Host is one namespace.
type Host struct {
	space  *os.File
	starts chan func() // run on a thread that lives as long as the host
}

func openHost(path string) (*Host, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	h := &Host{space: f, starts: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		err := h.enter()
		if ready <- err; err != nil {
			return
		}
		for f := range h.starts {
			f()
		}
	}()
	if err := <-ready; err != nil {
		f.Close()
		return nil, err
	}
	return h, nil
}

// enter moves the calling thread there.
func (h *Host) enter() error {
	if err := unix.Setns(int(h.space.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("netns: entering %s: %w", h.space.Name(), err)
	}
	return nil
}

func (h *Host) close() {
	close(h.starts)
	h.space.Close()
}

// Inside runs f with a thread of its own in the host. Sockets that f makes stay
// there; goroutines that f starts do not.
func (h *Host) Inside(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never back: nobody else gets this thread
		err := h.enter()
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// Dial connects from the host. The address is a literal: there is no resolver in
// a namespace, and looking one up might leave the thread.
func (h *Host) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = h.Inside(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Start begins a process in the host. It is killed when the host goes or the
// caller dies.
func (h *Host) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true              // a Ctrl-C is ours, not theirs
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // follows the thread, prctl(2)
	done := make(chan error)
	h.starts <- func() { done <- cmd.Start() }
	return <-done
}

// KillConnections ends established TCP connections of the host that use a port
// on either side, as a reset from outside would. It says how many: of those
// between two ports of this host both ends.
func (h *Host) KillConnections(port int) (n int, err error) {
	filter := fmt.Sprintf("( sport = :%d or dport = :%d )", port, port)
	cmd := exec.Command("ss", "-H", "-n", "-t", "-K", "state", "established", filter)
	err = h.Inside(func() error {
		out, err := cmd.Output() // started by this thread, so in the host
		for _, b := range out {
			if b == '\n' {
				n++
			}
		}
		if err != nil {
			return fmt.Errorf("netns: ss -K: %w", err)
		}
		return nil
	})
	return n, err
}
