package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profileFlag lets a node serve its profiles.
const profileFlag = "--admin-pprof"

// FileProfile is where Bench writes what node i spent its processor time on.
func FileProfile(node int) string { return fmt.Sprintf("node-%d.pprof", node) }

// profile takes a CPU profile of every loaded node over so long, at least a
// second, into dir.
func (r *runner) profile(ctx context.Context, dir string, nodes []int, over time.Duration) error {
	seconds := max(1, int(over/time.Second))
	return r.k.each(nodes, func(i int) error {
		return r.k.fetch(ctx, i, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds), filepath.Join(dir, FileProfile(i)))
	})
}

// fetch writes what node i serves under path into a file.
func (k *cluster) fetch(ctx context.Context, i int, path, file string) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url(i, path), nil)
	if err != nil {
		return err
	}
	a, err := k.client.Do(q)
	if err != nil {
		return fmt.Errorf("node %d: %w", i, err)
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("node %d: %s: %s", i, path, a.Status)
	}
	b, err := io.ReadAll(a.Body)
	if err != nil {
		return fmt.Errorf("node %d: %s: %w", i, path, err)
	}
	return os.WriteFile(file, b, 0o600)
}
