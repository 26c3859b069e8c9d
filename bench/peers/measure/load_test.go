package measure

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"healkv/bench/peers/servers"
)

// memory is a group that is one map, with faults.
type memory struct {
	mu      sync.Mutex
	values  map[string][]byte
	lose    string // a write to it is acknowledged and forgotten
	fail    bool   // writes are applied and answered with an error
	refuse  bool   // writes are refused
	away    int    // node that is dead, -1 for none
	catchUp int    // reads at a restarted node that are answered stale
	nodes   []int  // where clients connected
}

var errRefused = errors.New("refused")

func newMemory() *memory { return &memory{values: map[string][]byte{}, away: -1} }

func (m *memory) About() servers.About                      { return servers.About{Name: "memory"} }
func (m *memory) Start(context.Context) error               { return nil }
func (m *memory) Follower(context.Context) (int, error)     { return 1, nil }
func (m *memory) Restart(_ context.Context, node int) error { return m.set(-1) }
func (m *memory) Kill(node int) error                       { return m.set(node) }
func (m *memory) Stop() error                               { return nil }

func (m *memory) set(away int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = away
	return nil
}

type memoryClient struct {
	m    *memory
	node int
	own  bool // opened by At
}

func (m *memory) Connect(_ context.Context, node int) (servers.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes = append(m.nodes, node)
	if node == m.away {
		return nil, errRefused
	}
	return &memoryClient{m: m, node: node}, nil
}

func (m *memory) At(ctx context.Context, node int) (servers.Client, error) {
	c, err := m.Connect(ctx, node)
	if err == nil {
		c.(*memoryClient).own = true
	}
	return c, err
}

func (c *memoryClient) Write(_ context.Context, key string, value []byte) error {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	switch {
	case c.m.refuse || c.node == c.m.away:
		return errRefused
	case key != c.m.lose:
		c.m.values[key] = slices.Clone(value)
	}
	if c.m.fail {
		return errors.New("timed out")
	}
	return nil
}

func (c *memoryClient) Read(_ context.Context, key string) ([]byte, error) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.own && c.m.catchUp > 0 {
		c.m.catchUp--
		return []byte("stale"), nil
	}
	v, ok := c.m.values[key]
	if !ok {
		return nil, servers.ErrAbsent
	}
	return v, nil
}

func (c *memoryClient) Close() error { return nil }

var small = Load{Clients: 7, Keys: 100, ValueBytes: 150, Warm: 5 * time.Millisecond, Time: 500 * time.Millisecond}

func open(t *testing.T, m *memory, l Load) *Session { t.Helper(); return openAt(t, m, l) }

func openAt(t *testing.T, sys servers.System, l Load) *Session {
	t.Helper()
	s, err := Open(context.Background(), sys, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestSharesPartTheKeys(t *testing.T) {
	for _, clients := range []int{1, 3, 64, 100} {
		count := map[int]int{}
		for id := range clients {
			for _, k := range share(id, clients, 100) {
				count[k]++
			}
		}
		for k := range 100 {
			if count[k] != 1 {
				t.Errorf("%d clients: key %d belongs to %d of them", clients, k, count[k])
			}
		}
	}
}

func TestLoad(t *testing.T) {
	m := newMemory()
	s := open(t, m, small)
	if err := s.Fill(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(m.values) != small.Keys {
		t.Fatalf("%d keys after the fill, want %d", len(m.values), small.Keys)
	}
	for _, reads := range []bool{false, true} {
		f, err := s.Run(context.Background(), reads)
		if err != nil {
			t.Fatal(err)
		}
		if f.Operations == 0 || f.Checked == 0 || f.Wrong != 0 || f.Errors != 0 || f.P50 < 1 || f.P99 < f.P50 || f.Max < f.P999 {
			t.Errorf("reads %v: %+v", reads, f)
		}
		if want := float64(f.Operations) / small.Time.Seconds(); f.Rate != want {
			t.Errorf("rate %v, want %v", f.Rate, want)
		}
		t.Logf("reads %v: %d operations, %d keys read back", reads, f.Operations, f.Checked)
	}
	slices.Sort(m.nodes)
	if got := slices.Compact(m.nodes); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("clients at nodes %v, want all three", got)
	}
}

func TestLostWriteIsSeen(t *testing.T) {
	m := newMemory()
	m.lose = Key(3)
	s := open(t, m, small)
	if err := s.Fill(context.Background()); err != nil {
		t.Fatal(err)
	}
	f, err := s.Run(context.Background(), false)
	if !errors.Is(err, ErrWrong) || f.Wrong != 1 {
		t.Errorf("%d of %d wrong, %v; want one, %v", f.Wrong, f.Checked, err, ErrWrong)
	}
	m = newMemory()
	s = open(t, m, small)
	if err := s.Fill(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.values[Key(5)] = m.values[Key(6)]
	if _, err := s.Run(context.Background(), true); !errors.Is(err, ErrWrong) {
		t.Errorf("a wrong read during the load: %v, want %v", err, ErrWrong)
	}
}

// A write that failed may be there or not: neither is wrong.
func TestFailedWritesAreInDoubt(t *testing.T) {
	m := newMemory()
	s := open(t, m, small)
	if err := s.Fill(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []*bool{&m.fail, &m.refuse} {
		*fault = true
		f, err := s.Run(context.Background(), false)
		if err != nil || f.Errors == 0 || f.Operations != 0 || f.FirstError == "" || f.Checked == 0 {
			t.Errorf("%+v, %v", f, err)
		}
		*fault = false
		if f, err = s.Run(context.Background(), false); err != nil || f.Operations == 0 {
			t.Errorf("afterwards: %+v, %v", f, err)
		}
	}
}

func TestLoadOptions(t *testing.T) {
	for _, l := range []Load{{Clients: 0, Keys: 1, ValueBytes: 150}, {Clients: 2, Keys: 1, ValueBytes: 150}, {Clients: 1, Keys: 1, ValueBytes: 8}} {
		if _, err := Open(context.Background(), newMemory(), l); err == nil {
			t.Errorf("%+v was taken", l)
		}
	}
}

func TestInterruptedLoad(t *testing.T) {
	s := open(t, newMemory(), small)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Run(ctx, false); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

func TestAbsence(t *testing.T) {
	m := newMemory()
	m.catchUp = 3
	a := Absence{Load: small, Missed: 500, Longest: 10 * time.Second}
	if err := open(t, m, small).Fill(context.Background()); err != nil {
		t.Fatal(err)
	}
	r, err := a.Run(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	if r.Node != 1 || r.Missed < 500 || r.Seconds <= 0 || r.Before <= 0 || r.Without <= 0 || r.Pause <= 0 || r.Checked == 0 || r.Wrong != 0 || r.Errors != 0 {
		t.Errorf("%+v", r)
	}
	if m.catchUp != 0 {
		t.Error("it was taken for back while it was stale")
	}
	t.Logf("%+v", r)

	m = newMemory()
	m.catchUp = 1 << 30
	a.Longest = 50 * time.Millisecond
	if _, err := a.Run(context.Background(), m); err == nil {
		t.Error("a node that never came back was not noticed")
	}
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	p, err := Disk(context.Background(), dir, 20*time.Millisecond)
	if err != nil || p.Rate <= 0 || p.P99 < p.P50 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := Disk(context.Background(), dir+"/missing", time.Millisecond); err == nil {
		t.Error("no directory, no error")
	}
}

func TestParseInNode(t *testing.T) {
	const text = `write-only: nothing but writes
3 nodes, shm, domain file, pages 2MiB, model synchronous, 20000 records, values of 158 bytes, closed loop, 86 in flight per node, 2 cores
 run        ops/s      reads/s     writes/s   read p50/p99/p99.9 µs           write p50/p99/p99.9 µs
   1        12345         2345        10000   1/2/3                           4/5/6
median 12345 ops/s, spread 12345 to 12345 over 1 runs
`
	f, err := parseInNode(text, false, 2*time.Second)
	if err != nil || f.Rate != 10000 || f.P50 != 4 || f.P99 != 5 || f.P999 != 6 || f.Operations != 20000 {
		t.Errorf("writes: %+v, %v", f, err)
	}
	if f, err = parseInNode(text, true, time.Second); err != nil || f.Rate != 2345 || f.P99 != 2 {
		t.Errorf("reads: %+v, %v", f, err)
	}
	for _, bad := range []string{"", "   1   1   1   1   1/2/3   1/2/3\n", "run ops/s\n1 2 3\n", "run ops/s\n1 5 x y 1/2/3 1/2/3\n",
		"run ops/s\n1 5 0 0 0/0/0 0/0/0\n", "run ops/s\n1 5 5 5 1/2 1/2\n"} {
		if f, err := parseInNode(bad, false, time.Second); !errors.Is(err, errInNode) {
			t.Errorf("%q: %+v, %v", bad, f, err)
		}
	}
}

// Workers that one loop serves share a histogram, which counts once.
func TestSharedHistogram(t *testing.T) {
	shared, own := hdrhistogram.New(histLow, histHigh, histDigits), hdrhistogram.New(histLow, histHigh, histDigits)
	if err := errors.Join(shared.RecordValue(1000), own.RecordValue(10)); err != nil {
		t.Fatal(err)
	}
	s := Session{workers: []*worker{{hist: shared, done: 1}, {hist: shared}, {hist: own, done: 1}}}
	if f := s.figures(time.Second); f.P50 != 10 || f.Max != 1000 || f.Operations != 2 {
		t.Errorf("of 10 and 1000 µs: %+v", f)
	}
}
