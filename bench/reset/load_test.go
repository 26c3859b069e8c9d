package reset

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var errRefused = errors.New("connection refused")

// A load that somebody or something disturbs says so, whatever the other
// writers do: none of these lives may count as one with a reset under load.
func TestDisturbedLoadIsNoticed(t *testing.T) {
	const enough = 50 // writes before anything happens
	for name, c := range map[string]struct {
		set  func(n int64, writer int) error
		say  func(n int64) error
		end  func(ended chan string)
		says string
	}{
		"a write fails": {set: func(n int64, w int) error {
			if n > enough && w == 3 {
				return errRefused
			}
			return nil
		}, says: "writer 3, write"},
		"the first write of one writer fails": {set: func(_ int64, w int) error {
			if w == 7 {
				return errRefused
			}
			return nil
		}, says: "writer 7, write 65: connection refused"},
		"a node ends":         {end: func(ended chan string) { ended <- "node 1 (pid 7) ended: signal: killed" }, says: "node 1 (pid 7) ended"},
		"the supervisor ends": {end: func(ended chan string) { close(ended) }, says: "all nodes ended"},
		"nothing can be said": {say: func(n int64) error {
			if n > enough {
				return errRefused
			}
			return nil
		}, says: "refused"},
	} {
		ended := make(chan string, 1)
		var sets, said, under atomic.Int64
		var once atomic.Bool
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		l := Load{Journal: &Journal{}, Ended: ended, Ready: func() {},
			Set: func(_ context.Context, w int, _ string, _ []byte) error {
				under.Add(1)
				defer under.Add(-1)
				n := sets.Add(1)
				if c.end != nil && n > enough && once.CompareAndSwap(false, true) {
					c.end(ended)
				}
				if c.set != nil {
					return c.set(n, w)
				}
				return nil
			},
			Say: func(string) error {
				n := said.Add(1)
				if c.say != nil {
					return c.say(n)
				}
				return nil
			}}
		err := l.Run(ctx)
		if !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v after %d writes", name, err, sets.Load())
		}
		if n := under.Load(); n != 0 {
			t.Errorf("%s: %d writes are under way after the end", name, n)
		}
		cancel()
	}
}

// What an undisturbed load says is a journal with all it wrote, and it is ready
// when every writer has begun.
func TestLoadSaysWhatWasAcknowledged(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var text strings.Builder
	acked, ready := 0, 0
	l := Load{Journal: &Journal{}, Set: func(ctx context.Context, w int, key string, value []byte) error {
		if n, own := number(value, w); !own || key != Key(w, n) {
			t.Errorf("writer %d: %q holds write %d", w, key, n)
		}
		return nil
	}, Say: func(line string) error {
		if text.WriteString(line); line != Begin() {
			if acked++; acked == 5000 {
				cancel()
			}
		}
		return nil
	}, Ready: func() { ready++ }}
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	j, err := ParseJournal([]byte(text.String()))
	if err != nil || j.Acked != uint64(acked) || acked < 5000 {
		t.Errorf("%v: %+v, %d said", err, j, acked)
	}
	for w, n := range j.last {
		if n == 0 && ready != 0 {
			t.Errorf("ready, and writer %d has written nothing", w)
		}
	}
	if ready > 1 {
		t.Errorf("ready %d times", ready)
	}
	t.Logf("%d writes said", acked)
}
