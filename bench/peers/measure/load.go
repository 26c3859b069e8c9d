// Package measure loads a group of servers, measures it, and sees whether what
// was acknowledged is there.
//
// Loads are closed: a client sends the next operation when the last one was
// answered. That is what equal numbers of clients mean, and it hides stalls
// that an open loop would show: a latency here is that of an operation alone.
package measure

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"healkv/bench/peers/servers"
)

// Load is one part of a measurement.
type Load struct {
	Clients    int
	Keys       int // in all; each client has its own share of them
	ValueBytes int
	Warm, Time time.Duration
	Nodes      []int // where clients connect, in turn; nil for all
	Files      bool  // clients connect over socket files; the system is servers.Filed
}

// Figures of a part. Latencies in µs, from the sending of an operation to its
// answer, of those that were answered within the measured time.
type Figures struct {
	Rate       float64 `json:"rate"` // acknowledged operations per second
	P50        int64   `json:"p50_us"`
	P99        int64   `json:"p99_us"`
	P999       int64   `json:"p999_us"`
	Max        int64   `json:"max_us"`
	Operations int64   `json:"operations"`
	Errors     int64   `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	// Checked keys were read after the load, at another node than they were
	// written at. Wrong ones had not what was acknowledged last.
	Checked int `json:"checked"`
	Wrong   int `json:"wrong"`
}

const (
	histLow, histHigh, histDigits = 1, 60_000_000, 3 // µs

	// checkMax keys are read back after a part.
	checkMax = 2000
	// errorPause keeps a client from spinning on a server that is not there.
	errorPause = 2 * time.Millisecond

	stampBytes = 16 // client and sequence number, in front of a value
)

// ErrWrong: an acknowledged write is missing or older.
var ErrWrong = errors.New("peers: an acknowledged write is not there")

// Key names a key of the load.
func Key(n int) string { return fmt.Sprintf("k%08d", n) }

// worker is one client with its share of the keys.
type worker struct {
	id     int
	conn   servers.Client
	node   int
	plain  *plain // once the connection is served by a loop
	keys   []int
	names  []string // of the keys
	last   []uint64 // per key of the share: sequence number acknowledged last, 0 for none
	doubt  []bool   // a write of it failed, so it may have been applied
	seq    uint64
	value  []byte
	random *rand.Rand
	hist   *hdrhistogram.Histogram
	done   int64
	errs   int64
	first  error
}

// Session is a number of clients connected to a group, with what they know of
// its contents; parts are run with it one after the other.
type Session struct {
	sys     servers.System
	load    Load
	workers []*worker
	// Acked counts acknowledged operations, for whoever watches meanwhile.
	Acked atomic.Int64
	// lastAck is when the last one was, longest the longest time between two, in
	// ns. An operation may be counted into a gap twice or not at all when two end
	// at the same moment: gaps that matter are longer than that.
	lastAck, longest atomic.Int64
}

// acked notes an acknowledged operation.
func (s *Session) acked(at time.Time) {
	s.Acked.Add(1)
	now := at.UnixNano()
	if gap := now - s.lastAck.Swap(now); gap > s.longest.Load() {
		s.longest.Store(gap)
	}
}

// takeLongest returns the longest gap since it was asked last, the present one
// included.
func (s *Session) takeLongest() time.Duration {
	now := time.Now().UnixNano()
	return time.Duration(max(now-s.lastAck.Load(), s.longest.Swap(0)))
}

func share(id, clients, keys int) []int {
	var mine []int
	for k := id; k < keys; k += clients {
		mine = append(mine, k)
	}
	return mine
}

// Open connects all clients.
func Open(ctx context.Context, sys servers.System, l Load) (*Session, error) {
	if l.Clients < 1 || l.Keys < l.Clients || l.ValueBytes < stampBytes {
		return nil, fmt.Errorf("peers: %d clients, %d keys, values of %d bytes: want a key for each client and at least %d bytes",
			l.Clients, l.Keys, l.ValueBytes, stampBytes)
	}
	nodes := l.Nodes
	if nodes == nil {
		nodes = []int{0, 1, 2}
	}
	connect := sys.Connect
	if l.Files {
		filed, ok := sys.(servers.Filed)
		if !ok {
			return nil, fmt.Errorf("peers: %s has no socket files", sys.About().Name)
		}
		connect = filed.ConnectFile
	}
	s := &Session{sys: sys, load: l}
	for id := range l.Clients {
		node := nodes[id%len(nodes)]
		try, cancel := context.WithTimeout(ctx, 30*time.Second)
		conn, err := connect(try, node)
		cancel()
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("%s: client %d of %d: %w", sys.About().Name, id, l.Clients, err)
		}
		keys := share(id, l.Clients, l.Keys)
		names := make([]string, len(keys))
		for i, k := range keys {
			names[i] = Key(k)
		}
		w := &worker{id: id, conn: conn, node: node, keys: keys, names: names, last: make([]uint64, len(keys)), doubt: make([]bool, len(keys)),
			value: make([]byte, l.ValueBytes), random: rand.New(rand.NewPCG(uint64(id), 0x9e3779b97f4a7c15)),
			hist: hdrhistogram.New(histLow, histHigh, histDigits)}
		for i := range w.value {
			w.value[i] = byte('a' + w.random.IntN(26))
		}
		s.workers = append(s.workers, w)
	}
	return s, nil
}

// Close disconnects all clients.
func (s *Session) Close() {
	for _, w := range s.workers {
		_ = w.conn.Close()
		if w.plain != nil {
			_ = w.plain.close()
		}
	}
	s.workers = nil
}

// fillTries is how often a write of the fill is tried: a group that has just
// come up, or that elects again on a busy machine, refuses some.
const fillTries = 10

// Fill has every client write each of its keys once.
func (s *Session) Fill(ctx context.Context) error {
	return s.each(func(w *worker) error {
		for i := range w.keys {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := w.write(ctx, s, i)
			for range fillTries - 1 {
				if err == nil || ctx.Err() != nil {
					break
				}
				err = w.write(ctx, s, i)
			}
			if err != nil {
				return fmt.Errorf("%s: fill: %w", s.sys.About().Name, err)
			}
		}
		return nil
	})
}

func (s *Session) each(fn func(*worker) error) error {
	errs := make([]error, len(s.workers))
	var all sync.WaitGroup
	for i, w := range s.workers {
		all.Go(func() { errs[i] = fn(w) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// next is the value of the next write.
func (w *worker) next() []byte {
	w.seq++
	binary.BigEndian.PutUint64(w.value, uint64(w.id))
	binary.BigEndian.PutUint64(w.value[8:], w.seq)
	return w.value
}

// write gives key i of the share its next value.
func (w *worker) write(ctx context.Context, s *Session, i int) error {
	err := w.conn.Write(ctx, w.names[i], w.next())
	return s.outcome(w, i, false, nil, err, time.Now())
}

// outcome takes note of how the operation on key i ended, at that time; value is
// what a read gave. It returns err, or ErrWrong.
func (s *Session) outcome(w *worker, i int, read bool, value []byte, err error, at time.Time) error {
	switch {
	case err != nil:
		w.doubt[i] = w.doubt[i] || !read
		return err
	case !read:
		w.last[i], w.doubt[i] = w.seq, false
	case w.last[i] != 0 && !w.right(i, value):
		return fmt.Errorf("%w: %s, %s, read during the load", ErrWrong, s.sys.About().Name, w.names[i])
	}
	s.acked(at)
	return nil
}

// right tells whether value is what key i must have.
func (w *worker) right(i int, value []byte) bool {
	if len(value) != len(w.value) || binary.BigEndian.Uint64(value) != uint64(w.id) {
		return false
	}
	seq := binary.BigEndian.Uint64(value[8:])
	// A write that failed may have been applied, or may yet be.
	return seq == w.last[i] || w.doubt[i] && seq > w.last[i] && seq <= w.seq
}

// Run loads for Warm and Time, with nothing but writes or nothing but reads, and
// returns what was counted in the latter.
func (s *Session) Run(ctx context.Context, reads bool) (Figures, error) {
	begin := time.Now()
	from, to := begin.Add(s.load.Warm), begin.Add(s.load.Warm+s.load.Time)
	load, stop := context.WithCancel(ctx)
	defer stop()
	end := time.AfterFunc(time.Until(to), stop)
	defer end.Stop()
	if err := s.loop(load, reads, from, to); err != nil {
		return Figures{}, err
	}
	if err := ctx.Err(); err != nil {
		return Figures{}, err
	}
	f := s.figures(s.load.Time)
	var err error
	f.Checked, f.Wrong, err = s.check(ctx, s.other)
	return f, err
}

// loop has all clients work until the context ends. An operation under way at
// the end is completed: what it did must be known.
func (s *Session) loop(load context.Context, reads bool, from, to time.Time) error {
	for _, w := range s.workers {
		w.hist.Reset()
		w.done, w.errs, w.first = 0, 0, nil
	}
	all, err := s.plains()
	if err != nil {
		return err
	}
	if all != nil {
		return s.plainLoop(load, all, reads, from, to)
	}
	return s.each(func(w *worker) error {
		for load.Err() == nil {
			i := w.random.IntN(len(w.keys))
			t0 := time.Now()
			err := s.operation(w, i, reads)
			t1 := time.Now()
			if errors.Is(err, ErrWrong) {
				return err
			}
			if w.count(t0, t1, from, to, err); err != nil {
				time.Sleep(errorPause)
			}
		}
		return nil
	})
}

// count takes an operation in that began at t0 and ended at t1.
func (w *worker) count(t0, t1, from, to time.Time, err error) {
	counts := t1.After(from) && !t1.After(to)
	switch {
	case err != nil:
		if counts {
			w.errs++
		}
		if w.first == nil {
			w.first = err
		}
	case counts:
		w.done++
		_ = w.hist.RecordValue(min(max(t1.Sub(t0).Microseconds(), histLow), histHigh)) // within its bounds
	}
}

func (s *Session) operation(w *worker, i int, reads bool) error {
	ctx := context.Background()
	if !reads {
		return w.write(ctx, s, i)
	}
	value, err := w.conn.Read(ctx, w.names[i])
	return s.outcome(w, i, true, value, err, time.Now())
}

func (s *Session) figures(measured time.Duration) Figures {
	all := hdrhistogram.New(histLow, histHigh, histDigits)
	var f Figures
	for i, w := range s.workers {
		if i == 0 || w.hist != s.workers[0].hist {
			all.Merge(w.hist)
		}
		f.Operations += w.done
		f.Errors += w.errs
		if f.FirstError == "" && w.first != nil {
			f.FirstError = w.first.Error()
		}
	}
	f.Rate = float64(f.Operations) / measured.Seconds()
	f.P50, f.P99, f.P999, f.Max = all.ValueAtQuantile(50), all.ValueAtQuantile(99), all.ValueAtQuantile(99.9), all.Max()
	return f
}

// check reads a sample of the keys that were written, at the node that at names
// for the one a key was written at.
func (s *Session) check(ctx context.Context, at func(node int) int) (checked, wrong int, err error) {
	conns := map[int]servers.Client{}
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	per := max(1, checkMax/len(s.workers))
	var what error
	for _, w := range s.workers {
		node := at(w.node)
		if conns[node] == nil {
			try, cancel := context.WithTimeout(ctx, 30*time.Second)
			c, err := s.sys.Connect(try, node)
			cancel()
			if err != nil {
				return checked, wrong, fmt.Errorf("%s: connecting to node %d to read back: %w", s.sys.About().Name, node, err)
			}
			conns[node] = c
		}
		n := 0
		for _, i := range w.random.Perm(len(w.keys)) {
			if n == per {
				break
			}
			if w.last[i] == 0 {
				continue
			}
			if err := ctx.Err(); err != nil {
				return checked, wrong, err
			}
			n++
			value, err := conns[node].Read(ctx, w.names[i])
			if err != nil && !errors.Is(err, servers.ErrAbsent) {
				return checked, wrong, fmt.Errorf("%s: reading back at node %d: %w", s.sys.About().Name, node, err)
			}
			checked++
			if err != nil || !w.right(i, value) {
				wrong++
				what = fmt.Errorf("%w: %s, %s at node %d", ErrWrong, s.sys.About().Name, w.names[i], node)
			}
		}
	}
	return checked, wrong, what
}

// other is the next node that clients may connect to.
func (s *Session) other(node int) int {
	nodes := s.load.Nodes
	if nodes == nil {
		nodes = []int{0, 1, 2}
	}
	for k, n := range nodes {
		if n == node {
			return nodes[(k+1)%len(nodes)]
		}
	}
	return nodes[0]
}
