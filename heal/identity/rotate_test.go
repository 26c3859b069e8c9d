package identity

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"healkv/dataplane/proto"
)

// After each step of a change of authority every node can talk to every other
// one, whether that has taken the step already or not.
func TestAuthorityChangesInSteps(t *testing.T) {
	dir := t.TempDir()
	o := MakeOptions{Dir: dir, Cluster: cluster, Nodes: 3, Valid: time.Hour, Now: time.Now()}
	if _, made, err := Make(o); err != nil || !made {
		t.Fatal(made, err)
	}
	load := func(what string) (out []*Credentials) {
		t.Helper()
		for i := range 3 {
			c, err := MadeFiles(o.nodeDir(i)).Load(Name{cluster, proto.NodeID(i)})
			if err != nil {
				t.Fatalf("%s: node %d: %v", what, i, err)
			}
			out = append(out, c)
		}
		return out
	}
	talk := func(what string, before, after []*Credentials) {
		t.Helper()
		for i, x := range before {
			for j, y := range after {
				if i == j {
					continue
				}
				if err := errors.Join(x.Still(y.chain, time.Now()), y.Still(x.chain, time.Now())); err != nil {
					t.Errorf("%s: node %d before it, node %d after it: %v", what, i, j, err)
				}
			}
		}
	}
	old := load("before")
	if err := DropOldAuthority(o); !errors.Is(err, ErrRotation) {
		t.Errorf("nothing to drop: %v", err)
	}
	if err := RotateAuthority(o); err != nil {
		t.Fatal(err)
	}
	both := load("both authorities")
	talk("both authorities", old, both)
	if !both[0].Own.Leaf.Equal(old[0].Own.Leaf) || both[0].Roots.Equal(old[0].Roots) {
		t.Error("the first step changes what is trusted, and not the certificates")
	}
	if err := RotateAuthority(o); !errors.Is(err, ErrRotation) {
		t.Errorf("a second change before the end of the first: %v", err)
	}
	if err := DropOldAuthority(o); !errors.Is(err, ErrRotation) || !strings.Contains(err.Error(), "issue new certificates first") {
		t.Errorf("dropped with certificates by the old one in use: %v", err)
	}
	load("after what was refused")
	if id, made, err := Make(o); err != nil || made || id != cluster {
		t.Fatal(id, made, err)
	}
	renewed := load("new certificates")
	talk("new certificates", both, renewed)
	if err := DropOldAuthority(o); err != nil {
		t.Fatal(err)
	}
	end := load("the old authority dropped")
	talk("the old authority dropped", renewed, end)
	if err := end[0].Still(old[1].chain, time.Now()); !errors.Is(err, ErrUntrusted) {
		t.Errorf("a certificate by the old authority: %v", err)
	}
	if err := end[0].Still(end[1].chain, time.Now().Add(2*time.Hour)); !errors.Is(err, ErrExpired) {
		t.Errorf("a certificate whose time is over: %v", err)
	}
	for _, n := range []int{0, 2, 4, 17} {
		if err := RotateAuthority(MakeOptions{Dir: dir, Nodes: n, Now: time.Now()}); !errors.Is(err, ErrRotation) {
			t.Errorf("%d nodes of 3: %v", n, err)
		}
	}
	if err := RotateAuthority(MakeOptions{Dir: t.TempDir(), Nodes: 1, Now: time.Now()}); !errors.Is(err, ErrRotation) {
		t.Errorf("no authority there: %v", err)
	}
	if _, _, err := Make(MakeOptions{Dir: dir, Nodes: 3, Valid: time.Hour, Now: time.Now()}); err != nil {
		t.Errorf("certificates after the change: %v", err)
	}
}

// Files that will not do cost nothing while what they held before is valid, and
// are complained of once.
func TestKeeperKeepsWhatWasGood(t *testing.T) {
	dir := t.TempDir()
	f := issued(t, dir, time.Now(), time.Hour)
	var log bytes.Buffer
	k := f.Keep(Name{cluster, 1}, slog.New(slog.NewTextHandler(&log, nil)))
	if changed, err := k.Look(); changed || err != nil {
		t.Fatal(changed, err)
	}
	if changed, err := k.Look(); changed || err != nil {
		t.Fatal("nothing has changed", changed, err)
	}
	first, err := k.Present()
	if err != nil {
		t.Fatal(err)
	}
	if s := k.Status(); !s.NotAfter.Equal(first.Own.Leaf.NotAfter) || !s.Rotated.IsZero() || s.Error != "" || s.DaysLeft(s.NotAfter.Add(-36*time.Hour)) != 1.5 {
		t.Errorf("%+v", s)
	}
	good, err := os.ReadFile(f.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Cert, []byte("half of a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if c, err := k.Present(); err != nil || c != first {
			t.Fatalf("not kept: %v", err)
		}
	}
	if n := strings.Count(log.String(), "is kept"); n != 1 || k.Status().Error == "" {
		t.Errorf("said %d times: %s", n, log.String())
	}
	if err := os.WriteFile(f.Cert, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := k.Look(); changed || err != nil || k.Status().Error != "" {
		t.Errorf("good again: %v, %v, %+v", changed, err, k.Status())
	}
	issued(t, dir, time.Now(), 2*time.Hour)
	if changed, err := k.Look(); !changed || err != nil {
		t.Errorf("new ones: %v, %v", changed, err)
	}
	if c, err := k.Present(); err != nil || c == first || k.Status().Rotated.IsZero() {
		t.Errorf("new ones are not in use: %v", err)
	}
	// What was never good, or is good no more, does not help.
	if err := os.Remove(f.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Keep(Name{cluster, 1}, nil).Present(); !errors.Is(err, ErrFiles) {
		t.Errorf("no key from the start: %v", err)
	}
	k.mu.Lock()
	k.kept.chain[0].NotAfter = time.Now().Add(-time.Minute)
	k.mu.Unlock()
	if _, err := k.Present(); !errors.Is(err, ErrFiles) {
		t.Errorf("kept beyond its time: %v", err)
	}
}

// Who reads the files stores what they hold before anybody else reads them: an
// earlier reader does not bring back what they held before.
func TestReadersOfTheFilesDoNotOvertake(t *testing.T) {
	dir := t.TempDir()
	k := issued(t, dir, time.Now(), time.Hour).Keep(Name{cluster, 1}, nil)
	first, err := k.Present()
	if err != nil {
		t.Fatal(err)
	}
	k.looking.Lock() // somebody else is at it
	done := make(chan *Credentials)
	go func() {
		c, _ := k.Present()
		done <- c
	}()
	f := issued(t, dir, time.Now(), 2*time.Hour)
	k.looking.Unlock()
	now, err := f.Load(Name{cluster, 1})
	if err != nil {
		t.Fatal(err)
	}
	if c := <-done; c == first || !c.equal(now) {
		t.Error("what the files held before is in use")
	}
}
