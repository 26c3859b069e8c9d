package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// InNode is HealKV under its own load generators, which run inside the nodes,
// as a program that embeds a node would: `node bench`.
type InNode struct {
	Program    string
	Domain     string
	Pool       string
	Workload   string // write-only, or one of reads only
	Dir        string // made and removed
	Keys       int    // at least 1000, which the workloads want
	Window     int    // operations in flight per node
	Time       time.Duration
	Port       int // first of ten
	ValueBytes int // what the workloads have; for the tables
}

const keysMin = 1000

var errInNode = errors.New("peers: node bench")

// Run returns what all three nodes completed together.
func (n InNode) Run(ctx context.Context) (f Figures, err error) {
	defer func() { err = errors.Join(err, n.remove()) }()
	cmd := exec.CommandContext(ctx, n.Program, "bench", "--nodes", "3", "--domain", n.Domain, "--workload", n.Workload,
		"--keys", strconv.Itoa(max(n.Keys, keysMin)), "--pool-size", n.Pool, "--runs", "1", "--time", n.Time.String(), "--window", strconv.Itoa(n.Window),
		"--out", n.Dir, "--resp-port", strconv.Itoa(n.Port), "--admin-port", strconv.Itoa(n.Port+5))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// It ends its nodes and removes its cluster when it is asked to stop.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 40 * time.Second
	text, err := cmd.CombinedOutput()
	if err != nil {
		if ctx.Err() != nil {
			return Figures{}, ctx.Err()
		}
		return Figures{}, fmt.Errorf("%w: %w: %s", errInNode, err, strings.TrimSpace(string(text)))
	}
	return parseInNode(string(text), n.Workload != "write-only", n.Time)
}

// remove takes away what a run that failed has kept for its reader.
func (n InNode) remove() error {
	cluster := filepath.Join(n.Dir, "cluster")
	if _, err := os.Stat(filepath.Join(cluster, "cluster.toml")); err == nil {
		if text, err := exec.Command(n.Program, "cluster", "--destroy", "--dir", cluster).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %w: %s", errInNode, err, strings.TrimSpace(string(text)))
		}
	}
	return os.RemoveAll(n.Dir)
}

// parseInNode reads the table that `node bench` prints: after its heading one
// line a run, `1  ops/s  reads/s  writes/s  p50/p99/p99.9  p50/p99/p99.9`.
func parseInNode(text string, reads bool, measured time.Duration) (Figures, error) {
	heading := false
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) > 1 && w[0] == "run" && w[1] == "ops/s" {
			heading = true
			continue
		}
		if !heading || len(w) != 6 || w[0] != "1" {
			continue
		}
		rate, quantiles := w[3], w[5]
		if reads {
			rate, quantiles = w[2], w[4]
		}
		var f Figures
		var err error
		if f.Rate, err = strconv.ParseFloat(rate, 64); err != nil {
			return f, fmt.Errorf("%w: rate %q: %w", errInNode, rate, err)
		}
		q := strings.Split(quantiles, "/")
		if len(q) != 3 {
			return f, fmt.Errorf("%w: quantiles %q", errInNode, quantiles)
		}
		for k, dst := range []*int64{&f.P50, &f.P99, &f.P999} {
			if *dst, err = strconv.ParseInt(q[k], 10, 64); err != nil {
				return f, fmt.Errorf("%w: quantiles %q: %w", errInNode, quantiles, err)
			}
		}
		f.Operations = int64(f.Rate * measured.Seconds())
		if f.Rate <= 0 {
			return f, fmt.Errorf("%w: nothing was completed: %s", errInNode, strings.TrimSpace(line))
		}
		return f, nil
	}
	return Figures{}, fmt.Errorf("%w: no line of a run in what it printed: %s", errInNode, strings.TrimSpace(text))
}
