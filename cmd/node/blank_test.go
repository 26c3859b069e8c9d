//go:build process

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"healkv"
)

// TestProcessBlankPoolStopsColdStart: all nodes died, and one comes back with
// its pool gone. Nobody may make a cold start without its data; all say why.
func TestProcessBlankPoolStopsColdStart(t *testing.T) {
	g := newGroup(t, 3, "--domain", "memory")
	for i := range 5 {
		if err := g.client(0).Set(t.Context(), fmt.Sprintf("k-%d", i), "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range g.status() {
		if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		g.await(fmt.Sprintf("node %d (pid", i))
	}
	for _, key := range []string{"pool_dir", "index_dir"} {
		if err := os.RemoveAll(g.setting(1, key)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		byHand := exec.Command(binary, "serve", "--config", g.config(i))
		if err := byHand.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = byHand.Process.Signal(syscall.SIGTERM)
			_ = byHand.Wait()
		}()
	}
	for _, i := range []int{0, 1} {
		why := ""
		for deadline := time.Now().Add(30 * time.Second); why == "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			var s healkv.Status
			r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/status", g.admin+i))
			if err != nil {
				continue // not listening yet
			}
			err = json.NewDecoder(r.Body).Decode(&s)
			r.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if s.Serving || s.Role == "live" {
				t.Fatalf("node %d serves after a cold start without node 1's data: %+v", i, s)
			}
			for _, e := range s.Events {
				if e.Name == "waiting" {
					why = e.Detail
				}
			}
		}
		if !strings.Contains(why, "blank") {
			t.Fatalf("node %d does not say why it waits: %q", i, why)
		}
		t.Logf("node %d: %s", i, why)
	}
	// Nothing goes on until an operator says so, in exactly these words.
	order := func(code int, want string, args ...string) {
		t.Helper()
		out, complaint, got := node(t, nil, append([]string{"cold-start", "--dir", g.dir}, args...)...)
		if got != code || !strings.Contains(out+complaint, want) || strings.Count(complaint, "\n") > 1 {
			t.Fatalf("cold-start %v: exit status %d, want %d and %q:\n%s%s", args, got, code, want, out, complaint)
		}
	}
	epoch := fmt.Sprint(g.status()[0].Epoch)
	if out, _, _ := node(t, nil, "status", "--dir", g.dir); !strings.Contains(out, "VIEW  epoch "+epoch+": live 0,1,2") || !strings.Contains(out, "blank") {
		t.Errorf("status:\n%s", out)
	}
	order(2, "--epoch is missing", "--without", "1")
	order(2, "--without is missing", "--epoch", epoch)
	order(2, "each once", "--epoch", epoch, "--without", "1,1")
	order(1, "there is no node 7", "--epoch", epoch, "--without", "7")
	order(1, "look at the status again", "--epoch", "999", "--without", "1")
	order(1, "is blank", "--epoch", epoch, "--without", "2") // node 1 is in the way
	order(0, "nothing was done", "--epoch", epoch, "--without", "1", "--dry")
	for i, s := range g.status() {
		if s.Role == "live" {
			t.Errorf("node %d is live after a dry run", i)
		}
	}
	order(0, "node 0 is live after", "--epoch", epoch, "--without", "1")
	for i := range 3 {
		s := g.awaitLive(i)
		if want := map[bool]string{true: "full", false: "cold"}[i == 1]; s.LastRecovery == nil || s.LastRecovery.Kind != want || s.Keys != 5 {
			t.Errorf("node %d: %d keys, recovery %+v, want %s", i, s.Keys, s.LastRecovery, want)
		}
	}
}
