package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"healkv/cgo/ibverbs"
	"healkv/pmem"
	"healkv/rdma/verbs"
)

// Space is what a file system holds, in bytes.
type Space struct{ Total, Free uint64 }

// Host is what the doctor looks at. Local is the one it runs on.
type Host struct {
	Files      fs.FS // the root directory
	VerbsBuilt bool  // this binary has the provider verbs
	Flush      string
	Processors int // this process may run on

	// LockLimit is RLIMIT_MEMLOCK in bytes, Unlimited without one.
	LockLimit uint64
	// OpenFiles is the limit of open files.
	OpenFiles uint64
	// Access says whether this process may read and write a file.
	Access func(path string) error
	// Space of the file system at path.
	Space func(path string) (Space, error)
	// XDPSocket tries to open an AF_XDP socket.
	XDPSocket func() error
	// TryDomain makes and removes a file in dir with the domain.
	TryDomain func(dir string, d pmem.Domain) error
	// ByNetdev names the RDMA device of a network interface.
	ByNetdev func(netdev string) (string, error)
}

// Unlimited is no limit.
const Unlimited = ^uint64(0)

// Local is the host this process runs on.
func Local() (*Host, error) {
	h := &Host{
		Files: os.DirFS("/"), VerbsBuilt: ibverbs.Built, Flush: pmem.FlushInstruction(),
		Access:    func(path string) error { return unix.Access(path, unix.R_OK|unix.W_OK) },
		Space:     space,
		XDPSocket: xdpSocket,
		TryDomain: tryDomain,
		ByNetdev:  verbs.DeviceOf,
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("doctor: processors: %w", err)
	}
	h.Processors = set.Count()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		return nil, fmt.Errorf("doctor: locked memory: %w", err)
	}
	if h.LockLimit = l.Cur; l.Cur == unix.RLIM_INFINITY {
		h.LockLimit = Unlimited
	}
	var err error
	if h.OpenFiles, err = OpenFiles(); err != nil {
		return nil, err
	}
	return h, nil
}

func space(path string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Space{}, err
	}
	return Space{st.Blocks * uint64(st.Bsize), st.Bavail * uint64(st.Bsize)}, nil
}

func xdpSocket() error {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func tryDomain(dir string, d pmem.Domain) error {
	own, err := os.MkdirTemp(dir, ".healkv-doctor-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(own)
	r, err := pmem.MapRegion(filepath.Join(own, "region"), 1<<20, d, pmem.MapOptions{Create: true})
	if err != nil {
		return err
	}
	return errors.Join(r.Persist(0, 1<<20), r.Close())
}

// word reads a short file; "" if there is none.
func (h *Host) word(path string) string {
	b, err := fs.ReadFile(h.Files, path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// number reads a file with one number; 0 if there is none.
func (h *Host) number(path string) int {
	n, _ := strconv.Atoi(h.word(path))
	return n
}

// Capabilities by their numbers, capabilities(7).
const (
	capNetRaw   = 13
	capIPCLock  = 14
	capSysAdmin = 21
	capBPF      = 39
)

// may tells whether this process has one of the capabilities in effect.
func (h *Host) may(capabilities ...int) bool {
	for line := range strings.Lines(h.word("proc/self/status")) {
		hex, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		set, _ := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		for _, c := range capabilities {
			if set&(1<<c) != 0 {
				return true
			}
		}
	}
	return false
}

// size writes bytes as a person would.
func size(n uint64) string {
	switch {
	case n == Unlimited:
		return "unlimited"
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%d KiB", n>>10)
	}
}
