package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Text is the configuration as a commented TOML file.
func Text(c *Config) string {
	var b strings.Builder
	b.WriteString("# HealKV node. Every key is also a flag (--pool-size) and an environment\n" +
		"# variable (HEALKV_POOL_SIZE); a flag wins over the environment, that over this file.\n\n")
	section := ""
	for i := range Keys {
		k := &Keys[i]
		name := k.Name
		if head, rest, nested := strings.Cut(name, "."); nested {
			if head != section {
				fmt.Fprintf(&b, "\n[%s]\n", head)
				section = head
			}
			name = rest
		}
		fmt.Fprintf(&b, "# %s: %s\n", k.Help, k.Allowed)
		if k.bare() {
			fmt.Fprintf(&b, "%s = %s\n", name, k.Text(c))
		} else {
			fmt.Fprintf(&b, "%s = %s\n", name, Quote(k.Text(c)))
		}
	}
	return b.String()
}

// Quote writes a TOML basic string.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// WriteFile writes text for this user only, and completely or not at all: a
// temporary file is flushed and renamed.
func WriteFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("config: write %s: %w", path, err)
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("config: write %s: %w", path, err)
	}
	return nil
}
