package damage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"healkv"
	"healkv/pmem"
)

// Outcome is what became of a cell.
type Outcome string

const (
	Exact   Outcome = "exact"   // everything read as it was written
	Refused Outcome = "refused" // no good copy was left, and nobody guessed
	Wrong   Outcome = "wrong"   // another value, an older one, or none: a failure
	Lost    Outcome = "lost"    // refused although there was a good copy, or no service: a failure
	Absent  Outcome = "absent"  // there is no such structure to hurt, as checkpoints in the memory domain: nothing was shown
)

// OK says whether the outcome is none of the failures.
func (o Outcome) OK() bool { return o == Exact || o == Refused }

// Result is a cell with what became of it.
type Result struct {
	Cell      string        `json:"cell"`
	What      string        `json:"what"`
	How       string        `json:"how"`
	Subset    uint8         `json:"subset"`
	Running   bool          `json:"running,omitempty"` // hurt while the nodes ran
	Outcome   Outcome       `json:"outcome"`
	Why       string        `json:"why,omitempty"`
	Reads     int           `json:"reads"`
	Refusals  int           `json:"refusals,omitempty"`
	Discarded int           `json:"discarded,omitempty"` // pools that did not open and were formatted anew
	Took      time.Duration `json:"took_ns"`
}

// Options of a run.
type Options struct {
	Cells []Cell
	Seed  uint64
	// Dir is where the pools lie; "": checkpoints are hurt in the system's place
	// for temporary files, since only a domain that survives a power loss has
	// any, and everything else on a tmpfs, where no medium is waited for.
	Dir    string
	Domain pmem.Domain // DomainAuto: what is best there
	// Running hurts records only while the nodes run, never while they are stopped.
	Running bool
	// Parallel is how many clusters there are at a time; 0: two for each
	// processor, since a cell is mostly waiting.
	Parallel int
	Say      func(format string, args ...any) // progress; nil: none
	Log      *slog.Logger                     // of the nodes; nil: none
}

const (
	keysMore = 24 // keys beside the one that is hurt
	// perCluster cells use one cluster; then it is made anew, so that pools do
	// not fill up and a cell can be repeated without many before it.
	perCluster = 20
	patience   = time.Minute // of a busy machine
	// triesLeast are made all the same: a process that stood still has spent its
	// patience without trying.
	triesLeast = 50
)

// Run carries cells out. The error is about the run, not about cells.
func Run(ctx context.Context, o Options) (results []Result, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	if o.Parallel == 0 {
		o.Parallel = 2 * runtime.GOMAXPROCS(0)
	}
	all := make([]*Result, len(o.Cells))
	parts := (len(o.Cells) + perCluster - 1) / perCluster
	var (
		wait sync.WaitGroup
		next atomic.Int64
		mu   sync.Mutex
		done int
	)
	say := func(cell Cell, r *Result) {
		mu.Lock()
		defer mu.Unlock()
		done++
		o.Say("%d of %d: %s: %s %s(%d reads, %d refusals, %v)", done, len(o.Cells), cell, r.Outcome, why(r.Why), r.Reads, r.Refusals, r.Took.Round(time.Millisecond))
	}
	for range min(o.Parallel, parts) {
		wait.Go(func() {
			for {
				first := (int(next.Add(1)) - 1) * perCluster
				if first >= len(o.Cells) {
					return
				}
				if failed := o.part(ctx, first, all, say); failed != nil {
					mu.Lock()
					err = errors.Join(err, failed)
					mu.Unlock()
					return
				}
			}
		})
	}
	wait.Wait()
	for _, r := range all {
		if r != nil {
			results = append(results, *r)
		}
	}
	return results, err
}

// part carries out the cells of one cluster: from first on.
func (o *Options) part(ctx context.Context, first int, results []*Result, say func(Cell, *Result)) (err error) {
	var c *cluster
	defer func() {
		if c != nil {
			c.remove()
		}
	}()
	for n := first; n < min(first+perCluster, len(o.Cells)); n++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if c == nil {
			if c, err = newCluster(o.dirOf(o.Cells[n].What), o.Domain, o.Log); err != nil {
				return err
			}
		}
		cell, began := o.Cells[n], time.Now()
		t := &trial{c: c, cell: cell, n: n, running: o.Running, rng: rand.New(rand.NewPCG(o.Seed, uint64(cell.key()))), want: map[string][]byte{}}
		r := t.run()
		r.Took = time.Since(began)
		results[n] = &r
		say(cell, &r)
		// What is left of damage to one structure is not to meet damage to another.
		if !r.Outcome.OK() || t.spoiled || n+1 < len(o.Cells) && o.Cells[n+1].What != cell.What {
			c.remove()
			c = nil
		}
	}
	return nil
}

func (o *Options) dirOf(w What) string {
	switch {
	case o.Dir != "":
		return o.Dir
	case w == Checkpoint:
		return os.TempDir()
	}
	return tmpfs
}

func why(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ") "
}

// trial is one cell under way.
type trial struct {
	c       *cluster
	cell    Cell
	n       int
	rng     *rand.Rand
	want    map[string][]byte
	keys    [][]byte
	r       Result
	running bool
	spoiled bool // the cluster is not to be used again
}

// errWrong is an answer that nobody may give.
var errWrong = errors.New("wrong answer")

func (t *trial) run() Result {
	t.r = Result{Cell: t.cell.String(), What: t.cell.What.String(), How: t.cell.How.String(), Subset: t.cell.Subset}
	err := t.carryOut()
	switch {
	case errors.Is(err, errNoPlace):
		t.r.Outcome, t.r.Why = Absent, err.Error()
	case errors.Is(err, errWrong):
		t.r.Outcome, t.r.Why = Wrong, err.Error()
	case err != nil:
		t.r.Outcome, t.r.Why = Lost, err.Error()
	case t.r.Refusals > 0 && t.cell.goodCopy():
		t.r.Outcome, t.r.Why = Lost, "refused although there was a good copy"
	case t.r.Refusals > 0:
		t.r.Outcome = Refused
	default:
		t.r.Outcome = Exact
	}
	return t.r
}

func (t *trial) carryOut() error {
	c := t.c
	old := make([][]byte, Nodes)
	oldOf := func(i int, path string) []byte {
		f, err := c.files(i)
		if err != nil {
			return nil
		}
		b, _ := os.ReadFile(map[What]string{IndexPage: f.index, Checkpoint: f.checkpoint}[t.cell.What])
		if t.cell.What == Record || t.cell.What == SegmentHeader || t.cell.What == Superblock {
			b, _ = os.ReadFile(f.pool)
		}
		return b
	}
	if err := t.write("old"); err != nil { // what an older copy has
		return err
	}
	if t.cell.What == Checkpoint {
		if err := t.awaitCheckpoints(); err != nil {
			return err
		}
	}
	if t.cell.How == Stale || t.cell.How == Torn {
		for i := range Nodes {
			if t.cell.has(i) {
				old[i] = oldOf(i, "")
			}
		}
	}
	if err := t.write("new"); err != nil {
		return err
	}
	if t.cell.What == Checkpoint {
		if err := t.awaitCheckpoints(); err != nil {
			return err
		}
	}
	t.r.Running = t.cell.What == Record && (t.rng.IntN(2) == 0 || t.running)
	if !t.r.Running {
		c.stop(t.cell.Subset)
	}
	for i := range Nodes {
		if !t.cell.has(i) {
			continue
		}
		at, from, err := c.find(t.cell, i, t.keys[0], t.keys[1], t.rng)
		if err == nil {
			err = hurt(t.cell.How, at, from, old[i], t.rng)
		}
		if err != nil {
			t.spoiled = true
			return err
		}
		if t.cell.What == Checkpoint { // it counts where the index is gone
			if f, err := c.files(i); err == nil && f.index != "" {
				_ = os.Remove(f.index)
			}
		}
	}
	if !t.r.Running {
		if err := t.restart(); err != nil {
			t.spoiled = true
			return err
		}
	}
	if err := t.readAll(); err != nil {
		t.spoiled = true
		return err
	}
	return t.cure()
}

// restart opens the stopped nodes. A pool that does not open is treated as its
// error says.
func (t *trial) restart() error {
	for i := range Nodes {
		if !t.cell.has(i) {
			continue
		}
		err := t.c.open(i)
		if err == nil {
			continue
		}
		if !errors.Is(err, pmem.ErrDamaged) && !errors.Is(err, pmem.ErrSuperblock) && !errors.Is(err, pmem.ErrForeign) {
			return err
		}
		t.r.Discarded++
		if t.r.Discarded == Nodes {
			return fmt.Errorf("no pool opens any more: %w", err)
		}
		if err := t.c.discard(i); err != nil {
			return err
		}
		if err := t.c.open(i); err != nil {
			return err
		}
	}
	return t.c.ready(patience, all)
}

// write gives every key a new value, through nodes in turn.
func (t *trial) write(what string) error {
	for i := range keysMore + 1 {
		key := fmt.Appendf(nil, "cell-%05d-key-%03d", t.n, i)
		value := bytes.Repeat(fmt.Appendf(nil, "%s %s %d.", what, key, t.rng.Uint32()), 1+t.rng.IntN(6))
		if what == "old" {
			t.keys = append(t.keys, key)
		}
		if err := t.put(i%Nodes, key, value); err != nil {
			return fmt.Errorf("writing before anything was hurt: %w", err)
		}
		t.want[string(key)] = value
	}
	return nil
}

// awaitCheckpoints writes on until every node whose checkpoint is to be hurt has
// taken another one.
func (t *trial) awaitCheckpoints() error {
	taken := func(i int) uint64 { return t.c.nodes[i].Status().Counters["checkpoints"] }
	for i := range Nodes {
		if !t.cell.has(i) {
			continue
		}
		f, err := t.c.files(i)
		if err != nil {
			return err
		}
		if t.c.cfgs[i].Domain == pmem.DomainMemory {
			return fmt.Errorf("%w: no checkpoint in the memory domain", errNoPlace)
		}
		before := taken(i)
		for until := time.Now().Add(2 * patience); f.checkpoint == "" || taken(i) == before; {
			if time.Now().After(until) {
				return fmt.Errorf("node %d takes no checkpoint", i)
			}
			key := fmt.Appendf(nil, "cell-%05d-more", t.n)
			if err := t.put(i, key, bytes.Repeat([]byte("more"), 8<<10)); err != nil {
				return err
			}
			if f, err = t.c.files(i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *trial) put(node int, key, value []byte) (err error) {
	s := t.c.nodes[node].NewSession()
	defer s.Close()
	for tries, until := 1, time.Now().Add(patience); ; tries++ {
		_, err = s.Put(key, value, 0)
		if err == nil || tries >= triesLeast && time.Now().After(until) {
			return err
		}
		time.Sleep(time.Millisecond) // a view that changes
	}
}

// readAll reads every key through every node, some of them more often, as a
// read verifies what it returns in some cases only if it were so built.
func (t *trial) readAll() error {
	for round := range 3 {
		for node := range Nodes {
			s := t.c.nodes[node].NewSession()
			for _, key := range t.keys {
				if err := t.read(s, node, key); err != nil {
					s.Close()
					return fmt.Errorf("round %d: %w", round, err)
				}
			}
			s.Close()
		}
	}
	return nil
}

func (t *trial) read(s *healkv.Session, node int, key []byte) error {
	for tries, until := 1, time.Now().Add(patience); ; tries++ {
		value, _, err := s.Get(key, nil)
		switch {
		case err == nil && bytes.Equal(value, t.want[string(key)]):
			t.r.Reads++
			return nil
		case err == nil:
			return fmt.Errorf("%w: node %d answers %.40q for %s, want %.40q", errWrong, node, value, key, t.want[string(key)])
		case errors.Is(err, healkv.ErrNotFound):
			return fmt.Errorf("%w: node %d says that %s was never written", errWrong, node, key)
		case errors.Is(err, healkv.ErrDamaged) && !t.cell.goodCopy():
			t.r.Refusals++
			return nil
		case tries >= triesLeast && time.Now().After(until):
			if errors.Is(err, healkv.ErrDamaged) {
				t.r.Refusals++
			}
			return fmt.Errorf("node %d, %s: %w", node, key, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// cure writes the keys anew; then they must be read everywhere.
func (t *trial) cure() error {
	refused := t.r.Refusals
	if refused == 0 {
		return nil
	}
	t.spoiled = true // for a while: the other nodes give up within seconds
	if err := t.write("cure"); err != nil {
		return fmt.Errorf("a new write does not cure: %w", err)
	}
	if err := t.readAll(); err != nil {
		return fmt.Errorf("after a new write: %w", err)
	}
	// Records whose key nobody knows stay, and are given up by order.
	if _, err := t.c.nodes[t.rng.IntN(Nodes)].AcceptLoss(); err != nil {
		return err
	}
	if t.r.Refusals > refused {
		return fmt.Errorf("%d reads refused after a new write", t.r.Refusals-refused)
	}
	return nil
}
