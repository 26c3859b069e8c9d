package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/proto"
)

// socketPathMax is the longest path of a unix socket, in bytes: sun_path
// holds 108 with the terminating zero (unix(7)).
const socketPathMax = 107

// SocketPath is where node n of a cluster listens.
func SocketPath(runDir string, n proto.NodeID) string {
	return filepath.Join(runDir, fmt.Sprintf("ctl-%d.sock", n))
}

// unixTransport is sockets in a directory that only our user can enter.
type unixTransport struct {
	dir   string
	node  proto.NodeID
	uid   uint32 // a peer must have this user
	stats *counters
	ln    *net.UnixListener
}

func newUnixTransport(cfg *Config, stats *counters) (*unixTransport, error) {
	for _, n := range cfg.Configured.With(cfg.Node).Nodes(nil) {
		if p := SocketPath(cfg.RunDir, n); len(p) > socketPathMax {
			return nil, fmt.Errorf("control: socket path %q has %d bytes, limit %d: choose a shorter run directory", p, len(p), socketPathMax)
		}
	}
	if err := privateDir(cfg.RunDir); err != nil {
		return nil, err
	}
	return &unixTransport{dir: cfg.RunDir, node: cfg.Node, uid: uint32(os.Geteuid()), stats: stats}, nil
}

// privateDir makes dir if absent and insists that it is ours alone.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("control: run directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("control: run directory %s: %w", dir, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("control: run directory %s is not a directory", dir)
	case st.Uid != uint32(os.Geteuid()):
		return fmt.Errorf("control: run directory %s belongs to user %d, not to us (%d)", dir, st.Uid, os.Geteuid())
	case st.Mode&0o077 != 0:
		return fmt.Errorf("control: run directory %s has mode %#o: others may enter; chmod 0700 it", dir, st.Mode&0o777)
	}
	return nil
}

func (t *unixTransport) address(n proto.NodeID) string { return SocketPath(t.dir, n) }
func (t *unixTransport) describe() string              { return "unix " + t.address(t.node) }
func (t *unixTransport) why(err error) error           { return err }

// listen opens our socket. A file nobody listens on is left from a dead
// process and replaced.
func (t *unixTransport) listen() error {
	path := t.address(t.node)
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return fmt.Errorf("control: %s is in use: another process runs as node %d", path, t.node)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("control: left-over socket: %w", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return fmt.Errorf("control: %w", err)
	}
	t.ln = ln
	return nil
}

func (t *unixTransport) accept() (net.Conn, error) { return t.ln.AcceptUnix() }

func (t *unixTransport) close() {
	if t.ln != nil {
		t.ln.Close() // removes the socket file too
	}
}

func (t *unixTransport) admit(_ context.Context, raw net.Conn) (*conn, error) {
	c := raw.(*net.UnixConn)
	cred, err := peerCredential(c)
	if err != nil {
		return nil, err
	}
	if cred.Uid != t.uid {
		t.stats.wrongUser.Add(1)
		return nil, fmt.Errorf("control: process %d is of user %d, not of ours (%d)", cred.Pid, cred.Uid, t.uid)
	}
	return &conn{Conn: c, raw: c, pid: int(cred.Pid), unix: c}, nil
}

func (t *unixTransport) dial(ctx context.Context, n proto.NodeID) (*conn, error) {
	d := net.Dialer{Timeout: connectWait}
	raw, err := d.DialContext(ctx, "unix", t.address(n))
	if err != nil {
		return nil, err
	}
	c := raw.(*net.UnixConn)
	cred, err := peerCredential(c)
	if err == nil && cred.Uid != t.uid {
		t.stats.wrongUser.Add(1)
		err = fmt.Errorf("control: %s is served by user %d, not by us (%d)", t.address(n), cred.Uid, t.uid)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return &conn{Conn: c, raw: c, pid: int(cred.Pid), unix: c}, nil
}

// peerCredential reads who is at the other end, as the kernel knows it.
func peerCredential(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, inner)
}
