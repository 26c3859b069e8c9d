package tcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"healkv/rdma"
	"healkv/rdma/conformance"
)

// text is memory that compresses, noise is memory that does not.
func text(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = "user:0000 friend:0000 liked:0000"[i%32] + byte(i>>14)%3
	}
	return b
}

func noise(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b
}

func expose(t testing.TB, e *Endpoint, mem []byte) {
	t.Helper()
	if err := e.Expose(rdma.Exposed{Size: int64(len(mem)), Mem: mem}); err != nil {
		t.Fatal(err)
	}
}

func readAll(t testing.TB, r rdma.Remote, mem []byte, piece int) {
	t.Helper()
	got := make([]byte, piece)
	for off := 0; off < len(mem); off += piece {
		n := min(piece, len(mem)-off)
		if m, err := r.ReadAt(got[:n], int64(off)); m != n || err != nil {
			t.Fatalf("%d bytes at %d: %d, %v", n, off, m, err)
		}
		if !bytes.Equal(got[:n], mem[off:off+n]) {
			t.Fatalf("%d bytes at %d differ", n, off)
		}
	}
}

// Over a slow link what can be compressed is, and what cannot goes as it is;
// both ends count the same.
func TestRemoteOverSlowLink(t *testing.T) {
	for _, c := range []struct {
		name     string
		mem      []byte
		min, max float64 // bytes on the wire per byte
	}{
		{"text", text(24 << 20), 0, 0.3},
		{"noise", noise(4 << 20), 0.99, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNetwork(t, nil)
			proxies := proxied(t, n)
			a, b := n.end(0, 1), n.end(1, 1)
			proxies[1].rate = 25 << 20
			expose(t, b, c.mem)
			x, err := a.Remote(1, 1)
			if err != nil {
				t.Fatal(err)
			}
			r := x.(*Remote)
			readAll(t, r, c.mem, 1<<20)
			share := float64(r.BytesOnWire()) / float64(r.BytesRead())
			if share < c.min || share > c.max || r.BytesRead() != uint64(len(c.mem)) {
				t.Errorf("%d bytes read, %d on the wire: %.2f, want %.2f to %.2f", r.BytesRead(), r.BytesOnWire(), share, c.min, c.max)
			}
			r.Close()
			if s := b.Stats(); s.RemoteRaw != r.BytesRead() || s.RemoteWire != r.BytesOnWire() || s.RemoteReads < uint64(len(c.mem))/pieceBytes {
				t.Errorf("counted where it was served: %+v", s)
			}
			t.Logf("%d bytes, %d on the wire", r.BytesRead(), r.BytesOnWire())
		})
	}
}

// The chooser goes by cost, and notices when that changes.
func TestChooser(t *testing.T) {
	var c chooser
	cost := [codecs]time.Duration{codecRaw: 100 * time.Microsecond, codecZstd: 300 * time.Microsecond}
	run := func(pieces int) (count [codecs]int) {
		for range pieces {
			pick := c.next(pieceBytes)
			c.took(pick, pieceBytes, cost[pick])
			count[pick]++
		}
		return count
	}
	if got := run(1000); got[codecZstd] < 10 || got[codecZstd] > 30 {
		t.Errorf("a fast link: %d of 1000 pieces compressed", got[codecZstd])
	}
	cost[codecRaw] = time.Millisecond // the link got slow
	run(200)
	if got := run(1000); got[codecRaw] < 10 || got[codecRaw] > 30 {
		t.Errorf("a slow link: %d of 1000 pieces raw", got[codecRaw])
	}
	cost[codecRaw] = 100 * time.Microsecond
	run(2000)
	if got := run(1000); got[codecZstd] > 30 {
		t.Errorf("fast again: %d of 1000 pieces compressed", got[codecZstd])
	}
	var small chooser
	for range 100 {
		if pick := small.next(512); pick != codecRaw {
			t.Fatal("a record by itself is compressed, without anything measured")
		}
	}
}

// A connection that breaks in the middle is made again; what does not come for
// long is an error, and so is another life.
func TestRemoteBreaks(t *testing.T) {
	for name, c := range bothKinds() {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, c)
			proxies := proxied(t, n)
			a, b := n.end(0, 1), n.end(1, 1)
			mem := noise(3 << 20)
			expose(t, b, mem)
			x, err := a.Remote(1, 1)
			if err != nil {
				t.Fatal(err)
			}
			r := x.(*Remote)
			defer r.Close()
			rng := rand.New(rand.NewPCG(3, 4))
			got := make([]byte, len(mem))
			var ranges []rdma.Range // in records, so that cuts come at all places
			for off := 0; off < len(mem); {
				n := min(len(mem)-off, 64+rng.IntN(300))
				ranges = append(ranges, rdma.Range{Off: int64(off), Len: n})
				off += n
			}
			for i := range 20 {
				proxies[1].cutAfter(1+rng.Int64N(int64(len(mem))), 1)
				clear(got)
				var m int
				var err error
				if i%2 == 0 {
					m, err = r.ReadAt(got, 0)
				} else {
					m, err = r.gather(got, ranges)
				}
				if m != len(mem) || err != nil || !bytes.Equal(got, mem) {
					t.Fatalf("%d, %v", m, err)
				}
			}
			cuts, _ := proxies[1].counts()
			if cuts != 20 {
				t.Errorf("%d cuts", cuts)
			}
			r.patience = 50 * time.Millisecond
			n.hub.Cut(0, 1)
			proxies[1].cut()
			if _, err := r.ReadAt(got, 0); !errors.Is(err, conformance.ErrCut) {
				t.Errorf("nobody to read from: %v", err)
			}
			n.hub.Mend(0, 1)
			if _, err := r.ReadAt(got, 0); err != nil {
				t.Errorf("mended: %v", err)
			}
			expose(t, b, mem[:1<<20])
			proxies[1].cut()
			if _, err := r.ReadAt(got, 0); !errors.Is(err, rdma.ErrRange) {
				t.Errorf("exposes something else: %v", err)
			}
			b.Close()
			n.end(1, 2)
			if _, err := r.ReadAt(got, 0); !errors.Is(err, rdma.ErrNoPeer) {
				t.Errorf("another life: %v", err)
			}
			a.Close()
			if _, err := r.ReadAt(got, 0); !errors.Is(err, rdma.ErrClosed) {
				t.Errorf("own endpoint closed: %v", err)
			}
		})
	}
}

// What a reader asks is checked where it is served.
func TestRemoteRequestsAreChecked(t *testing.T) {
	n := newNetwork(t, nil)
	a, b := n.end(0, 1), n.end(1, 1)
	mem := text(1 << 20)
	expose(t, b, mem)
	refused := 0
	at := func(off uint64, n uint32) []uint64 { return []uint64{off, uint64(n)} }
	for name, q := range map[string]struct {
		magic, codec, count, n uint32
		ranges                 [][]uint64
		ended                  bool
	}{
		"beyond":            {remoteMagic, 0, 1, 1, [][]uint64{at(1<<20, 1)}, false},
		"across the end":    {remoteMagic, 1, 1, 6, [][]uint64{at(1<<20-5, 6)}, false},
		"negative":          {remoteMagic, 0, 1, 1, [][]uint64{at(1<<63, 1)}, false},
		"the second":        {remoteMagic, 0, 2, 2, [][]uint64{at(0, 1), at(1<<20, 1)}, false},
		"nothing":           {remoteMagic, 0, 1, 0, [][]uint64{at(0, 0)}, true},
		"no range":          {remoteMagic, 0, 0, 1, nil, true},
		"many ranges":       {remoteMagic, 0, rangesMax + 1, 1, nil, true},
		"4 Gi ranges":       {remoteMagic, 0, 1<<32 - 1, 1, nil, true},
		"more than a piece": {remoteMagic, 0, 1, pieceBytes + 1, [][]uint64{at(0, pieceBytes+1)}, true},
		"4 GiB":             {remoteMagic, 0, 1, 1<<32 - 1, [][]uint64{at(0, 1<<32-1)}, true},
		"more than said":    {remoteMagic, 0, 2, 8, [][]uint64{at(0, 8), at(0, 1<<32-1)}, true},
		"less than said":    {remoteMagic, 0, 1, 8, [][]uint64{at(0, 7)}, true},
		"codec":             {remoteMagic, 2, 1, 1, [][]uint64{at(0, 1)}, true},
		"magic":             {1, 0, 1, 1, [][]uint64{at(0, 1)}, true},
	} {
		x, _, _, err := a.connect(a.ctx, 1, 1, forRemote)
		if err != nil {
			t.Fatal(err)
		}
		le := binary.LittleEndian
		var req []byte
		for _, v := range []uint32{q.magic, q.codec, q.count, q.n} {
			req = le.AppendUint32(req, v)
		}
		for _, v := range q.ranges {
			req = le.AppendUint32(le.AppendUint64(req, v[0]), uint32(v[1]))
		}
		x.Write(req)
		var head [headBytes]byte
		_, err = io.ReadFull(x, head[:])
		if ended := err != nil; ended != q.ended || !ended && codec(le.Uint32(head[4:])) != codecRange {
			t.Errorf("%s: ended %v, %v", name, ended, head)
		}
		refused++
		x.Close()
	}
	if s := b.Stats(); s.RemoteRaw != 0 {
		t.Errorf("%d bytes given out", s.RemoteRaw)
	}
	t.Logf("%d requests", refused)
	for _, x := range []rdma.Exposed{{}, {Size: 5, Mem: mem}, {Size: -1, Mem: mem}, {Size: 0}} {
		if err := b.Expose(x); !errors.Is(err, ErrConfig) {
			t.Errorf("exposed %d of %d bytes: %v", x.Size, len(x.Mem), err)
		}
	}
}

// What is answered is checked where it is read: nothing is written outside of
// what was asked for, and no more memory is taken than a piece needs.
func TestRemoteAnswersAreChecked(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := enc.EncodeAll(make([]byte, 64<<20), nil)
	long := enc.EncodeAll(make([]byte, 8192), nil)
	short := enc.EncodeAll(make([]byte, 100), nil)
	const n = 4096
	cases := map[string]struct {
		magic, codec, n uint32
		wire            int
		body            []byte
	}{
		"magic":            {1, 0, n, n, make([]byte, n)},
		"another length":   {remoteMagic, 0, n + 1, n + 1, make([]byte, n+1)},
		"longer than said": {remoteMagic, 0, n, n + 1, make([]byte, n+1)},
		"codec":            {remoteMagic, 7, n, 10, make([]byte, 10)},
		"packed longer":    {remoteMagic, 1, n, n, make([]byte, n)},
		"4 GiB packed":     {remoteMagic, 1, n, 1<<32 - 1, nil},
		"no zstd":          {remoteMagic, 1, n, 10, make([]byte, 10)},
		"a bomb":           {remoteMagic, 1, n, len(bomb), bomb},
		"unpacks to more":  {remoteMagic, 1, n, len(long), long},
		"unpacks to less":  {remoteMagic, 1, n, len(short), short},
	}
	for name, c := range cases {
		x, y := net.Pipe()
		go func() {
			var head [headBytes]byte
			le := binary.LittleEndian
			le.PutUint32(head[0:], c.magic)
			le.PutUint32(head[4:], c.codec)
			le.PutUint32(head[8:], c.n)
			le.PutUint32(head[12:], uint32(c.wire))
			y.Write(append(head[:], c.body...))
			y.Close()
		}()
		r := &Remote{conn: x}
		memory := bytes.Repeat([]byte{0x77}, 3*n)
		err := r.piece(memory[n:2*n:2*n], &request{n: n, codec: codecZstd})
		if !errors.Is(err, errRequest) {
			t.Errorf("%s: %v", name, err)
		}
		for i, v := range memory {
			if (i < n || i >= 2*n) && v != 0x77 {
				t.Fatalf("%s: byte %d outside was written", name, i-n)
			}
		}
		if r.decoder != nil {
			r.decoder.Close()
		}
		x.Close()
	}
	t.Logf("%d answers", len(cases))
}

func TestConfig(t *testing.T) {
	hub := conformance.NewHub()
	good := func() Config {
		return Config{Node: 0, Nodes: 3, Incarnation: 1, RingBytes: 4096, Exchange: hub.Exchange(0, 0)}
	}
	half := mutual().Clone()
	half.ClientCAs = nil
	open := mutual().Clone()
	open.InsecureSkipVerify = true
	bare := mutual().Clone()
	bare.Certificates = nil
	for _, c := range []struct {
		says   string
		change func(*Config)
	}{
		{"nodes", func(c *Config) { c.Nodes = 17 }},
		{"node 3 of 3", func(c *Config) { c.Node = 3 }},
		{"shard", func(c *Config) { c.Shard = 64 }},
		{"incarnation", func(c *Config) { c.Incarnation = 0 }},
		{"power of two", func(c *Config) { c.RingBytes = 5000 }},
		{"Exchange", func(c *Config) { c.Exchange = nil }},
		{"wildcard", func(c *Config) { c.Listen = "0.0.0.0" }},
		{"wildcard", func(c *Config) { c.Listen = "[::]:7000" }},
		{"wildcard", func(c *Config) { c.Listen = ":7000" }},
		{"in the clear", func(c *Config) { c.Listen = "192.0.2.1:7000" }},
		{"in the clear", func(c *Config) { c.Listen = "host" }},
		{"patience", func(c *Config) { c.Patience = -1 }},
		{"ClientCAs", func(c *Config) { c.TLS = half }},
		{"InsecureSkipVerify", func(c *Config) { c.TLS = open }},
		{"certificate", func(c *Config) { c.TLS = bare }},
	} {
		x := good()
		c.change(&x)
		if e, err := New(x); !errors.Is(err, ErrConfig) || e != nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.says, err)
		}
	}
	// An address that is not this host's, and one that is taken.
	x := good()
	x.Listen, x.Plain = "192.0.2.1", true
	if _, err := New(x); err == nil || !strings.Contains(err.Error(), "data port") {
		t.Errorf("another host's address: %v", err)
	}
	e, err := rdma.Open(Name, rdma.Config{Nodes: 3, Incarnation: 1, RingBytes: 4096, Exchange: hub.Exchange(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	x.Listen = e.(*Endpoint).gate.address
	if _, err := New(x); err == nil {
		t.Error("one port twice")
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
