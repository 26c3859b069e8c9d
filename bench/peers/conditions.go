package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"healkv/bench/peers/result"
	"healkv/bench/peers/servers"
)

// conditions of all figures.
func conditions(o options, data string) result.Conditions {
	return result.Conditions{
		Command: o.command, Date: time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		Machine: processor(), Cores: runtime.NumCPU(), Kernel: kernel(), Domain: string(o.domain), Storage: storage(data), Nodes: servers.Nodes,
		Clients: o.clients, Keys: o.keys, ValueBytes: o.value, Seconds: o.time.Seconds(), Warm: o.warm.Seconds(), Runs: o.runs,
	}
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "processor unknown"
	}
	for line := range strings.Lines(string(text)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// storage names the file system of a directory.
func storage(dir string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return "unknown"
	}
	names := map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs"}
	if name, ok := names[int64(s.Type)]; ok {
		return name
	}
	return fmt.Sprintf("file system %#x", s.Type)
}
