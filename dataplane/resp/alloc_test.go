package resp

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"healkv/dataplane"
)

// quickBackend completes everything inside Submit and allocates nothing: what
// is measured with it is the front end. Keys are "k" and eight digits.
type quickBackend struct{ slots [1024][]byte }

type quickSession struct {
	b    *quickBackend
	done []*dataplane.Op
}

func newQuick() *quickBackend {
	b := &quickBackend{}
	for i := range b.slots {
		b.slots[i] = make([]byte, 8, 256)
	}
	return b
}

func (b *quickBackend) NewSession(func()) Session {
	return &quickSession{b: b, done: make([]*dataplane.Op, 0, 1024)}
}
func (b *quickBackend) LiveKeys() uint64    { return uint64(len(b.slots)) }
func (b *quickBackend) Info() []InfoSection { return nil }
func (b *quickBackend) Ready() bool         { return true }

func (s *quickSession) Submit(op *dataplane.Op) error {
	if len(s.done) == cap(s.done) {
		return dataplane.ErrOverload
	}
	slot := s.b.slot(op.Key)
	switch op.Kind {
	case dataplane.OpGet:
		op.Value = append(op.Value[:0], *slot...)
	case dataplane.OpPut:
		*slot = append((*slot)[:0], op.Value...)
	}
	op.Err = nil
	s.done = append(s.done, op)
	return nil
}

func (b *quickBackend) slot(key []byte) *[]byte {
	i := 0
	for _, d := range key[1:] {
		i = i*10 + int(d-'0')
	}
	return &b.slots[i%len(b.slots)]
}

func (s *quickSession) GetNow(key, dst []byte) ([]byte, bool, error) {
	return append(dst, *s.b.slot(key)...), true, nil
}

func (s *quickSession) Poll(done []*dataplane.Op) int {
	n := copy(done, s.done)
	s.done = s.done[:copy(s.done, s.done[n:])]
	return n
}
func (s *quickSession) Kick()                    {}
func (s *quickSession) Arm() bool                { return len(s.done) == 0 }
func (s *quickSession) Disarm()                  {}
func (s *quickSession) SetTimeout(time.Duration) {}
func (s *quickSession) Close()                   {}

func startQuick(tb testing.TB) (*Server, net.Conn) {
	tb.Helper()
	s, err := Listen(settings(tb), newQuick())
	if err != nil {
		tb.Fatal(err)
	}
	go s.Serve()
	nc := connect(tb, s)
	tb.Cleanup(func() { nc.Close(); s.Close() })
	return s, nc
}

// pipeline is a burst of SET and GET whose keys and values change each time
// without changing its length.
type pipeline struct {
	raw     []byte
	keys    []int // where the digits of each key stand
	values  []int
	replies int // bytes
	in      []byte
	n       uint64
}

func newPipeline(pairs int, mget bool) *pipeline {
	p := &pipeline{}
	value := strings.Repeat("v", 100)
	for range pairs {
		at := len(p.raw)
		set := cmd("SET", "k00000000", value)
		p.raw = append(p.raw, set...)
		p.keys = append(p.keys, at+strings.Index(set, "k0")+1)
		p.values = append(p.values, at+strings.Index(set, "vvv"))
		at = len(p.raw)
		get := cmd("GET", "k00000000")
		p.raw = append(p.raw, get...)
		p.keys = append(p.keys, at+strings.Index(get, "k0")+1)
		p.replies += len("+OK\r\n") + len("$100\r\n") + 100 + 2
	}
	if mget {
		p.raw = append(p.raw, cmd("MGET", "k00000000", "k00000000")+cmd("PING")+cmd("STRLEN", "k00000000")+
			cmd("MSET", "k00001000", value, "k00001001", value)+cmd("EXISTS", "k00000000")+cmd("DEL", "k00000999")...)
		p.replies += len("*2\r\n") + 2*(len("$100\r\n")+102) + len("+PONG\r\n:100\r\n+OK\r\n:1\r\n:0\r\n")
	}
	p.in = make([]byte, p.replies)
	return p
}

func (p *pipeline) run(tb testing.TB, nc net.Conn) {
	for i, at := range p.keys {
		k := (p.n + uint64(i/2)) % 900
		for d := at + 7; d >= at; d-- {
			p.raw[d] = byte('0' + k%10)
			k /= 10
		}
	}
	for i, at := range p.values {
		binary.BigEndian.PutUint64(p.raw[at:], (p.n+uint64(i))*0x9e3779b97f4a7c15)
	}
	p.n += uint64(len(p.values))
	if _, err := nc.Write(p.raw); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.ReadFull(nc, p.in); err != nil {
		tb.Fatal(err)
	}
}

// The whole way of a command allocates nothing, with keys and values that
// change; measured over the process, client included.
func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are counted without the race detector: it adds its own")
	}
	_, nc := startQuick(t)
	for _, pairs := range []int{1, 16, 400} {
		p := newPipeline(pairs, true)
		for range 50 { // buffers find their size
			p.run(t, nc)
		}
		const runs = 200
		if n := testing.AllocsPerRun(runs, func() { p.run(t, nc) }); n != 0 {
			t.Errorf("%d commands a burst: %v allocations per burst", 2*pairs+6, n)
		}
		t.Logf("%d bursts of %d commands", runs, 2*pairs+6)
		// The last value of the last key is the one that was written last.
		k := (p.n - 1) % 900
		if _, err := fmt.Fprintf(nc, "GET k%08d\r\n", k); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len("$100\r\n")+102)
		if _, err := io.ReadFull(nc, got); err != nil {
			t.Fatal(err)
		}
		if v := binary.BigEndian.Uint64(got[6:]); v != (p.n-1)*0x9e3779b97f4a7c15 {
			t.Errorf("GET returned %x", v)
		}
	}
}

func heapAndStack() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// Connections that were busy and are idle now keep next to nothing, large
// values or not.
func TestIdleConnectionsAreSmall(t *testing.T) {
	s := start(t, newFake(30), func(c *Config) { c.Loops = 1 })
	const n = 200
	big := strings.Repeat("v", 500_000)
	first := dial(t, s)
	expect(t, first.do("SET", "k", big), "+OK")
	before := heapAndStack()
	ncs := make([]net.Conn, n)
	buf := make([]byte, 64<<10)
	for i := range ncs {
		nc := connect(t, s)
		defer nc.Close()
		ncs[i] = nc
		io.WriteString(nc, cmd("SET", "k", big)+cmd("GET", "k"))
		want := int64(len("+OK\r\n$500000\r\n\r\n") + len(big))
		for want > 0 {
			m, err := nc.Read(buf[:min(int64(len(buf)), want)])
			if err != nil {
				t.Fatal(err)
			}
			want -= int64(m)
		}
	}
	expect(t, first.do("PING"), "+PONG")
	after := heapAndStack()
	grown := int64(after) - int64(before)
	shelf := make(chan int)
	s.loops[0].post(func() { shelf <- len(s.loops[0].shelf) })
	kept := <-shelf
	t.Logf("%d idle connections: %d KiB in use more, client sides included; %d worksets on the shelf", n, grown>>10, kept)
	if kept > shelfMax {
		t.Errorf("%d worksets kept", kept)
	}
	// Fixed part: the loop's ops and the worksets on its shelf.
	if limit := opsBytesIdle + int64(kept)*(inBytesKept+64<<10) + n*24<<10; grown > limit {
		t.Errorf("%d bytes kept by %d idle connections, limit %d", grown, n, limit)
	}
}

func BenchmarkPipeline(b *testing.B) {
	for _, pairs := range []int{1, 8, 64, 400} {
		b.Run(strconv.Itoa(2*pairs), func(b *testing.B) {
			_, nc := startQuick(b)
			p := newPipeline(pairs, false)
			p.run(b, nc)
			b.ReportAllocs()
			done := 0
			for b.Loop() {
				p.run(b, nc)
				done += 2 * pairs
			}
			b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "commands/s")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(done), "ns/command")
		})
	}
}

// BenchmarkParse is the parser alone, per command.
func BenchmarkParse(b *testing.B) {
	p := newPipeline(64, false)
	ps := parser{lim: limits{args: argsMax, bulk: bulkBytesMax, query: queryBytesDefault}}
	b.ReportAllocs()
	at := 0
	for b.Loop() {
		used, what := ps.next(p.raw[at:])
		if what != parseCommand {
			b.Fatal(what)
		}
		if at += used; at == len(p.raw) {
			at = 0
		}
	}
}
