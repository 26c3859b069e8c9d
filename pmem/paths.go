package pmem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrIndexDir means that the index directory is not on tmpfs (P6).
var ErrIndexDir = errors.New("pmem: index directory is not on tmpfs")

func poolPath(dir string, shard uint8) string {
	return filepath.Join(dir, fmt.Sprintf("shard-%02d.pool", shard))
}

func lockPath(dir string, shard uint8) string {
	return filepath.Join(dir, fmt.Sprintf("shard-%02d.lock", shard))
}

// indexPath carries the pool's random id: an index left by another pool of the
// same directory is never taken for this one's.
func indexPath(dir string, shard uint8, pool [16]byte) string {
	return filepath.Join(dir, fmt.Sprintf("shard-%02d-%x.index", shard, pool))
}

// checkIndexDir refuses a directory whose files would be flushed. The index is
// dirtied by every write; on a disk's file system its pages would be written
// with the log's (0.05 ms become 6 ms, storage.md).
func checkIndexDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("pmem: index directory: %w", err)
	}
	defer f.Close()
	memory, err := onTmpfs(f)
	if err != nil {
		return err
	}
	if !memory {
		return fmt.Errorf("%w: %s; name a directory below a tmpfs mount such as /dev/shm or /run (index_dir), or mount one there", ErrIndexDir, dir)
	}
	return nil
}

// syncDir makes a directory's entries durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("pmem: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("pmem: syncing directory %s: %w", dir, err)
	}
	return nil
}
