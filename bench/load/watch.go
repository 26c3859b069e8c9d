package load

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"healkv/bench/check"
	"healkv/bench/record"
	"healkv/dataplane"
)

const (
	watchKeysDefault = 8
	watchRateDefault = 500
	// watchGiveUp is longer than any deadline: an answer that takes longer never
	// comes, and the operation stays pending in the history.
	watchGiveUp = int64(15 * time.Second)
	watchPoll   = 10 * time.Millisecond
	watchStep   = int64(time.Second) // counted at most from one look to the next

	// A watched value is its id and the id's complement, so that a torn or foreign
	// value is noticed.
	watchValueBytes = 16
)

// WatchConfig of a Watcher.
type WatchConfig struct {
	// Client must be unique among all histories that are judged together, also over
	// the lives of a process: value ids are made of it.
	Client uint32
	Seed   uint64
	Keys   int     // watched keys; 0 takes 8; the same at all nodes
	Rate   float64 // operations a second; 0 takes 500
	Share  float64 // part of the operations that write; 0 takes 0.5

	History *record.History

	clock clock
}

// WatchTotals of a Watcher so far.
type WatchTotals struct{ Reads, Writes, Rejected, Unknown uint64 }

// Watcher is one sequential client of the watched keys. Run belongs to one
// goroutine; Totals may be asked by any.
//
// A history is judged from the initial value on, so the histories of all lives of
// all nodes since their pools were made belong together.
type Watcher struct {
	cfg       WatchConfig
	clock     clock
	rng       *rand.Rand
	written   uint32
	op        dataplane.Op
	done      [1]*dataplane.Op
	key       []byte
	value     []byte
	published atomic.Pointer[WatchTotals]
	totals    WatchTotals
}

// AppendWatchKey appends the bytes of watched key n; no workload has such keys.
func AppendWatchKey(dst []byte, n uint32) []byte {
	return strconv.AppendUint(append(dst, "w:"...), uint64(n), 10)
}

// NewWatcher makes a Watcher. Errors: ErrConfig.
func NewWatcher(c WatchConfig) (*Watcher, error) {
	if c.clock == nil {
		c.clock = hostClock{}
	}
	if c.Keys == 0 {
		c.Keys = watchKeysDefault
	}
	if c.Rate == 0 {
		c.Rate = watchRateDefault
	}
	if c.Share == 0 {
		c.Share = 0.5
	}
	switch {
	case c.History == nil:
		return nil, fmt.Errorf("%w: a watcher without a history", ErrConfig)
	case c.Keys < 1 || c.Keys > 1<<20:
		return nil, fmt.Errorf("%w: %d watched keys, from 1 to %d", ErrConfig, c.Keys, 1<<20)
	case !(c.Rate > 0 && c.Rate <= 1e6):
		return nil, fmt.Errorf("%w: watch rate %v, above 0 to 1e6", ErrConfig, c.Rate)
	case !(c.Share > 0 && c.Share <= 1):
		return nil, fmt.Errorf("%w: share of writes %v, above 0 to 1", ErrConfig, c.Share)
	}
	return &Watcher{
		cfg: c, clock: c.clock, rng: rand.New(rand.NewPCG(c.Seed, uint64(c.Client))),
		value: make([]byte, 0, watchValueBytes),
	}, nil
}

// Totals so far; any goroutine may ask.
func (w *Watcher) Totals() WatchTotals {
	if t := w.published.Load(); t != nil {
		return *t
	}
	return WatchTotals{}
}

// Run reads and writes until ctx is done. Errors: ErrWrongValue, ErrStuck, those of
// the history's file, and what ended the session, all wrapped.
func (w *Watcher) Run(ctx context.Context, s Session) error {
	due := w.clock.now()
	for ctx.Err() == nil {
		// Times between operations vary, so that clients meet in every way.
		due += int64((0.5 + w.rng.Float64()) * 1e9 / w.cfg.Rate)
		if now := w.clock.now(); now < due {
			w.clock.sleep(due - now)
		} else {
			due = now // a client that waits does not catch up
		}
		if err := w.one(ctx, s); err != nil {
			return err
		}
		t := w.totals
		w.published.Store(&t)
	}
	return nil
}

// one does one operation, start to end.
func (w *Watcher) one(ctx context.Context, s Session) error {
	key := w.rng.Uint32N(uint32(w.cfg.Keys))
	kind, value := check.Read, uint64(check.Initial)
	w.key = AppendWatchKey(w.key[:0], key)
	w.op = dataplane.Op{Kind: dataplane.OpGet, Key: w.key, Value: w.value[:0]}
	if w.rng.Float64() < w.cfg.Share {
		w.written++
		kind, value = check.Write, uint64(w.cfg.Client)<<32|uint64(w.written)
		w.value = binary.LittleEndian.AppendUint64(w.value[:0], value)
		w.value = binary.LittleEndian.AppendUint64(w.value, ^value)
		w.op.Kind, w.op.Value = dataplane.OpPut, w.value
	}
	// The record is with the kernel before the operation can be anywhere, and its
	// time is before that: the interval is never too short.
	if err := w.cfg.History.Invoke(kind, key, value, w.clock.now()); err != nil {
		return err
	}
	err := s.Submit(&w.op)
	if err == nil {
		s.Kick()
		last := w.clock.now()
		for waited := int64(0); s.Poll(w.done[:]) == 0; s.Wait(watchPoll) {
			// A process that is stopped for a while is not one that does not answer.
			now := w.clock.now()
			waited += min(now-last, watchStep)
			if last = now; waited > watchGiveUp {
				return fmt.Errorf("%w: %v of watched key %d", ErrStuck, kind, key)
			}
		}
		err = w.op.Err
	}
	at := w.clock.now()
	outcome, v := check.Done, again
	switch {
	case err == nil && kind == check.Write:
		w.totals.Writes++
	case err == nil:
		if value, err = watchedValue(w.op.Value); err != nil {
			return fmt.Errorf("%w: watched key %d", err, key)
		}
		w.value = w.op.Value[:0]
		w.totals.Reads++
	case err == dataplane.ErrNotFound && kind == check.Read:
		value = check.Initial
		w.totals.Reads++
	default:
		outcome = check.Rejected
		w.totals.Rejected++
		var e record.ErrorKind
		if e, v = classify(err); e == record.ErrUnknown || v == stop {
			// An error that does not say "not applied" may hide a write that was.
			outcome = check.Pending
			w.totals.Rejected--
			w.totals.Unknown++
		}
	}
	if herr := w.cfg.History.Return(kind, outcome, key, value, at); herr != nil {
		return herr
	}
	if v == stop && ctx.Err() == nil {
		return fmt.Errorf("load: watched key %d: %w", key, err)
	}
	return nil
}

func watchedValue(b []byte) (uint64, error) {
	if len(b) != watchValueBytes {
		return 0, fmt.Errorf("%w: %d bytes, a watched value has %d", ErrWrongValue, len(b), watchValueBytes)
	}
	value := binary.LittleEndian.Uint64(b)
	if binary.LittleEndian.Uint64(b[8:]) != ^value || value == check.Initial {
		return 0, fmt.Errorf("%w: %x", ErrWrongValue, b)
	}
	return value, nil
}
