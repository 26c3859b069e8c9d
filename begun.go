package healkv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// begunFile says in the state directory that this node has had a pool with
// something in it: a blank pool is a lost one from then on.
const begunFile = "begun"

func (n *Node) begun() bool {
	_, err := os.Stat(filepath.Join(n.cfg.StateDir, begunFile))
	return err == nil
}

func (n *Node) begin() error {
	if n.begun() {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(n.cfg.StateDir, begunFile), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("healkv: state directory: %w", err)
	}
	dir, err := os.Open(n.cfg.StateDir)
	if err != nil {
		return errors.Join(fmt.Errorf("healkv: state directory: %w", err), f.Close())
	}
	return errors.Join(f.Sync(), f.Close(), dir.Sync(), dir.Close())
}
