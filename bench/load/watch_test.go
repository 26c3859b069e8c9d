package load

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"healkv/bench/check"
	"healkv/bench/record"
	"healkv/dataplane"
)

// watched runs watchers of several nodes on one store, in real time but without
// pauses that matter, and returns the joint history.
func watched(t *testing.T, store *fakeStore, clients int, nanos int64, tweak func(client int, s *fakeSession)) []check.Op {
	t.Helper()
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			clock := &simClock{t: 1_000 * second}
			s := &fakeSession{c: clock, store: store, delay: 40_000}
			if tweak != nil {
				tweak(i, s)
			}
			h, err := record.CreateHistory(filepath.Join(dir, fmt.Sprint(i)), record.HistoryHeader{Node: i, Client: uint32(i + 1)})
			if err != nil {
				t.Error(err)
				return
			}
			defer h.Close()
			w, err := NewWatcher(WatchConfig{Client: uint32(i + 1), Keys: 4, History: h, clock: &watchEnd{clock, clock.t + nanos, cancel}})
			if err != nil {
				t.Error(err)
				return
			}
			if err := w.Run(ctx, s); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var all []check.Op
	for i := range clients {
		f, err := record.ReadHistory(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f.Ops...)
	}
	return all
}

type watchEnd struct {
	*simClock
	end    int64
	cancel context.CancelFunc
}

func (c *watchEnd) now() int64 {
	if c.t >= c.end {
		c.cancel()
	}
	return c.simClock.now()
}

// TestWatchedHistoryIsJudged: one client on a right store is linearizable, with
// all outcomes occurring; a store that loses one acknowledged write is not.
func TestWatchedHistoryIsJudged(t *testing.T) {
	outcomes := func(_ int, s *fakeSession) {
		n := 0
		s.reject = func(*dataplane.Op, int64) error {
			if n++; n%11 == 0 {
				return dataplane.ErrTryAgain
			}
			return nil
		}
		s.after = func(*dataplane.Op) error {
			if n%5 == 0 {
				return dataplane.ErrUnknown
			}
			return nil
		}
	}
	h := watched(t, newStore(), 1, 4*second, outcomes)
	r := check.Registers(h)
	if !r.OK() || r.Ops < 1_900 || r.Rejected < 100 || r.Unknown < 50 || r.Keys != 4 {
		t.Errorf("%+v", r)
	}
	t.Logf("%d operations: %d reads and %d writes compared, %d unknown, %d rejected", r.Ops, r.Reads, r.Writes, r.Unknown, r.Rejected)

	lossy := newStore()
	h = watched(t, lossy, 1, 4*second, func(_ int, s *fakeSession) {
		n := 0
		s.after = func(op *dataplane.Op) error {
			if n++; n == 300 { // acknowledged, and gone
				delete(lossy.values, string(op.Key))
			}
			return nil
		}
	})
	if r := check.Registers(h); r.OK() {
		t.Error("a lost write was not noticed")
	} else {
		t.Log(r.Violations[0])
	}
}

func TestWatcherNoticesAForeignValue(t *testing.T) {
	st := newStore()
	for k := range uint32(4) {
		st.values[string(AppendWatchKey(nil, k))] = []byte("not a watched value")
	}
	h, err := record.CreateHistory(filepath.Join(t.TempDir(), "h"), record.HistoryHeader{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	c := &simClock{t: second}
	w, err := NewWatcher(WatchConfig{Client: 1, Keys: 4, Share: 1e-9, History: h, clock: c})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context(), &fakeSession{c: c, store: st}); !errors.Is(err, ErrWrongValue) {
		t.Errorf("%v", err)
	}
}
