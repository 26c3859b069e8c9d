package resp

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketPathMax bounds the name of a socket in the file system: sun_path of
// unix(7) without its closing zero.
const socketPathMax = 107

// listener is a socket that clients come to.
type listener struct {
	file *os.File
	path string // of a socket in the file system, which goes with its listener
	// settings of its clients' sockets.
	settings []setting
}

type setting struct{ level, option, value int }

// overTCP: no waiting for full segments, and a look every 15 s whether the client
// is there. Over a socket file the kernel knows.
var overTCP = []setting{
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
}

// listenTCP binds cfg.Listen.
func listenTCP(cfg *Config) (*listener, net.Addr, error) {
	ln, err := net.Listen("tcp", cfg.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, nil, fmt.Errorf("%w on %s: another process has the port; stop it or choose another port: %w", ErrListen, cfg.Listen, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w on %s: %w", ErrListen, cfg.Listen, err)
	}
	file, err := ln.(*net.TCPListener).File() // accept needs more than a net.Listener lets through
	ln.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("%w on %s: %w", ErrListen, cfg.Listen, err)
	}
	// localhost is whatever the machine's resolver says: look at what came out.
	if a, err := netip.ParseAddrPort(ln.Addr().String()); cfg.Password == "" && (err != nil || !a.Addr().Unmap().IsLoopback()) {
		file.Close()
		return nil, nil, errNeedsPassword(ln.Addr().String())
	}
	return &listener{file: file, settings: overTCP}, ln.Addr(), nil
}

// listenFile makes a socket in the file system that only its owner may connect
// to. One that a process left behind when it was killed is replaced, one that is
// served is not, nor is anything else of that name.
func listenFile(path string) (*listener, error) {
	failed := func(what string, err error) error {
		return fmt.Errorf("%w on %s: %s: %w", ErrListen, path, what, err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, failed("socket", err)
	}
	address := &unix.SockaddrUnix{Name: path}
	err = unix.Bind(fd, address)
	if err == unix.EADDRINUSE {
		if err = removeStale(path); err != nil {
			unix.Close(fd)
			return nil, err
		}
		err = unix.Bind(fd, address)
	}
	if err != nil {
		unix.Close(fd)
		return nil, failed("bind", err)
	}
	// Nobody can connect before it listens, whatever mode it had until here.
	if err = unix.Chmod(path, 0o600); err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		unix.Close(fd)
		_ = os.Remove(path) // ours, and of no use
		return nil, failed("listen", err)
	}
	return &listener{file: os.NewFile(uintptr(fd), path), path: path}, nil
}

// removeStale removes a socket that nobody serves any more.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // its owner has just gone
	case err != nil:
		return fmt.Errorf("%w on %s: %w", ErrListen, path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%w on %s: something else has that name; remove it or choose another name", ErrListen, path)
	}
	probe, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w on %s: %w", ErrListen, path, err)
	}
	defer unix.Close(probe)
	switch err := unix.Connect(probe, &unix.SockaddrUnix{Name: path}); err {
	case unix.ECONNREFUSED:
	case nil, unix.EAGAIN: // a full queue of clients is a served one too
		return fmt.Errorf("%w on %s: another process serves it; stop it or choose another name: %w", ErrListen, path, syscall.EADDRINUSE)
	default:
		return fmt.Errorf("%w on %s: a socket is there that cannot be asked: %w", ErrListen, path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w on %s: removing what a killed process left: %w", ErrListen, path, err)
	}
	return nil
}

// validSocket: relative names would move with the process's directory, and one
// that begins with @ is no file.
func validSocket(path string) error {
	switch {
	case path == "":
		return nil
	case !filepath.IsAbs(path):
		return fmt.Errorf("%w: socket %q is not an absolute path", ErrConfig, path)
	case len(path) > socketPathMax:
		return fmt.Errorf("%w: the path of socket %q has %d characters, at most %d", ErrConfig, path, len(path), socketPathMax)
	}
	return nil
}

// accept waits for a client. Its socket is kept out of the Go runtime's poller:
// a loop waits for it.
func (l *listener) accept() (fd int, remote netip.AddrPort, err error) {
	rc, err := l.file.SyscallConn()
	if err != nil {
		return -1, remote, err
	}
	var from unix.Sockaddr
	var failed error
	err = rc.Read(func(ln uintptr) bool {
		for {
			fd, from, failed = unix.Accept4(int(ln), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if failed != unix.EINTR {
				return failed != unix.EAGAIN
			}
		}
	})
	if err = cmp.Or(err, failed); err != nil {
		return -1, remote, err
	}
	return fd, addrPort(from), nil
}

// close ends it: connections that nobody has accepted are reset.
func (l *listener) close() {
	if l.path != "" {
		_ = os.Remove(l.path) // first: whoever comes next finds none, or its own
	}
	l.file.Close()
}

// addrPort of a socket file's client is invalid.
func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
