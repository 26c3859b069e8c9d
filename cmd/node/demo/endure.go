package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"healkv/bench/agent"
	"healkv/bench/report"
	"healkv/bench/workload"
	"healkv/cmd/node/local"
)

// EndureOptions of a long run of overwrites in pools of twice the live data.
type EndureOptions struct {
	Options
	Time     time.Duration // measured
	Interval time.Duration // one line each; the first is what the others are held against
	Kill     time.Duration // after so much of it the victim is killed; 0: never
	Window   int           // operations in flight per node
	Unsteady bool          // the machine does other work beside: throughput is not judged
}

// What an endurance run is judged by.
const (
	endureRate          = 0.85 // of the first interval's throughput, at least, in every other with all nodes
	endureAmplification = 2.5  // at most, at every node, while it is measured
	endureFree          = 0.02 // of the log, at least, at every look at every node
	endureLook          = 500 * time.Millisecond
)

// ErrEndure: the run finished, and something did not hold.
var ErrEndure = errors.New("endure: a bound was not kept")

// EndureInterval is one line of an endurance run.
type EndureInterval struct {
	Seconds       float64   `json:"seconds"` // since the measurement began, at its end
	Writes        float64   `json:"writes_per_s"`
	FreeMin       []float64 `json:"free_min"` // by node, share of its log
	Amplification []float64 `json:"amplification"`
	Judged        bool      `json:"judged"` // all nodes served all the time
	What          string    `json:"what,omitempty"`
}

// EndureResult is what an endurance run found.
type EndureResult struct {
	Env       report.Environment   `json:"environment"`
	PoolBytes uint64               `json:"pool_bytes"`
	LiveBytes uint64               `json:"live_bytes"`
	Intervals []EndureInterval     `json:"intervals"`
	Lowest    float64              `json:"lowest"` // judged interval, as a share of the first
	Highest   float64              `json:"highest"`
	Written   float64              `json:"written"` // times the pool that each node's log took, on average
	Recovery  *report.Recovery     `json:"recovery,omitempty"`
	Away      float64              `json:"away_s"` // from the kill until it served again
	NoRoom    uint64               `json:"no_room"`
	Verified  *report.Verification `json:"verification"`
	Problems  []string             `json:"problems"`
}

// EndureLive is the bytes of log that the loaded records take.
func EndureLive(o *EndureOptions) (uint64, error) {
	spec, err := workload.New(o.Workload, workload.Options{Keys: o.Keys})
	if err != nil {
		return 0, err
	}
	return spec.Keys() * uint64(recordBytes(len(spec.AppendKey(nil, 1)), spec.ValueBytes())), nil
}

// Endure loads the records, overwrites them until the time is over, kills a
// node in between and takes it back, compares, and judges.
func Endure(ctx context.Context, o EndureOptions, c *local.Cluster, out io.Writer) (*EndureResult, error) {
	if o.Time <= 0 || o.Interval <= 0 || o.Interval > o.Time || o.Kill < 0 || o.Kill >= o.Time || o.Victim < 0 || o.Victim >= o.Nodes {
		return nil, fmt.Errorf("%w: %v in intervals of %v, node %d of %d killed after %v", errOptions, o.Time, o.Interval, o.Victim, o.Nodes, o.Kill)
	}
	r, err := newRunner(o.Options, c, filepath.Join(o.Out, "data"))
	if err != nil {
		return nil, err
	}
	defer r.k.client.CloseIdleConnections()
	text, err := os.Create(filepath.Join(o.Out, FileEndure+".txt"))
	if err != nil {
		return nil, err
	}
	defer text.Close()
	e := &endurance{runner: r, o: o, out: io.MultiWriter(out, text), last: make([]uint64, o.Nodes), base: make([]space, o.Nodes),
		serves: make([]bool, o.Nodes)}
	err = e.run(ctx)
	if stopErr := r.k.stop(syscall.SIGHUP); err == nil {
		err = stopErr
	}
	if err != nil {
		return nil, err
	}
	e.judge()
	b, err := json.MarshalIndent(&e.result, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(o.Out, FileEndure+".json"), append(b, '\n'), 0o600); err != nil {
		return nil, err
	}
	if n := len(e.result.Problems); n > 0 {
		return &e.result, fmt.Errorf("%w: %s", ErrEndure, strings.Join(e.result.Problems, "; "))
	}
	return &e.result, nil
}

// FileEndure is the name of Endure's files in its output directory, without
// their endings.
const FileEndure = "endure"

// space is what a node's status says of its logs.
type space struct{ appended, moved, noRoom uint64 }

func (s space) amplification(since space) float64 {
	a, m := s.appended-since.appended, s.moved-since.moved
	if s.appended < since.appended || a == 0 {
		return 1 // another life
	}
	return float64(a+m) / float64(a)
}

// endurance is one such run.
type endurance struct {
	*runner
	o      EndureOptions
	out    io.Writer
	result EndureResult
	last   []uint64 // completed writes of the present generator, by node
	base   []space  // when the measurement, or the node's life, began
	now    []space
	serves []bool
	began  time.Time
	writes uint64 // of all nodes since the measurement began
}

func (e *endurance) run(ctx context.Context) error {
	r := e.runner
	if err := r.serve(ctx); err != nil {
		return err
	}
	if err := r.k.each(r.k.all(), func(i int) error { return e.generate(ctx, i) }); err != nil {
		return err
	}
	if err := e.warm(ctx); err != nil {
		return err
	}
	if err := e.measure(ctx); err != nil {
		return err
	}
	if err := r.stopLoad(ctx, r.k.all()); err != nil {
		return err
	}
	v, err := r.verify(ctx)
	e.result.Verified = v
	return err
}

// generate starts the overwriting at a node, and a client of the watched keys.
func (e *endurance) generate(ctx context.Context, i int) error {
	r := e.runner
	r.mu.Lock()
	r.life[i]++
	q := agent.Run{Workload: r.o.Workload, Keys: r.o.Keys, Node: i, Nodes: r.o.Nodes, Seed: uint64(r.life[i])<<16 | uint64(i), Window: e.o.Window,
		Acks: r.name(i, "acks"), History: r.name(i, "history"), Client: uint32(i*lives + r.life[i]), WatchKeys: watchKeys, WatchRate: r.o.WatchRate}
	r.acks, r.history = append(r.acks, q.Acks), append(r.history, q.History)
	r.mu.Unlock()
	e.last[i], e.serves[i] = 0, true
	return r.k.ask(ctx, i, http.MethodPost, "/bench/start", q, nil)
}

// warm waits until the cleaner works everywhere: until then everything is faster.
func (e *endurance) warm(ctx context.Context) error {
	e.say("overwriting until every log was written through once: the cleaner works then")
	for {
		through := 0
		for i := range e.o.Nodes {
			s, err := e.k.status(ctx, i)
			if err != nil {
				return err
			}
			if e.result.PoolBytes = s.PoolBytes; s.Space.AppendedBytes > s.PoolBytes*3/2 {
				through++
			}
		}
		if through == e.o.Nodes {
			return nil
		}
		if err := sleep(ctx, endureLook); err != nil {
			return err
		}
	}
}

// measure is the run itself: a look now and then, a line for every interval.
func (e *endurance) measure(ctx context.Context) error {
	live, err := EndureLive(&e.o)
	if err != nil {
		return err
	}
	e.result.Env, e.result.LiveBytes = e.env, live
	fmt.Fprintf(e.out, "%d nodes, %s, domain %s, model %s, %d records (%s of log) in pools of %s, %s, %d in flight per node, %d cores\n",
		e.o.Nodes, e.env.Transport(), e.env.Domain, e.env.Model, e.env.Keys, size(live), size(e.result.PoolBytes), e.spec.About(), e.o.Window, e.env.Cores)
	fmt.Fprintf(e.out, "%8s %12s %8s  %-42s %s\n", "until s", "writes/s", "of first", "free at least, % by node", "amplification by node")
	e.began = time.Now()
	e.now = make([]space, e.o.Nodes)
	if err := e.look(ctx, nil); err != nil {
		return err
	}
	copy(e.base, e.now)
	e.writes = 0
	killed := e.o.Kill == 0
	back := make(chan error, 1)
	away := false
	for begin := time.Duration(0); begin < e.o.Time; begin += e.o.Interval {
		x := EndureInterval{FreeMin: make([]float64, e.o.Nodes), Judged: !away}
		for i := range x.FreeMin {
			x.FreeMin[i] = 1
		}
		from, writes := time.Now(), e.writes
		for time.Since(e.began) < begin+e.o.Interval {
			if err := sleep(ctx, endureLook); err != nil {
				return err
			}
			if !killed && time.Since(e.began) >= e.o.Kill {
				killed, away, x.Judged = true, true, false
				x.What = fmt.Sprintf("node %d killed", e.o.Victim)
				e.serves[e.o.Victim] = false
				at := time.Now()
				e.k.kill(e.o.Victim)
				go func() { back <- e.comeBack(ctx, at) }()
			}
			select {
			case err := <-back:
				if err != nil {
					return err
				}
				if err := e.generate(ctx, e.o.Victim); err != nil {
					return err
				}
				away = false
				e.base[e.o.Victim] = space{}
				x.What = strings.TrimPrefix(x.What+fmt.Sprintf(", node %d serves again", e.o.Victim), ", ")
			default:
			}
			if err := e.look(ctx, &x); err != nil {
				return err
			}
		}
		x.Seconds, x.Writes = time.Since(e.began).Seconds(), float64(e.writes-writes)/time.Since(from).Seconds()
		for i := range e.o.Nodes {
			x.Amplification = append(x.Amplification, e.now[i].amplification(e.base[i]))
		}
		e.result.Intervals = append(e.result.Intervals, x)
		e.line(&x)
	}
	if away {
		return fmt.Errorf("%w: node %d is not back when the time is over", ErrEndure, e.o.Victim)
	}
	for i := range e.o.Nodes {
		e.result.NoRoom += e.now[i].noRoom
		e.result.Written += float64(e.now[i].appended-e.base[i].appended) / float64(e.result.PoolBytes) / float64(e.o.Nodes)
	}
	return nil
}

// comeBack starts the victim again after its time away, and waits.
func (e *endurance) comeBack(ctx context.Context, at time.Time) error {
	v := e.o.Victim
	<-e.k.procs[v].ended
	if err := sleep(ctx, time.Until(at.Add(e.o.Away))); err != nil {
		return err
	}
	_, s, err := e.bringBack(ctx, v, 5*time.Minute)
	if err != nil {
		return err
	}
	x := recoveryOf(s.LastRecovery)
	e.result.Away, e.result.Recovery = time.Since(at).Seconds(), &x
	return nil
}

// look asks every node that serves how it stands.
func (e *endurance) look(ctx context.Context, x *EndureInterval) error {
	totals, stats := make([]agent.Totals, e.o.Nodes), make([]space, e.o.Nodes)
	free := make([]float64, e.o.Nodes)
	err := e.k.each(e.k.all(), func(i int) error {
		if !e.serves[i] {
			return nil
		}
		s, err := e.k.status(ctx, i)
		if err != nil {
			return err
		}
		stats[i] = space{s.Space.AppendedBytes, s.Space.MovedBytes, s.Counters["no_room"]}
		free[i] = float64(s.Space.FreeBytes) / float64(s.PoolBytes)
		return e.k.ask(ctx, i, http.MethodGet, "/bench/totals", nil, &totals[i])
	})
	if err != nil {
		return err
	}
	for i := range e.o.Nodes {
		if !e.serves[i] {
			continue
		}
		if totals[i].Err != "" {
			return fmt.Errorf("generator at node %d: %s", i, totals[i].Err)
		}
		n := totals[i].Load.Writes
		e.writes += n - min(n, e.last[i])
		e.last[i], e.now[i] = n, stats[i]
		if x != nil {
			x.FreeMin[i] = min(x.FreeMin[i], free[i])
		}
	}
	return nil
}

func (e *endurance) line(x *EndureInterval) {
	var free, amp strings.Builder
	for i := range x.FreeMin {
		if x.FreeMin[i] == 1 { // away all the time
			fmt.Fprintf(&free, "%5s ", "-")
		} else {
			fmt.Fprintf(&free, "%5.1f ", 100*x.FreeMin[i])
		}
		fmt.Fprintf(&amp, "%.2f ", x.Amplification[i])
	}
	first := e.result.Intervals[0].Writes
	fmt.Fprintf(e.out, "%8.0f %12.0f %7.0f%%  %-42s %s %s\n", x.Seconds, x.Writes, 100*x.Writes/max(first, 1), free.String(), amp.String(), x.What)
}
