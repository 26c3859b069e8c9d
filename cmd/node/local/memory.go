package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"healkv/cmd/node/config"
	"healkv/pmem"
)

// shm is the usual tmpfs of a Linux system.
const shm = "/dev/shm"

// runDirName is R for a cluster, when the user names no other.
func runDirName(clusterID string) string {
	return filepath.Join(shm, fmt.Sprintf("healkv-%.8s-%d", clusterID, os.Getuid()))
}

// OnTmpfs tells whether a path, or the nearest directory above it that exists,
// lies in memory.
func OnTmpfs(path string) (bool, error) {
	fs, err := statfs(path)
	if err != nil {
		return false, err
	}
	return fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC, nil
}

func statfs(path string) (s unix.Statfs_t, err error) {
	for {
		err = unix.Statfs(path, &s)
		if parent := filepath.Dir(path); errors.Is(err, unix.ENOENT) && parent != path {
			path = parent
			continue
		}
		if err != nil {
			err = fmt.Errorf("file system of %s: %w", path, err)
		}
		return s, err
	}
}

// makeRunDir makes R, or finds that it is ours already, with R/m on huge
// pages if asked for and permitted. It reports whether it got them.
func makeRunDir(r, owner, hugePages string) (huge bool, err error) {
	if err := ownDir(r); err != nil {
		return false, err
	}
	memory, err := OnTmpfs(r)
	if err != nil {
		return false, err
	}
	if !memory {
		return false, fmt.Errorf("run directory %s is not on tmpfs; name one that is with --run-dir", r)
	}
	switch now, entries := ownerOf(r); {
	case now == "" && entries > 0:
		return false, fmt.Errorf("run directory %s holds other things; remove it or name another with --run-dir", r)
	case now != "" && now != owner:
		return false, fmt.Errorf("run directory %s belongs to the cluster in %s; name another with --run-dir", r, now)
	}
	if err := config.WriteFile(filepath.Join(r, "owner"), owner+"\n"); err != nil {
		return false, err
	}
	m := filepath.Join(r, "m")
	if err := ownDir(m); err != nil {
		return false, err
	}
	if hugePages != "off" {
		huge, err = mountHuge(m)
		if err != nil {
			return false, err
		}
		if !huge && hugePages == "on" {
			return false, fmt.Errorf("huge_pages = \"on\", but mounting a tmpfs with huge pages on %s is not permitted; run as root, or use --huge-pages auto", m)
		}
	}
	return huge, ownDir(filepath.Join(m, "run"))
}

// mountHuge goes on without huge pages where the folder is in use already:
// what lies there is somebody's data.
func mountHuge(m string) (bool, error) {
	mounted, err := pmem.HugeTmpfs(m)
	if mounted || err == nil {
		return mounted, err
	}
	if entries, readErr := os.ReadDir(m); readErr == nil && len(entries) > 0 {
		return false, nil
	}
	return false, err
}

// ownDir makes a directory that only this user may enter. One that belongs to
// somebody else, or that others may enter, is refused: the names below tmpfs
// can be guessed, and a stranger's directory could hold a stranger's rings.
func ownDir(path string) error {
	err := os.Mkdir(path, 0o700)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("run directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("run directory %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Getuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("run directory %s is not a directory of ours with mode 0700 (owner %d, mode %04o); remove it or name another with --run-dir", path, st.Uid, st.Mode&0o7777)
	}
	return nil
}

// ownerOf is the cluster directory to which a run directory belongs, "" if it
// does not say, and how many entries it has.
func ownerOf(r string) (owner string, entries int) {
	list, _ := os.ReadDir(r)
	text, _ := os.ReadFile(filepath.Join(r, "owner"))
	return strings.TrimSpace(string(text)), len(list)
}

// removeRunDir unmounts and removes R if it belongs to the cluster in owner.
func removeRunDir(r, owner string) error {
	if now, _ := ownerOf(r); now != owner {
		return nil
	}
	if err := ownDir(r); err != nil {
		return err
	}
	m := filepath.Join(r, "m")
	if err := pmem.UnmountTmpfs(m); err != nil {
		return err
	}
	if err := os.RemoveAll(m); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	if err := os.Remove(filepath.Join(r, "owner")); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	// Fails if the user keeps something else there, which then stays.
	_ = os.Remove(r)
	return nil
}

// sweep removes run directories of clusters whose directory is gone: tests and
// people remove a cluster with rm -rf, and what it left in memory would stay
// until the next boot. It returns what it removed.
func sweep() (removed []string) {
	dirs, _ := filepath.Glob(filepath.Join(shm, fmt.Sprintf("healkv-????????-%d", os.Getuid())))
	for _, r := range dirs {
		dir, _ := ownerOf(r)
		if !filepath.IsAbs(dir) {
			continue // being made, or not ours
		}
		_, err := os.Stat(layoutPath(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue // unreadable is not gone
		}
		if err == nil {
			if l, err := readLayout(dir); err != nil || l.RunDir == r {
				continue
			}
		}
		if inUse(r) {
			continue
		}
		if removeRunDir(r, dir) == nil {
			removed = append(removed, r)
		}
	}
	return removed
}

// inUse tells whether any process of this machine has a file of r open or
// mapped, as far as this user may see.
func inUse(r string) bool {
	maps, _ := filepath.Glob("/proc/[0-9]*/maps")
	for _, path := range maps {
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), r+"/") {
			return true
		}
	}
	return false
}

// checkSpace refuses a cluster that cannot fit, before anything is made: a
// tmpfs hands out pages that do not exist, and the kernel then kills a process.
func checkSpace(dir string, nodes int, c *config.Config, memoryDomain bool, r string, mounted bool) error {
	rings := uint64(c.RingSize) * uint64(c.Shards)
	index := uint64(c.PoolSize) / 16 // 8 bytes for a record of 128
	inMemory := uint64(nodes) * (rings + index)
	pools := uint64(nodes) * uint64(c.PoolSize)
	if memoryDomain {
		inMemory += pools
	} else {
		s, err := statfs(dir)
		if err != nil {
			return err
		}
		if free := s.Bavail * uint64(s.Bsize); free < pools {
			return fmt.Errorf("%d pools of %v need %v, the file system of %s has %v free; use --pool-size or another --dir", nodes, c.PoolSize, round(pools), dir, round(free))
		}
	}
	if !mounted {
		s, err := statfs(r)
		if err != nil {
			return err
		}
		if free := s.Bavail * uint64(s.Bsize); free < inMemory {
			return fmt.Errorf("%d nodes need %v on tmpfs, %s has %v free; use a smaller --pool-size or --ring-size, fewer nodes, or enlarge it (in a container: --shm-size)", nodes, round(inMemory), filepath.Dir(r), round(free))
		}
	}
	if free, ok := memAvailable(); ok && free < inMemory {
		return fmt.Errorf("%d nodes need %v of memory, %v is available; use a smaller --pool-size or fewer nodes", nodes, round(inMemory), round(free))
	}
	return nil
}

func round(bytes uint64) config.Size {
	if size := config.Size(bytes); size >= 16*config.MiB {
		return size / config.MiB * config.MiB
	}
	return config.Size(bytes)
}

func memAvailable() (uint64, bool) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "MemAvailable:" {
			kib, err := strconv.ParseUint(fields[1], 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}
