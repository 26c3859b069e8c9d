package tcp

import (
	"fmt"
	"os"
	"testing"
	"time"

	"healkv/dataplane/plant"
)

// patience is how long what must come may take; a planted bug shows by then.
var patience = 20 * time.Second

func init() {
	if plant.On {
		patience = 3 * time.Second
	}
}

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
