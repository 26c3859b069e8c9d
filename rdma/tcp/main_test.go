package tcp

import (
	"fmt"
	"os"
	"testing"
)

// TestMain wants every descriptor given back.
func TestMain(m *testing.M) {
	code := m.Run()
	if n := sockets.Load(); n != 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "%d descriptors left\n", n)
		code = 1
	}
	if n := servers.Load(); n != 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "%d remote reads left\n", n)
		code = 1
	}
	os.Exit(code)
}
