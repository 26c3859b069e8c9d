package heal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"healkv/dataplane"
)

// What no member has a good copy of stays refused through restarts: of one node
// after the other, and of all of them together, with their indexes and without.
// An older record of the key, which stands undamaged in every log, is never
// taken for it.
func TestRefusedOutlivesRestarts(t *testing.T) {
	total := 0
	seeds(t, 4, 12, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		r.nodes[0].put("key-1", []byte("old value"))
		r.nodes[0].put("key-1", []byte("new value"))
		r.nodes[0].put("key-2", []byte("beside"))
		r.sim.Run(20 * time.Millisecond) // it is stable everywhere
		rebuilt := seed%2 == 0
		for _, n := range r.nodes {
			n.hurt("key-1", !rebuilt && seed%3 == 0) // without an index nothing is known of a key behind a damaged header
		}
		refused := func(when string) {
			t.Helper()
			for _, n := range r.nodes {
				if v, err := n.get("key-1", time.Second); !errors.Is(err, dataplane.ErrDamaged) {
					t.Fatalf("seed %d: %s: node %d reads %q, %v", seed, when, n.id, v, err)
				}
				if v, err := n.get("key-2", time.Second); err != nil || string(v) != "beside" {
					t.Fatalf("seed %d: %s: node %d, the other key: %q, %v", seed, when, n.id, v, err)
				}
				total++
			}
		}
		stop := func(n *rigNode) {
			n.kill()
			if rebuilt {
				list, err := filepath.Glob(filepath.Join(n.dir(), "*.index"))
				if err != nil || len(list) != 1 {
					t.Fatalf("%v, %v", list, err)
				}
				if err := os.Remove(list[0]); err != nil {
					t.Fatal(err)
				}
			}
		}
		refused("at first")
		for _, n := range r.nodes {
			stop(n)
			r.remove(n)
			r.sim.Run(20 * time.Millisecond)
			n.start()
			r.until("all serve", func() bool { return r.serving() == len(r.nodes) })
			refused("one node restarted")
		}
		for range 2 {
			for _, n := range r.nodes {
				stop(n)
			}
			for _, n := range r.nodes {
				n.start()
			}
			r.until("all serve", func() bool { return r.serving() == len(r.nodes) })
			refused("all restarted")
		}
		r.nodes[1].put("key-1", []byte("written anew"))
		for _, n := range r.nodes {
			if v, err := n.get("key-1", time.Second); err != nil || string(v) != "written anew" {
				t.Errorf("seed %d: node %d reads %q, %v after a new write", seed, n.id, v, err)
			}
		}
	})
	t.Logf("%d refusals", total)
	if total == 0 {
		t.Error("nothing was read")
	}
}
