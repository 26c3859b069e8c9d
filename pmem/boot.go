package pmem

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// bootID tells boots of this machine apart. Equal ids mean that no page of the
// page cache or of a tmpfs was lost in between.
func bootID() ([16]byte, error) {
	const path = "/proc/sys/kernel/random/boot_id"
	var id [16]byte
	text, err := os.ReadFile(path)
	if err != nil {
		return id, fmt.Errorf("pmem: boot id: %w", err)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("pmem: boot id: %s holds %q, want a UUID", path, text)
	}
	copy(id[:], b)
	return id, nil
}
