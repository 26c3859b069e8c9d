package pmem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tmpfsSource is what our mounts are called in the mount table, so that
// UnmountTmpfs touches no other.
const tmpfsSource = "healkv"

// hugeOptions: huge pages for what fills them. With huge=always a lock file or a
// doorbell of a few bytes takes 2 MiB, which the kernel clears first: up to 6 ms
// each on a virtual machine, several times in every start of a node.
const hugeOptions = "huge=within_size,mode=0700,size=80%"

// HugeTmpfs mounts a tmpfs with huge pages on an existing empty directory and
// reports whether dir is such a mount now, by this or an earlier call. Without
// the permission to mount, or a kernel without huge pages, it reports false
// and no error: the caller goes on with what dir is. Memory-domain pools,
// indexes and rings go there: first touch, release after a kill and random
// reads all gain (storage.md has the figures).
func HugeTmpfs(dir string) (mounted bool, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return false, fmt.Errorf("pmem: %w", err)
	}
	if ours, err := isOurMount(dir); err != nil || ours {
		return ours, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, fmt.Errorf("pmem: mounting a tmpfs: %w", err)
	}
	if len(entries) > 0 {
		return false, fmt.Errorf("pmem: mounting a tmpfs: %s is not empty (%s, …); its files would be hidden", dir, entries[0].Name())
	}
	err = unix.Mount(tmpfsSource, dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, hugeOptions)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL):
		return false, nil
	}
	return false, fmt.Errorf("pmem: mounting a tmpfs on %s: %w", dir, err)
}

// UnmountTmpfs undoes HugeTmpfs; what lies in it is lost. No error if dir is
// no mount of ours.
func UnmountTmpfs(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("pmem: %w", err)
	}
	ours, err := isOurMount(dir)
	if err != nil || !ours {
		return err
	}
	if err := unix.Unmount(dir, 0); err != nil {
		return fmt.Errorf("pmem: unmounting %s: %w; does a process still use it?", dir, err)
	}
	return nil
}

// isOurMount reads the mount table: fields are "id parent dev root mountpoint
// options … - type source superoptions" (proc(5)).
func isOurMount(dir string) (bool, error) {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, fmt.Errorf("pmem: mount table: %w", err)
	}
	escaped := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(dir)
	for line := range strings.Lines(string(table)) {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) > 4 && len(r) > 1 && l[4] == escaped && r[0] == "tmpfs" && r[1] == tmpfsSource {
			return true, nil
		}
	}
	return false, nil
}
