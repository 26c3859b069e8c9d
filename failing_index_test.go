package healkv_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"healkv"
	"healkv/dataplane/proto"
)

// putKeys puts keys from..to through a session, many at a time, and counts how
// many were done and how many refused for want of room.
func putKeys(t *testing.T, n *healkv.Node, from, to int) (done, refused int) {
	t.Helper()
	s := n.NewSession()
	defer s.Close()
	ops, back := make([]healkv.Op, 512), make([]*healkv.Op, 512)
	for from < to {
		k := min(len(ops), to-from)
		for i := range k {
			ops[i] = healkv.Op{Kind: healkv.OpPut, Key: fmt.Append(nil, "key-", from+i), Deadline: 0}
			if err := s.Submit(&ops[i]); err != nil {
				t.Fatal(err)
			}
		}
		from += k
		for k > 0 {
			s.Wait(time.Second)
			for _, op := range back[:s.Poll(back)] {
				k--
				switch {
				case op.Err == nil:
					done++
				case errors.Is(op.Err, healkv.ErrNoRoom):
					refused++
				default:
					t.Fatalf("%s: %v", op.Key, op.Err)
				}
			}
		}
	}
	return done, refused
}

// The tmpfs of the indexes is full: new keys are refused with a clear error,
// keys that are there are written, read and deleted, nobody ends; with room
// again new keys are taken, without anybody's help.
func TestIndexWithoutSpace(t *testing.T) {
	g := newGroup(t, 3, 1, proto.Synchronous, 64<<20)
	var full atomic.Bool
	var asked atomic.Int64
	full.Store(true)
	for i := range g.cfgs {
		began := false
		g.cfgs[i].OnGrow(func(_ int, bytes int64) error {
			if !began { // there was room to make it
				began = true
				return nil
			}
			asked.Add(1)
			if full.Load() {
				return syscall.ENOSPC
			}
			return nil
		})
	}
	g.start()
	const keys = 130_000
	began := time.Now()
	done, refused := putKeys(t, g.nodes[0], 0, keys)
	often := 100 + 3*time.Since(began).Milliseconds()/50 // all three, every 50 ms
	if refused < keys/10 || done < 10_000 {
		t.Fatalf("%d keys were taken, %d refused", done, refused)
	}
	if n := asked.Load(); n > often {
		t.Errorf("the file system was asked %d times for room it does not have, want at most %d", n, often)
	}
	for i, n := range g.nodes {
		s := n.NewSession()
		if _, err := s.Put([]byte("key-1"), fmt.Append(nil, "over ", i), 0); err != nil {
			t.Errorf("node %d: overwrite: %v", i, err)
		}
		if v, _, err := s.Get([]byte("key-1"), nil); err != nil || string(v) != fmt.Sprint("over ", i) {
			t.Errorf("node %d: %q, %v", i, v, err)
		}
		if existed, err := s.Delete(fmt.Append(nil, "key-", 2+i), 0); err != nil || !existed {
			t.Errorf("node %d: delete: %v, %v", i, existed, err)
		}
		if _, err := s.Put(fmt.Append(nil, "new at ", i), nil, 0); !errors.Is(err, healkv.ErrNoRoom) {
			t.Errorf("node %d: new key: %v", i, err)
		}
		s.Close()
		if st := n.Status(); st.Counters["index_starved"] == 0 || st.Counters["failures"] != 0 {
			t.Errorf("node %d: %d times starved, %d failures", i, st.Counters["index_starved"], st.Counters["failures"])
		}
	}
	full.Store(false)
	next := keys
	for began, i := time.Now(), 0; i < len(g.nodes); { // each asks every 50 ms while something is refused
		if _, r := putKeys(t, g.nodes[i], next, next+10); r == 0 {
			i++
		}
		next += 10 // those that one has taken are new to nobody
		if time.Since(began) > 10*time.Second {
			t.Fatal("no new keys although there is room again")
		}
	}
	if d, r := putKeys(t, g.nodes[2], next, next+20_000); r != 0 {
		t.Errorf("with room again: %d taken, %d refused", d, r)
	}
	t.Logf("%d keys were taken without room to grow, %d refused", done, refused)
}
