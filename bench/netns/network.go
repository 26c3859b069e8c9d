package netns

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Errors of this package. ErrMissing names what this machine lacks, and what to
// do about it.
var (
	ErrMissing = errors.New("netns: cannot make network namespaces")
	ErrReach   = errors.New("netns: the network is not what was asked for")
)

const (
	hostsMax = 16
	locks    = "/run/healkv-netns-" // ID.lock: held while a Network lives
	names    = "/run/netns/"        // where ip keeps namespaces
	memory   = "/dev/shm/healkv-netns-"

	// nobody is a hardware address that no interface has.
	nobody = "02:68:6b:ff:ff:ff"
)

// Network is some hosts and the switch between them. Its methods may be called
// by several goroutines.
type Network struct {
	id    string
	lock  *os.File
	hosts []*Host // the last one is Outside

	mu     sync.Mutex
	cut    []bool          // by host: unplugged or down
	slow   []bool          // by host: netem
	drops  map[[2]int]bool // from, to
	probes []*net.UDPConn  // by host
	round  byte
}

// Missing says what this machine lacks; nil: nothing. ErrMissing.
func Missing() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: not root: run as root", ErrMissing)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("%w: no program ip: apt-get install iproute2", ErrMissing)
	}
	if _, err := os.Stat("/proc/self/ns/net"); err != nil {
		return fmt.Errorf("%w: the kernel has none: %w", ErrMissing, err)
	}
	return nil
}

// New makes n hosts, all connected. What killed runs have left is removed first.
// ErrMissing, or what ip has refused.
func New(n int) (_ *Network, err error) {
	if n < 2 || n > hostsMax {
		return nil, fmt.Errorf("netns: %d hosts, want 2 to %d", n, hostsMax)
	}
	if err := Missing(); err != nil {
		return nil, err
	}
	if err := sweep(); err != nil {
		return nil, err
	}
	w := &Network{cut: make([]bool, n+1), slow: make([]bool, n+1), drops: map[[2]int]bool{}}
	if err := w.take(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if err := ip("netns", "add", w.name("sw")); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	if err := w.sw("link", "add", "sw", "type", "bridge", "stp_state", "0", "forward_delay", "0"); err != nil {
		return nil, fmt.Errorf("%w: the kernel has no bridge: %w", ErrMissing, err)
	}
	if err := w.sw("link", "set", "sw", "up"); err != nil {
		return nil, err
	}
	for i := range n + 1 {
		h, err := w.newHost(i)
		if err != nil {
			return nil, err
		}
		w.hosts = append(w.hosts, h)
		if err := w.openProbe(h); err != nil {
			return nil, err
		}
	}
	return w, w.AwaitReach()
}

// take gets an identity that nobody else has.
func (w *Network) take() error {
	for {
		var b [3]byte
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		w.id = hex.EncodeToString(b[:])
		f, err := os.OpenFile(locks+w.id+".lock", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("netns: %w", err)
		}
		var s unix.Stat_t
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && unix.Fstat(int(f.Fd()), &s) == nil && s.Nlink > 0 {
			w.lock = f
			return nil
		}
		f.Close() // another run took it for one that is over
	}
}

// sweep removes what is left of runs that are over.
func sweep() error {
	left, err := filepath.Glob(locks + "*.lock")
	if err != nil {
		return err
	}
	for _, path := range left {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			id := strings.TrimSuffix(strings.TrimPrefix(path, locks), ".lock")
			err = remove(id)
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// remove deletes all that bears an identity; the lock goes last.
func remove(id string) error {
	spaces, err := filepath.Glob(names + "healkv-" + id + "-*")
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range spaces {
		errs = append(errs, ip("netns", "del", filepath.Base(s)))
	}
	errs = append(errs, os.RemoveAll(memory+id))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.Remove(locks + id + ".lock")
}

// Close ends the processes that Start began in the hosts and removes everything.
func (w *Network) Close() error {
	for _, p := range w.probes {
		p.Close()
	}
	for _, h := range w.hosts {
		h.close()
	}
	err := remove(w.id)
	w.lock.Close()
	return err
}

// Hosts is the number of hosts without Outside.
func (w *Network) Hosts() int { return len(w.hosts) - 1 }

// Host is host i, Outside that with the number Hosts.
func (w *Network) Host(i int) *Host { return w.hosts[i] }

// Outside is one more host, for clients. Nothing ever happens to it.
func (w *Network) Outside() *Host { return w.hosts[len(w.hosts)-1] }

// Scratch is a directory in memory for what lies in it, removed with the network.
func (w *Network) Scratch() (string, error) { return memory + w.id, os.MkdirAll(memory+w.id, 0o700) }

// Address of a host.
func Address(i int) string { return fmt.Sprintf("10.99.0.%d", i+1) }

func hardware(i int) string          { return fmt.Sprintf("02:68:6b:00:00:%02x", i+1) }
func port(i int) string              { return fmt.Sprintf("p%d", i) }
func (w *Network) name(x any) string { return fmt.Sprintf("healkv-%s-%v", w.id, x) }

// sw runs ip in the switch.
func (w *Network) sw(args ...string) error {
	return ip(append([]string{"-n", w.name("sw")}, args...)...)
}

// at runs ip in a host.
func (w *Network) at(i int, args ...string) error {
	return ip(append([]string{"-n", w.name(i)}, args...)...)
}

func ip(args ...string) error { return command("ip", args...) }

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("netns: %s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// newHost makes a namespace and plugs it in.
func (w *Network) newHost(i int) (*Host, error) {
	if err := ip("netns", "add", w.name(i)); err != nil {
		return nil, err
	}
	if err := w.sw("link", "add", port(i), "type", "veth", "peer", "name", "eth0", "netns", w.name(i)); err != nil {
		return nil, fmt.Errorf("%w: the kernel has no veth: %w", ErrMissing, err)
	}
	for _, err := range []error{
		w.sw("link", "set", port(i), "master", "sw", "up"),
		w.at(i, "link", "set", "lo", "up"),
		w.at(i, "link", "set", "eth0", "address", hardware(i)),
		w.at(i, "address", "add", Address(i)+"/24", "dev", "eth0"),
		w.at(i, "link", "set", "eth0", "up"),
	} {
		if err != nil {
			return nil, err
		}
	}
	return openHost(names + w.name(i))
}
