package membership

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"healkv/dataplane/proto"
	"healkv/heal/membership/register"
)

func testState(round uint64) register.State {
	b := register.Ballot{Round: round, Node: 3, Life: 1 << 63}
	v := proto.View{Epoch: proto.Epoch(round), Configured: 0xffff, Live: 0xffff, Shards: 64, Model: proto.ReadEnforced}
	for n := range v.Issued {
		v.Issued[n], v.Incarnation[n], v.LiveUntil[n] = 1<<32-1, 1<<32-1, proto.EpochMax
	}
	return register.State{Promised: b, At: b, Value: register.Value{Seq: round, View: v}}
}

func TestAcceptorFile(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := openState(dir, "c", 3, true); !errors.Is(err, ErrNoState) {
		t.Fatalf("no file: %v", err)
	}
	if err := FormatState(dir, "c", 3, true); err != nil {
		t.Fatal(err)
	}
	if err := FormatState(dir, "c", 3, true); err == nil {
		t.Fatal("formatted over a file")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*new*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	var want register.State
	for i := range uint64(5) {
		f, st, err := openState(dir, "c", 3, true)
		if err != nil || st != want {
			t.Fatalf("open %d: %+v, %v; want %+v", i, st, err, want)
		}
		if _, _, err := openState(dir, "c", 3, true); !errors.Is(err, ErrInUse) {
			t.Fatalf("opened twice: %v", err)
		}
		want = testState(i + 1) // the largest state there can be
		if err := f.write(want); err != nil {
			t.Fatal(err)
		}
		f.close()
	}
	for _, c := range []struct {
		cluster string
		node    proto.NodeID
	}{{"other", 3}, {"c", 4}} {
		if _, _, err := openState(dir, c.cluster, c.node, true); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "node 3") {
			t.Errorf("foreign: %v", err)
		}
	}
}

// TestAcceptorFileSurvivesACutWrite cuts the last write at every length, and
// damages every byte of it: what was durable before must come back.
func TestAcceptorFileSurvivesACutWrite(t *testing.T) {
	dir := t.TempDir()
	if err := FormatState(dir, "c", 3, true); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, stateFile)
	write := func(i uint64) []byte {
		f, _, err := openState(dir, "c", 3, true)
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		if err := f.write(testState(i)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write(1)
	before := write(2) // turn 3, second slot
	after := write(3)  // turn 4, first slot
	cases := 0
	check := func(b []byte, what string, i int) {
		t.Helper()
		cases++
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, st, err := openState(dir, "c", 3, true)
		if err != nil {
			t.Fatalf("%s %d: %v", what, i, err)
		}
		f.close()
		if st != testState(2) && (st != testState(3) || !bytes.Equal(b[:slotBytes], after[:slotBytes]) && what == "cut" && i < len(bytes.TrimRight(after[:slotBytes], "\x00"))) {
			t.Fatalf("%s %d: got round %d", what, i, st.Promised.Round)
		}
	}
	end := len(bytes.TrimRight(after[:slotBytes], "\x00"))
	for i := 0; i <= end; i += 7 {
		b := bytes.Clone(before)
		copy(b[:i], after[:i])
		check(b, "cut", i)
	}
	for i := 0; i < end; i += 11 {
		b := bytes.Clone(after)
		b[i] ^= 0x10
		check(b, "damage", i)
	}
	both := bytes.Clone(after)
	both[100] ^= 1
	both[slotBytes+100] ^= 1
	if err := os.WriteFile(path, both, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openState(dir, "c", 3, true); !errors.Is(err, ErrDamaged) {
		t.Fatalf("both slots damaged: %v", err)
	}
	if err := os.WriteFile(path, both[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openState(dir, "c", 3, true); !errors.Is(err, ErrDamaged) {
		t.Fatalf("cut file: %v", err)
	}
	t.Logf("%d damaged files", cases+2)
}

func TestStateInMemoryIsRefused(t *testing.T) {
	const shm = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(shm, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		t.Skipf("feature missing: tmpfs at %s", shm)
	}
	dir, err := os.MkdirTemp(shm, "membership-test")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := FormatState(dir, "c", 1, false); !errors.Is(err, ErrVolatile) {
		t.Errorf("format: %v", err)
	}
	if err := FormatState(dir, "c", 1, true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openState(dir, "c", 1, false); !errors.Is(err, ErrVolatile) {
		t.Errorf("open: %v", err)
	}
}

func TestFailedFlushIsRemembered(t *testing.T) {
	dir := t.TempDir()
	if err := FormatState(dir, "c", 3, true); err != nil {
		t.Fatal(err)
	}
	f, _, err := openState(dir, "c", 3, true)
	if err != nil {
		t.Fatal(err)
	}
	good := f.f
	f.f, _ = os.Open(filepath.Join(dir, stateFile)) // read-only: writes fail
	if err := f.write(testState(1)); err == nil {
		t.Fatal("written to a file open for reading")
	}
	f.f.Close()
	f.f = good
	if err := f.write(testState(1)); err == nil || !strings.Contains(err.Error(), "votes no more") {
		t.Fatalf("trusted again after a failure: %v", err)
	}
	f.close()
}

func FuzzSlot(f *testing.F) {
	dir := f.TempDir()
	if err := FormatState(dir, "c", 3, true); err != nil {
		f.Fatal(err)
	}
	a, _, err := openState(dir, "c", 3, true)
	if err != nil {
		f.Fatal(err)
	}
	if err := a.write(testState(7)); err != nil {
		f.Fatal(err)
	}
	a.close()
	b, _ := os.ReadFile(filepath.Join(dir, stateFile))
	f.Add(b[:slotBytes])
	f.Add(b[slotBytes:])
	f.Fuzz(func(t *testing.T, b []byte) {
		slot := make([]byte, slotBytes)
		copy(slot, b)
		if _, j, err := decodeSlot(slot); err == nil {
			if st, err := j.state(); err == nil && st.Value.Seq != 0 && st.Value.View.Validate() != nil {
				t.Fatalf("invalid view accepted: %+v", st)
			}
		}
	})
}

func BenchmarkAcceptorWrite(b *testing.B) {
	dir := b.TempDir()
	if err := FormatState(dir, "c", 3, true); err != nil {
		b.Fatal(err)
	}
	f, _, err := openState(dir, "c", 3, true)
	if err != nil {
		b.Fatal(err)
	}
	defer f.close()
	st := testState(1)
	b.ReportAllocs()
	for b.Loop() {
		st.Promised.Round++
		if err := f.write(st); err != nil {
			b.Fatal(err)
		}
	}
}

// TestStateIsWrittenAgainAfterAFailedFlush: a process died of a failed flush,
// the page cache has what it wrote and calls it clean. What the next process
// reads must be what the one after a power loss reads, wherever that strikes.
func TestStateIsWrittenAgainAfterAFailedFlush(t *testing.T) {
	back := 0
	for seed := range uint64(200) {
		d := &disk{w: newWorld(seed)}
		if err := FormatStorage(d, "c", 1); err != nil {
			t.Fatal(err)
		}
		a, _, err := loadState(d, "disk", "c", 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.write(testState(1)); err != nil {
			t.Fatal(err)
		}
		d.fails = 1
		if a.write(testState(2)) == nil {
			t.Fatal("a failed flush went unnoticed")
		}
		if seed%2 == 0 { // the power goes while the next process starts
			d.fails = 1
			if _, _, err := loadState(d, "disk", "c", 1); err == nil {
				t.Fatal("opened without a flush")
			}
			d.lose()
		}
		a, st, err := loadState(d, "disk", "c", 1)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if st == testState(1) {
			back++
		} else if st != testState(2) {
			t.Fatalf("seed %d: %+v", seed, st)
		}
		if seed%3 == 0 { // or with the first write of that process
			d.fails = 1
			if a.write(testState(3)) == nil {
				t.Fatal("a failed flush went unnoticed")
			}
		}
		d.lose()
		if _, again, err := loadState(d, "disk", "c", 1); err != nil || again != st && !(seed%3 == 0 && again == testState(3)) {
			t.Fatalf("seed %d: a process voted by round %d, the one after a power loss has round %d (%v)", seed, st.Promised.Round, again.Promised.Round, err)
		}
	}
	if back == 0 || back == 200 {
		t.Fatalf("%d of 200 came back to the state before", back)
	}
}
