package interference

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"healkv/dataplane"
	"healkv/heal"
)

// Role is what a thread of a node is for.
type Role uint8

const (
	RoleOther    Role = iota // the Go runtime, sessions, the control plane
	RoleWorker               // a shard worker: the hot path
	RoleRecovery             // a recovery goroutine's own thread
)

// Thread is a thread of a node process.
type Thread struct {
	PID, TID, Node int
	Role           Role
	Name           string
}

// roleOf tells by the name that the thread was given.
func roleOf(name string) Role {
	switch {
	case strings.HasPrefix(name, dataplane.ThreadName):
		return RoleWorker
	case strings.HasPrefix(name, heal.ThreadName):
		return RoleRecovery
	}
	return RoleOther
}

// Threads lists the threads that a process has now.
func Threads(pid, node int) ([]Thread, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "task")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("interference: threads of process %d: %w", pid, err)
	}
	var all []Thread
	for _, e := range entries {
		name, err := os.ReadFile(filepath.Join(dir, e.Name(), "comm"))
		tid, numErr := strconv.Atoi(e.Name())
		if err != nil || numErr != nil {
			continue // it has ended meanwhile
		}
		t := Thread{PID: pid, TID: tid, Node: node, Name: strings.TrimSpace(string(name))}
		t.Role = roleOf(t.Name)
		all = append(all, t)
	}
	return all, nil
}
