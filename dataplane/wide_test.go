package dataplane

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"healkv/dataplane/proto"
)

// wide is a wide session with a channel that notify fills.
func wide(t *testing.T, h *Host) (*Session, chan struct{}) {
	rung := make(chan struct{}, 1)
	s := h.NewWideSession(func() {
		select {
		case rung <- struct{}{}:
		default:
			t.Error("rung twice for one Arm")
		}
	})
	return s, rung
}

// pollAll takes n operations, waiting for the ring as a loop does.
func pollAll(t *testing.T, s *Session, rung chan struct{}, n int, fn func(*Op)) {
	t.Helper()
	var done [100]*Op
	for n > 0 {
		k := s.Poll(done[:])
		for _, op := range done[:k] {
			fn(op)
		}
		if n -= k; n == 0 || k > 0 || !s.Arm() {
			continue
		}
		select {
		case <-rung:
		case <-time.After(time.Minute):
			t.Fatalf("%d operations did not come back", n)
		}
	}
}

// What stands still at one shard fills that shard's room; the other shard and
// reads go on, and a read of a key with a write under way follows it.
func TestWideSessionRoom(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, shards: 2, model: proto.Synchronous})
	h := r.nodes[0].host
	s, rung := wide(t, h)
	defer s.Close()
	var keys [2][][]byte // by shard
	for i := 0; len(keys[0]) < sessionOpsMax+1 || len(keys[1]) < 1; i++ {
		k := fmt.Appendf(nil, "key-%d", i)
		shard := h.core.Load().shardOf(h.hash(k))
		keys[shard] = append(keys[shard], k)
	}
	calm := Op{Kind: OpPut, Key: []byte("calm"), Value: []byte("before")}
	if err := s.Submit(&calm); err != nil {
		t.Fatal(err)
	}
	pollAll(t, s, rung, 1, func(o *Op) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
	})
	thaw := r.nodes[1].freeze()
	defer thaw()
	s.SetTimeout(time.Hour)
	ops := make([]Op, sessionOpsMax+2)
	for i := range ops {
		ops[i] = Op{Kind: OpPut, Key: keys[0][min(i, sessionOpsMax)], Value: []byte("v")}
		if i > sessionOpsMax {
			ops[i].Key = keys[1][0] // the first shard is full by then
		}
		err := s.Submit(&ops[i])
		if want := i == sessionOpsMax; (err != nil) != want || want && !errors.Is(err, ErrOverload) {
			t.Fatalf("operation %d: %v", i, err)
		}
	}
	if v, done, err := s.GetNow([]byte("calm"), nil); !done || err != nil || string(v) != "before" {
		t.Errorf("a read beside a full shard: %q %v %v", v, done, err)
	}
	if _, done, err := s.GetNow([]byte("absent"), nil); !done || err != ErrNotFound {
		t.Errorf("a read of no key: %v %v", done, err)
	}
	if v, done, _ := s.GetNow(ops[0].Key, nil); done {
		t.Errorf("a read overtakes the write before it: %q", v)
	}
	if _, done, err := s.GetNow(nil, nil); !done || err != ErrKeySize {
		t.Errorf("no key: %v %v", done, err)
	}
	thaw()
	n := 0
	pollAll(t, s, rung, sessionOpsMax+1, func(o *Op) {
		if o.Err != nil {
			t.Errorf("%s: %v", o.Key, o.Err)
		}
		n++
	})
	if v, done, err := s.GetNow(ops[0].Key, []byte("+")); !done || err != nil || string(v) != "+v" {
		t.Errorf("after the write: %q %v %v", v, done, err)
	}
	if s.Outstanding() != 0 {
		t.Errorf("%d outstanding", s.Outstanding())
	}
	t.Logf("%d operations", n)
}

// A worker that stands still makes operations end by their deadlines, and Arm
// hears of it; what is finished already needs no notice.
func TestWideSessionArm(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, model: proto.Synchronous})
	s, rung := wide(t, r.nodes[0].host)
	defer s.Close()
	thaw := r.nodes[1].freeze()
	defer thaw()
	s.SetTimeout(30 * time.Millisecond)
	ops := make([]Op, 100)
	for i := range ops {
		ops[i] = Op{Kind: OpPut, Key: fmt.Append(nil, "k", i), Value: []byte("v")}
		if err := s.Submit(&ops[i]); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Arm() {
		t.Fatal("nothing can be finished yet")
	}
	select {
	case <-rung:
	case <-time.After(time.Minute):
		t.Fatal("not rung")
	}
	if s.Arm() {
		t.Fatal("armed although something is finished")
	}
	n := 0
	pollAll(t, s, rung, len(ops), func(o *Op) {
		if !errors.Is(o.Err, ErrUnknown) && !errors.Is(o.Err, ErrDeadline) {
			t.Errorf("%s: %v", o.Key, o.Err)
		}
		n++
	})
	if !s.Arm() {
		t.Error("nothing is left, and Arm says there is")
	}
	s.Disarm()
	t.Logf("%d operations ended by their deadline", n)
}
