package main

import (
	"strings"
	"testing"
	"time"
)

// Errors of the command line name flags as people write them.
func TestFlagErrors(t *testing.T) {
	for args, want := range map[string]string{
		"--noeds 3":       "x: there is no flag --noeds;",
		"--nodes":         "x: a value is missing behind --nodes;",
		"--nodes three":   `x: invalid value "three" for --nodes: not a number`,
		"--within 5":      `x: invalid value "5" for --within: not a number, or a time without its unit`,
		"--force=perhaps": `x: invalid boolean value "perhaps" for --force: neither true nor false`,
		"--nodes 3 more":  `x: unexpected argument "more";`,
	} {
		fs := newFlagSet("x")
		fs.Int("nodes", 1, "")
		fs.Duration("within", time.Second, "")
		fs.Bool("force", false, "")
		if err := parse(fs, strings.Fields(args)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s…", args, err, want)
		}
	}
}
