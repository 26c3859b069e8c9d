package operator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// office is a server with a journal of what reached it.
type office struct {
	*Server
	dir string
	log bytes.Buffer
	mu  sync.Mutex
	did []string
}

func (o *office) note(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.did = append(o.did, what)
}

func open(t *testing.T, change func(*Actions)) *office {
	t.Helper()
	// Deeper than a socket's address can say.
	o := &office{dir: filepath.Join(t.TempDir(), strings.Repeat("deep", 20), "state")}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a := Actions{
		Drain: func(ctx context.Context, d Drain) (Done, error) {
			at, bounded := ctx.Deadline()
			if left := time.Until(at); !bounded || left > d.Within {
				t.Errorf("drain within %v has a deadline in %v", d.Within, left)
			}
			o.note(fmt.Sprintf("drain stay %v", d.Stay))
			if d.Within == time.Minute {
				return Done{Text: "left", Failed: "nobody was told"}, nil
			}
			return Done{Text: "left"}, nil
		},
		Resume:    func() (Done, error) { return Done{}, errors.New("node 1 is not drained") },
		ColdStart: func(c ColdStart) (Done, error) { return Done{Text: fmt.Sprint(c.Epoch, c.Without, c.Dry)}, nil },
		Audit:     func(what string) { o.note("audit " + what) },
	}
	if change != nil {
		change(&a)
	}
	s, err := Serve(o.dir, a, slog.New(slog.NewTextHandler(&o.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	o.Server = s
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(s.path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left over: %v", err)
		}
	})
	return o
}

func TestOrders(t *testing.T) {
	o := open(t, nil)
	done, err := Ask(t.Context(), o.dir, "drain", Drain{Stay: true, Within: time.Second})
	if err != nil || done.Text != "left" {
		t.Errorf("drain: %+v %v", done, err)
	}
	if done, err = Ask(t.Context(), o.dir, "cold-start", ColdStart{Epoch: 7, Without: []int{1, 4}, Dry: true}); err != nil || done.Text != "7 [1 4] true" {
		t.Errorf("cold start: %+v %v", done, err)
	}
	if _, err = Ask(t.Context(), o.dir, "resume", struct{}{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "node 1 is not drained") {
		t.Errorf("resume: %v", err)
	}
	if done, err := Ask(t.Context(), o.dir, "drain", Drain{Within: time.Minute}); err != nil || done.Failed != "nobody was told" {
		t.Errorf("drain that went wrong: %+v %v", done, err)
	}
	for _, bad := range []Drain{{}, {Within: -1}, {Within: 2 * WithinMax}, {Within: 1, Stay: true, Restart: true}} {
		if _, err := Ask(t.Context(), o.dir, "drain", bad); !errors.Is(err, ErrRefused) {
			t.Errorf("drain %+v: %v", bad, err)
		}
	}
	if _, err = Ask(t.Context(), o.dir, "fly", struct{}{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "404") {
		t.Errorf("an order nobody knows: %v", err)
	}
	if _, err = Ask(t.Context(), o.dir, "resume", map[string]int{"now": 1}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "now") {
		t.Errorf("a field nobody knows: %v", err)
	}
	if _, err = Ask(t.Context(), o.dir, "resume", strings.Repeat("x", requestMax)); !errors.Is(err, ErrRefused) {
		t.Errorf("too long an order: %v", err)
	}
	// Each order that was understood is in the journal, before its effect, with
	// who gave it.
	by := fmt.Sprintf("by pid %d, uid %d", os.Getpid(), os.Geteuid())
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.did) != 10 || !strings.HasPrefix(o.did[0], "audit drain {Stay:true") || !strings.HasSuffix(o.did[0], by) || o.did[1] != "drain stay true" {
		t.Errorf("journal: %q", o.did)
	}
	t.Logf("%d entries in the journal", len(o.did))
}

// An order that was taken is carried out even if whoever gave it goes away, and
// no second one runs beside it.
func TestOneOrderAtATime(t *testing.T) {
	taken, release, over := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	o := open(t, func(a *Actions) {
		a.Drain = func(ctx context.Context, _ Drain) (Done, error) {
			close(taken)
			<-release
			over <- ctx.Err()
			return Done{}, nil
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() {
		_, err := Ask(ctx, o.dir, "drain", Drain{Within: time.Minute})
		asked <- err
	}()
	<-taken
	if _, err := Ask(t.Context(), o.dir, "resume", struct{}{}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "busy: drain is under way since ") {
		t.Errorf("beside another order: %v", err)
	}
	cancel()
	if err := <-asked; !errors.Is(err, ErrAsk) {
		t.Errorf("gone away: %v", err)
	}
	close(release)
	if err := <-over; err != nil {
		t.Errorf("the order was cut short: %v", err)
	}
}

func TestStrangersGiveNoOrders(t *testing.T) {
	for _, c := range []struct {
		uid, own uint32
		ok       bool
	}{{1000, 1000, true}, {0, 1000, true}, {1001, 1000, false}, {1000, 0, false}} {
		if trusted(c.uid, c.own) != c.ok {
			t.Errorf("user %d at a node of user %d: %v", c.uid, c.own, !c.ok)
		}
	}
	o := open(t, nil)
	for path, want := range map[string]os.FileMode{filepath.Dir(o.path): 0o700, o.path: 0o600} {
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	// A directory that others can enter is refused by both sides.
	if err := os.Chmod(filepath.Dir(o.path), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Ask(t.Context(), o.dir, "resume", struct{}{}); !errors.Is(err, ErrAsk) || !strings.Contains(err.Error(), "0755") {
		t.Errorf("asked through an open directory: %v", err)
	}
	if _, err := Serve(o.dir, Actions{}, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrServe) || !strings.Contains(err.Error(), "0755") {
		t.Errorf("served in an open directory: %v", err)
	}
	if err := os.Chmod(filepath.Dir(o.path), 0o700); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.Symlink(filepath.Dir(o.path), filepath.Join(other, folder)); err != nil {
		t.Fatal(err)
	}
	if _, err := Ask(t.Context(), other, "resume", struct{}{}); !errors.Is(err, ErrAsk) {
		t.Errorf("asked through a link: %v", err)
	}
	if _, err := Ask(t.Context(), t.TempDir(), "resume", struct{}{}); !errors.Is(err, ErrAsk) || !strings.Contains(err.Error(), "never run") {
		t.Errorf("no socket: %v", err)
	}
}

// Whatever arrives, the server answers the next order.
func TestGarbageDisturbsNobody(t *testing.T) {
	o := open(t, nil)
	dir, err := openDir(filepath.Dir(o.path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	garbage := []string{"\x00\xff\n\n", "POST /drain HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"POST /drain HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n{", "GET /drain HTTP/1.1\r\nHost: x\r\n\r\n"}
	for _, text := range garbage {
		c, err := net.Dial("unix", short(dir))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, text)
		_ = c.(*net.UnixConn).CloseWrite()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	var held []net.Conn
	for range connsMax { // silent ones take all places
		c, err := net.Dial("unix", short(dir))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	for _, c := range held {
		_ = c.Close()
	}
	for began := time.Now(); ; {
		done, err := Ask(t.Context(), o.dir, "drain", Drain{Within: time.Second})
		if err == nil && done.Text == "left" {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("no order is taken after garbage: %v", err)
		}
	}
	t.Logf("%d silent connections, %d of garbage", connsMax, len(garbage))
}

// What a killed process leaves does not keep the next one from listening.
func TestLeftoverSocket(t *testing.T) {
	o := open(t, nil)
	if err := o.http.Close(); err != nil { // as a kill: the file stays
		t.Fatal(err)
	}
	<-o.done
	if _, err := os.Lstat(o.path); err != nil {
		t.Fatal(err)
	}
	if _, err := Ask(t.Context(), o.dir, "resume", struct{}{}); !errors.Is(err, ErrAsk) || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("nobody listens: %v", err)
	}
	again, err := Serve(o.dir, Actions{Resume: func() (Done, error) { return Done{Text: "back"}, nil }}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if done, err := Ask(t.Context(), o.dir, "resume", struct{}{}); err != nil || done.Text != "back" {
		t.Errorf("%+v %v", done, err)
	}
	if err := again.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
