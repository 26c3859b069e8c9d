package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// silently runs a command with standard output read away.
func silently(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	r, w, e := os.Pipe()
	if e != nil {
		t.Fatal(e)
	}
	read := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		read <- string(b)
	}()
	terminal := os.Stdout
	os.Stdout = w
	err = dispatch(t.Context(), args)
	os.Stdout = terminal
	_ = w.Close()
	return <-read, err
}

func TestDoctor(t *testing.T) {
	out, err := silently(t, "doctor")
	if err != nil || !strings.Contains(out, "device to use") || !strings.Contains(out, "locked memory") {
		t.Errorf("%v\n%s", err, out)
	}
	// What nobody asked for may be missing; what was asked for may not. No host
	// has a device of this name.
	out, err = silently(t, "doctor", "--provider", "verbs", "--device", "no-such-device")
	if err == nil || errors.Is(err, errUsage) || !strings.Contains(out, "fail") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = silently(t, "doctor", "--json", "--domain", "memory", "--dir", "/dev/shm")
	if err != nil || !strings.Contains(out, `"name": "domain memory"`) {
		t.Errorf("%v\n%s", err, out)
	}
	refused := [][]string{
		{"--device", "mlx5_0"}, {"--domain", "dax"}, {"--dir", "/mnt"}, {"--domain", "auto", "--dir", "/mnt"}, {"--domain", "ram", "--dir", "/mnt"},
		{"--provider", "verbs", "--mtu", "1500"}, {"--provider", "ib"}, {"--shards", "0"}, {"--ring-size", "many"}, {"extra"},
	}
	for _, args := range refused {
		if _, err := silently(t, append([]string{"doctor"}, args...)...); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
	t.Logf("%d command lines refused", len(refused))
}
