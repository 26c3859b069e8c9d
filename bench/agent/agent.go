// Package agent runs load generators inside a node process, as the HEAL
// paper's co-located clients do, on request over the node's loopback HTTP
// listener. It uses the exported client API only: nothing of the node is
// reached in another way. A node offers it only if its configuration says so
// (bench.enabled).
//
//	POST /bench/start   Run          one run at a time; answers at once
//	GET  /bench/totals  Totals       of the present or last run
//	POST /bench/wait                 until the run has ended by itself (a load phase)
//	POST /bench/stop                 ends the run and waits for it
//	POST /bench/verify  Verify       reads every acknowledged key back; Verified
//	POST /bench/heap    Since        what the process's Go runtime did; Heap
//
// Files named in requests are the requester's: the listener is on loopback,
// and writes nothing but what a Run names.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"healkv"
	"healkv/bench/check"
	"healkv/bench/load"
	"healkv/bench/record"
	"healkv/bench/workload"
	"healkv/dataplane"
)

// Run asks for one generator and, if History is set, one watcher.
type Run struct {
	Workload string
	Keys     uint64
	HotShare float64 `json:",omitempty"`
	// ValueBytes of every value; 0: the workload's own.
	ValueBytes int `json:",omitempty"`
	Seed       uint64
	Node       int
	Nodes      int
	Load       bool    // insert this node's share of the keys, then end
	Ops        uint64  `json:",omitempty"` // end after about so many operations; 0: until stop
	Rate       float64 // accesses a second; 0: closed loop
	Window     int
	// OnWorker: the generator runs on the thread of the first shard's worker
	// (Node.Attend), and latencies are recorded in nanoseconds.
	OnWorker bool `json:",omitempty"`

	Windows string `json:",omitempty"` // file: completed operations per window
	Acks    string `json:",omitempty"` // file: acknowledged timestamps by key

	History   string  `json:",omitempty"` // file: history of the watched keys
	Client    uint32  `json:",omitempty"` // unique over all histories of an experiment
	WatchKeys int     `json:",omitempty"`
	WatchRate float64 `json:",omitempty"`
}

// Totals of a run.
type Totals struct {
	Running bool
	Load    load.Totals
	Watch   load.WatchTotals
	Err     string
}

// Verify asks a node whether it holds every acknowledged write.
type Verify struct {
	Workload string
	Keys     uint64
	Acks     []string // tables of all generators of the experiment
}

// Verified is the answer.
type Verified struct {
	Acks     check.AckResult
	Digest   healkv.Digest
	LiveKeys uint64
}

// Agent serves one node.
type Agent struct {
	find func() *healkv.Node

	mu  sync.Mutex
	run *running
}

type running struct {
	cancel context.CancelFunc
	done   chan struct{}
	gen    *load.Generator
	watch  *load.Watcher
	err    error
}

// New makes the agent of a node; find gives it, nil while it opens.
func New(find func() *healkv.Node) *Agent { return &Agent{find: find} }

var errOpening = errors.New("agent: the node is still opening its pools")

// Register adds the handlers.
func (a *Agent) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST /bench/start", handle(a.start))
	mux.HandleFunc("GET /bench/totals", handle(func(context.Context, *struct{}) (*Totals, error) { return a.totals(), nil }))
	mux.HandleFunc("POST /bench/wait", handle(a.wait))
	mux.HandleFunc("POST /bench/stop", handle(a.stop))
	mux.HandleFunc("POST /bench/verify", handle(a.verify))
	mux.HandleFunc("POST /bench/heap", handle(heap))
}

func handle[Q, R any](f func(context.Context, *Q) (*R, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		if r.Method == http.MethodPost {
			d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
			d.DisallowUnknownFields()
			if err := d.Decode(&q); err != nil {
				http.Error(w, "malformed request: "+err.Error(), http.StatusBadRequest)
				return
			}
		}
		answer, err := f(r.Context(), &q)
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(answer)
	}
}

var errBusy = errors.New("agent: a run is under way; stop it first")

func (a *Agent) start(_ context.Context, q *Run) (*struct{}, error) {
	if a.find() == nil {
		return nil, errOpening
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.run != nil {
		select {
		case <-a.run.done:
		default:
			return nil, errBusy
		}
	}
	r, begin, err := a.prepare(q)
	if err != nil {
		return nil, err
	}
	a.run = r
	go begin()
	return &struct{}{}, nil
}

// prepare makes generator and watcher with their files.
func (a *Agent) prepare(q *Run) (r *running, begin func(), err error) {
	spec, err := workload.New(q.Workload, workload.Options{Keys: q.Keys, HotShare: q.HotShare, ValueBytes: q.ValueBytes})
	if err != nil {
		return nil, nil, err
	}
	var closers []func() error
	closeAll := func() (err error) {
		for _, c := range closers {
			err = errors.Join(err, c())
		}
		return err
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	c := load.Config{Spec: spec, Seed: q.Seed, Node: q.Node, Nodes: q.Nodes, Rate: q.Rate, Window: q.Window, Fine: q.OnWorker}
	if q.Windows != "" {
		if c.Records, err = record.CreateWindows(q.Windows, record.WindowHeader{Node: q.Node, Workload: q.Workload, Rate: q.Rate, Fine: q.OnWorker}); err != nil {
			return nil, nil, err
		}
		closers = append(closers, c.Records.Close)
	}
	if q.Acks != "" {
		if c.Acks, err = record.CreateAcks(q.Acks, q.Node, spec.Capacity()); err != nil {
			return nil, nil, err
		}
		closers = append(closers, c.Acks.Close)
	}
	r = &running{done: make(chan struct{})}
	if r.gen, err = load.New(c); err != nil {
		return nil, nil, err
	}
	if q.History != "" {
		h, err := record.CreateHistory(q.History, record.HistoryHeader{Client: q.Client})
		if err != nil {
			return nil, nil, err
		}
		closers = append(closers, h.Close)
		if r.watch, err = load.NewWatcher(load.WatchConfig{Client: q.Client, Seed: q.Seed, Keys: q.WatchKeys, Rate: q.WatchRate, History: h}); err != nil {
			return nil, nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	return r, func() {
		defer close(r.done)
		defer cancel()
		r.err = errors.Join(a.drive(ctx, q, r), closeAll())
	}, nil
}

// drive runs generator and watcher to their ends.
func (a *Agent) drive(ctx context.Context, q *Run, r *running) error {
	node := a.find()
	if err := node.WaitReady(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	var watchErr error
	watchCtx, stopWatch := context.WithCancel(ctx)
	if r.watch != nil {
		wg.Go(func() {
			s := node.NewSession()
			defer s.Close()
			watchErr = r.watch.Run(watchCtx, s)
		})
	}
	if q.Ops > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(ctx)
		defer stop()
		go func() {
			for t := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-t.C {
				if r.gen.Totals().Ops() >= q.Ops {
					stop()
				}
			}
		}()
	}
	s := node.NewSession()
	if q.Window > load.WindowOrdinary {
		s = node.NewWideSession(nil)
	}
	defer s.Close()
	var err error
	switch {
	case q.Load:
		err = r.gen.Load(ctx, s)
	case q.OnWorker:
		err = onWorker(ctx, node, r.gen, s)
	default:
		err = r.gen.Run(ctx, s)
	}
	stopWatch()
	wg.Wait()
	return errors.Join(err, watchErr)
}

// onWorker runs a generator on the thread of the first shard's worker.
func onWorker(ctx context.Context, node *healkv.Node, g *load.Generator, s load.Session) error {
	g.Begin(s)
	ended := make(chan struct{})
	var over bool
	leave, err := node.Attend(0, func() (awake bool) {
		if over {
			return false
		}
		if awake, over = g.Step(); over {
			close(ended)
		}
		return awake
	})
	if err != nil {
		return err
	}
	select {
	case <-ended:
	case <-ctx.Done():
		g.Stop()
	}
	leave()
	return g.Finish()
}

func (a *Agent) present() *running {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.run
}

func (a *Agent) totals() *Totals {
	r := a.present()
	if r == nil {
		return &Totals{}
	}
	t := &Totals{Running: true, Load: r.gen.Totals()}
	if r.watch != nil {
		t.Watch = r.watch.Totals()
	}
	select {
	case <-r.done:
		t.Running = false
		if r.err != nil {
			t.Err = r.err.Error()
		}
	default:
	}
	return t
}

func (a *Agent) wait(ctx context.Context, _ *struct{}) (*Totals, error) {
	if r := a.present(); r != nil {
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return a.totals(), nil
}

func (a *Agent) stop(ctx context.Context, q *struct{}) (*Totals, error) {
	if r := a.present(); r != nil {
		r.cancel()
	}
	return a.wait(ctx, q)
}

// verify reads every acknowledged key back at this node, through the client
// API, and sums up the node's data.
func (a *Agent) verify(ctx context.Context, q *Verify) (*Verified, error) {
	spec, err := workload.New(q.Workload, workload.Options{Keys: q.Keys})
	if err != nil {
		return nil, err
	}
	var acked []uint64
	for _, path := range q.Acks {
		t, err := record.ReadAcks(path)
		if err != nil {
			return nil, err
		}
		acked = check.MergeAcks(acked, t.TS)
	}
	node := a.find()
	if node == nil {
		return nil, errOpening
	}
	s := node.NewSession()
	defer s.Close()
	var key, value []byte
	var failed error
	v := &Verified{}
	v.Acks = check.Acks(acked, func(id uint64) uint64 {
		key = spec.AppendKey(key[:0], id)
		for ctx.Err() == nil {
			got, ts, err := s.Get(key, value[:0])
			value = got
			switch {
			case err == nil:
				return uint64(ts)
			case errors.Is(err, dataplane.ErrNotFound):
				return 0
			case errors.Is(err, dataplane.ErrTryAgain), errors.Is(err, dataplane.ErrDeadline):
				time.Sleep(time.Millisecond)
			default:
				failed = fmt.Errorf("agent: reading %q back: %w", key, err)
				return 0
			}
		}
		failed = ctx.Err()
		return 0
	})
	v.Digest, v.LiveKeys = node.Digest(), node.LiveKeys()
	return v, failed
}
