//go:build verbs

package verbs

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"healkv/rdma"
	"healkv/rdma/conformance"
)

// Recovery reads the memory itself, window by window, or through the staging
// area where it cannot be registered; and both say which.
func TestReadDirectAndStaged(t *testing.T) {
	c := newCluster(t)
	a, b := c.end(0, 1), c.end(1, 1)
	mem := c.memory(windowBytes + 2*pieceBytes)
	t.Cleanup(func() { a.Close(); b.Close(); unmapMemory(mem) })
	for i := 0; i < len(mem); i += 509 {
		mem[i] = byte(i>>9) | 1
	}
	if err := b.Expose(rdma.Exposed{Mem: mem, Size: int64(len(mem))}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 3*pieceBytes/2)
	for _, staged := range []bool{false, true} {
		noRegister.Store(staged)
		before := b.ReadStats()
		x, err := a.Remote(1, 1)
		noRegister.Store(false)
		if err != nil {
			t.Fatal(err)
		}
		r := x.(*remote)
		for _, off := range []int64{0, 4097, windowBytes - pieceBytes, int64(len(mem) - len(buf)), 12345} {
			if n, err := r.ReadAt(buf, off); err != nil || n != len(buf) || !bytes.Equal(buf, mem[off:off+int64(n)]) {
				t.Fatalf("staged %v, at %d: %d, %v", staged, off, n, err)
			}
		}
		after := b.ReadStats()
		if staged != (r.Staged() != "") || staged != (after.Copies > before.Copies) || staged == (after.Windows > before.Windows) {
			t.Errorf("staged %v: %q, %+v, before %+v", staged, r.Staged(), after, before)
		}
		if (after.Copied > before.Copied) != staged || (after.Copying > before.Copying) != staged {
			t.Errorf("staged %v: %+v, before %+v", staged, after, before)
		}
		// Whatever the processor of the one who is read does is timed. It opens and
		// registers; but the reads themselves, of what is registered, cost it nothing:
		// nobody asks it anything.
		if after.Requests == before.Requests || after.Spent <= before.Spent {
			t.Errorf("staged %v: nothing was measured of the requests: %+v, before %+v", staged, after, before)
		}
		const again = 8
		for range again {
			if n, err := r.ReadAt(buf, 12345); err != nil || n != len(buf) {
				t.Fatal(n, err)
			}
		}
		later := b.ReadStats()
		requests, spent := later.Requests-after.Requests, later.Spent-after.Spent
		if (requests >= again) != staged || (spent > 0) != staged || !staged && requests > 0 {
			t.Errorf("staged %v: %d reads of %d bytes were %d requests to the other end and cost it %d ns of processor time", staged, again, len(buf), requests, spent)
		}
		t.Logf("staged %v: %d reads of %d bytes: %d requests, %d ns of the processor of the one who is read; before, to open and register: %d ns",
			staged, again, len(buf), requests, spent, after.Spent-before.Spent)
		if direct, through := a.ReadStats().Direct, a.ReadStats().Staged; direct == 0 || (through > 0) != staged {
			t.Errorf("staged %v: read %d bytes directly, %d through the staging area", staged, direct, through)
		}
		if after.Readers != 1 {
			t.Errorf("%d readers", after.Readers)
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
		if n := b.ReadStats().Readers; n != 0 {
			t.Errorf("%d readers after Close: still registered", n)
		}
		t.Logf("staged %v (%q): %d bytes, %d windows, %d copies", staged, r.Staged(), x.BytesRead(), after.Windows-before.Windows, after.Copies-before.Copies)
	}
}

// What is wrong with the configuration is said, with what to do.
func TestOpenSaysWhatIsMissing(t *testing.T) {
	v := needDevice(t)
	c := rdma.Config{Node: 0, Nodes: 3, Incarnation: 1, RingBytes: conformance.RingBytes, Exchange: conformance.NewHub().Exchange(0, 0), Verbs: v}
	for _, x := range []struct {
		change func(*rdma.Config)
		is     error
		says   []string
	}{
		{func(c *rdma.Config) { c.Verbs.Device = "mlx9_9" }, ErrDevice, []string{"mlx9_9", "there are:", "ACTIVE"}},
		{func(c *rdma.Config) { c.Verbs.Device, c.Verbs.Netdev = "", "lo" }, ErrDevice, []string{`"lo"`, "there are:"}},
		{func(c *rdma.Config) { c.Verbs.Port = 7 }, ErrDevice, []string{"no port 7"}},
		{func(c *rdma.Config) { c.Verbs.GIDIndex = 200 }, ErrDevice, []string{"no GID at index 200", "RoCE v2"}},
		{func(c *rdma.Config) { c.Verbs.MTU = 1500 }, ErrDevice, []string{"1500", "4096"}},
		{func(c *rdma.Config) { c.Verbs.TrafficClass = 256 }, ErrDevice, []string{"256"}},
		{func(c *rdma.Config) { c.Exchange = nil }, ErrConfig, []string{"control plane"}},
		{func(c *rdma.Config) { c.RingBytes = 5000 }, ErrConfig, []string{"5000"}},
		{func(c *rdma.Config) { c.Incarnation = 0 }, ErrConfig, []string{"incarnation"}},
	} {
		bad := c
		x.change(&bad)
		_, err := New(bad)
		if !errors.Is(err, x.is) {
			t.Errorf("%+v: %v", bad.Verbs, err)
			continue
		}
		for _, s := range x.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%v; want %q in it", err, s)
			}
		}
	}
}

// Ends with different path MTUs are told so, with both values.
func TestMTUMismatchIsSaid(t *testing.T) {
	c := newCluster(t)
	a := c.end(0, 1)
	c.verbs.MTU = 1024
	b := c.end(1, 1)
	var log bytes.Buffer
	b.log = slog.New(slog.NewTextHandler(&log, nil))
	for range 3 {
		if _, err := a.Prepare(1, 1); !errors.Is(err, ErrMTU) {
			t.Error(err)
		}
	}
	if n := strings.Count(log.String(), "cannot connect with a peer"); n != 1 || !strings.Contains(log.String(), "1024 bytes here, 4096 at node 0") {
		t.Errorf("%d lines in the log of who is asked: %s", n, log.String())
	}
	_, err := a.Prepare(1, 1)
	if !errors.Is(err, ErrMTU) || !strings.Contains(err.Error(), "4096") || !strings.Contains(err.Error(), "1024") {
		t.Error(err)
	}
	mem := c.memory(4096)
	defer unmapMemory(mem)
	if err := c.ends[1].Expose(rdma.Exposed{Mem: mem, Size: 4096}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Remote(1, 1); !errors.Is(err, ErrMTU) {
		t.Error(err)
	}
}
