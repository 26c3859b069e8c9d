package demo

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"healkv/bench/matrix"
	"healkv/bench/record"
	"healkv/bench/report"
	"healkv/bench/tally"
)

// MatrixOptions of a run that carries the fault matrix out on real processes.
// Of the ChaosOptions those of time, faults, models, domains and kinds mean
// nothing here.
type MatrixOptions struct {
	ChaosOptions
	Share   float64  // of the cells that processes can carry out; 1 is all
	Columns int      // clusters that are made for a share below 1
	Rows    []string // nil: all
}

// matrixNodes are as many as in the simulator: two may go.
const matrixNodes = 5

// processSlack is what a cell's bound gets for what the simulator has not:
// processes that start and end, disks that take their time, and a machine that
// all nodes, generators and the one who hurts them share.
const processSlack = 5 * time.Second

// can says whether a row is carried out on processes.
func can(r matrix.Row) bool { _, ok := inProcesses[r.Name]; return ok }

type injection = func(x *chaos, ctx context.Context, f *ChaosFault) (bool, error)

// inProcesses is what is done to processes for a row.
var inProcesses = map[string]injection{
	"killed":                   (*chaos).killOne,
	"killed again":             (*chaos).killAgain,
	"killed while it starts":   (*chaos).killStarting,
	"two killed":               (*chaos).killTwo,
	"view change":              (*chaos).killInViewChange,
	"majority lost":            (*chaos).loseMajority,
	"all killed":               (*chaos).killAll,
	"killed in the cold start": (*chaos).killInColdStart,

	"paused shortly":  (*chaos).pauseShort,
	"paused for long": (*chaos).pauseLong,
	"all paused":      (*chaos).pauseAll,
	"slow node":       (*chaos).slowOne,

	"blank pool":                     (*chaos).blankPool,
	"older pool of an earlier life":  (*chaos).oldPool,
	"older pool":                     olderPool(false),
	"older pool after all restarted": olderPool(true),
	"foreign pool":                   (*chaos).foreignPool,

	"acceptor's file older":   (*chaos).olderAcceptor,
	"acceptor's file lost":    (*chaos).lostAcceptor,
	"acceptor's file foreign": (*chaos).foreignAcceptor,

	"forced cold start":  (*chaos).forceColdStart,
	"refused connection": (*chaos).refusedConnection,

	"shadow that keeps dying": (*chaos).killShadow,
	"full copy cut off":       (*chaos).killTransfer,
	firstView:                 nil, // as the cluster begins: chaos.begins
	"leave":                   (*chaos).terminate,
	"drain":                   (*chaos).drained,
	"certificates rotated":    (*chaos).certificatesRotated,
	"rolling restart":         (*chaos).rolling,
}

func init() {
	for _, step := range matrix.Steps {
		for _, whose := range matrix.Whose {
			inProcesses[matrix.AtStep(step, whose)] = killAtStep(step, whose)
		}
	}
}

const (
	byRoot = "needs root and hosts of their own: make netns carries it out"
	byLab  = "no process can take its machine's power away: make lab-test does, in a virtual machine"
	byDisk = "no disk here fails or slows down at will: the simulator carries it out"
	byWire = "nobody can damage what goes between two processes: the simulator carries it out"
)

// notInProcesses is why a row is not carried out on processes. Every row is in
// one of the two.
var notInProcesses = map[string]string{
	"isolated": byRoot, "cut shortly": byRoot, "one way": byRoot, "one way between two": byRoot, "two apart": byRoot, "two stay apart": byRoot,
	"split": byRoot, "split without a majority": byRoot, "slow link": byRoot,
	"all lose power": byLab, "reboot": byLab, "reboot of all": byLab, "dies in a flush": byLab,
	"slow disk": byDisk, "failed flush": byDisk, "acceptor's disk fails": byDisk, "acceptor's disk is slow": byDisk,
	"damaged stream": byWire, "damaged control message": byWire,
	"hung shards":    "the shards of a process cannot be stopped alone from outside: the simulator carries it out",
	"clock too fast": "the clock of one process cannot be moved: the simulator carries it out",
}

// Matrix carries the fault matrix out: a cluster for each column, its rows one
// after the other, everything judged once for each cluster. It writes
// DIR/processes.md and .json. The error is ErrChaos if a cell failed.
func Matrix(ctx context.Context, o MatrixOptions, out io.Writer) ([]matrix.Cell, error) {
	o.Models, o.Domains, o.NodesMin, o.NodesMax, o.Kinds = []string{"strict"}, []string{"memory"}, matrixNodes, matrixNodes, nil
	o.Time = max(o.Time, time.Second)
	if err := o.validate(); err != nil {
		return nil, err
	}
	for _, name := range o.Rows {
		if _, ok := matrix.RowOf(name); !ok {
			return nil, fmt.Errorf("%w: there is no row %q in the fault matrix", errChaosOptions, name)
		}
		if why := notInProcesses[name]; why != "" {
			return nil, fmt.Errorf("%w: row %q is not carried out on processes: %s", errChaosOptions, name, why)
		}
	}
	if !(o.Share > 0 && o.Share <= 1) || o.Columns < 1 {
		return nil, fmt.Errorf("%w: a share of %v in %d columns, want above 0 to 1, and at least one column", errChaosOptions, o.Share, o.Columns)
	}
	if err := os.MkdirAll(o.Out, 0o700); err != nil {
		return nil, err
	}
	sweepDisks(o.Say)
	places := matrix.PickIn(o.Seed, o.Share, o.Columns, func(r matrix.Row) bool {
		return can(r) && (o.Rows == nil || slices.Contains(o.Rows, r.Name))
	})
	fmt.Fprintf(out, "seed %d: %d cells, about %d min (more beside other work)\n", o.Seed, len(places), int(estimate(places).Minutes()+1))
	began := time.Now()
	var cells []matrix.Cell
	for n := 0; len(places) > 0; n++ {
		if err := ctx.Err(); err != nil {
			return cells, fmt.Errorf("%w: stopped before %v: %w", ErrChaos, places[0].Column, err)
		}
		k := 1
		for k < len(places) && places[k].Column == places[0].Column {
			k++
		}
		cells = append(cells, matrixColumn(ctx, &o, n, places[:k], out)...)
		places = places[k:]
		if !o.KeepGoing && matrix.Count(cells).Failed > 0 {
			break
		}
	}
	done := matrix.Count(cells)
	rest := absent(o.Rows)
	cells = append(cells, rest...)
	about := fmt.Sprintf("Clusters of %d processes on one host, `node chaos --matrix --share %v --columns %d --seed %d`, commit %s, %d cells in %v.",
		matrixNodes, o.Share, o.Columns, o.Seed, o.Commit, len(cells)-len(rest), time.Since(began).Round(time.Second))
	if err := matrix.Write(o.Out, "processes", about, cells); err != nil {
		return cells, err
	}
	all := matrix.Count(cells)
	for _, r := range matrix.Rows() {
		if why := notInProcesses[r.Name]; why != "" && o.Rows == nil {
			tally.Skipped("matrix", "processes: "+r.Name, why)
		}
	}
	fmt.Fprintf(out, "%v in %.0f s; the table is %s\n", all, time.Since(began).Seconds(), filepath.Join(o.Out, "processes.md"))
	switch {
	case all.Failed > 0:
		return cells, fmt.Errorf("%w: %d of %d cells; seed %d; what is left of their clusters is in %s", ErrChaos, all.Failed, all.Failed+done.OK, o.Seed, o.Out)
	case done.OK == 0:
		return cells, fmt.Errorf("%w: not one cell was carried out", ErrChaos)
	}
	return cells, nil
}

// absent are the cells that no run on processes has, with their reasons.
func absent(only []string) (cells []matrix.Cell) {
	if only != nil {
		return nil
	}
	for _, c := range matrix.Columns() {
		for _, r := range matrix.Rows() {
			if why := r.NA(c); why != "" {
				cells = append(cells, matrix.Cell{Row: r.Name, Column: c.String(), NA: why})
			} else if why := notInProcesses[r.Name]; why != "" {
				cells = append(cells, matrix.Cell{Row: r.Name, Column: c.String(), Skip: why})
			}
		}
	}
	return cells
}

// estimate is how long cells take, by what they took on two busy cores.
func estimate(places []matrix.Place) (d time.Duration) {
	for i, p := range places {
		if i == 0 || p.Column != places[i-1].Column { // a cluster, its load and its judge
			d += 7 * time.Second
		}
		if d += 2800 * time.Millisecond; p.Provider == matrix.TCP { // leases run out there
			d += 600 * time.Millisecond
		}
	}
	return d
}

// order puts the row that is over when a cluster has begun first, and the one
// after which its nodes have another setting last.
func order(p matrix.Place) int {
	switch p.Row.Name {
	case firstView:
		return 0
	case "refused connection":
		return 2
	}
	return 1
}

// matrixColumn makes the cluster of a column and carries its rows out.
func matrixColumn(ctx context.Context, o *MatrixOptions, number int, places []matrix.Place, out io.Writer) (cells []matrix.Cell) {
	col := places[0].Column
	places = slices.Clone(places)
	slices.SortStableFunc(places, func(a, b matrix.Place) int { return cmp.Compare(order(a), order(b)) })
	rng := rand.New(rand.NewPCG(o.Seed, uint64(number)))
	r := &ChaosRound{Number: number, Model: col.Model, Domain: col.Domain, Provider: col.Provider, Nodes: matrixNodes, Seed: rng.Uint64(), OK: true,
		DataTLS: col.Provider == matrix.TCP && col.Domain == matrix.File, // in one half of them
		ByKind:  map[string]int{}, Missed: map[string]int{}, Recoveries: map[string]int{}}
	began := time.Now()
	dir := filepath.Join(o.Out, fmt.Sprintf("column-%d", number))
	plan := &planner{o: &o.ChaosOptions, rng: rng, all: map[string]int{}, pair: map[string]map[string]int{}}
	x, err := newChaos(&o.ChaosOptions, plan, r, dir)
	if err != nil {
		r.problem("making the cluster: %v", err)
	} else {
		m := &matrixRun{x: x}
		if err := x.underLoad(ctx, m.first(places), func() error { return m.rows(ctx, places) }); err != nil {
			r.problem("%v", err)
			x.evidence()
		}
		cells = m.cells
		if err := m.measure(); err != nil {
			r.problem("%v", err)
		}
		x.end(dir)
	}
	if r.OK {
		if err := os.RemoveAll(dir); err != nil {
			r.problem("cleaning up: %v", err)
		}
	}
	for _, p := range places[len(cells):] {
		cells = append(cells, matrix.Cell{Row: p.Row.Name, Column: col.String(), Problem: "the cluster did not come so far: " + strings.Join(r.Problems, "; ")})
	}
	for i := range cells {
		c := &cells[i]
		if !r.OK && c.Problem == "" && c.Skip == "" { // which of them it was, nobody can tell
			c.Problem = strings.Join(r.Problems, "; ")
		}
		c.OK = c.Problem == "" && c.Skip == ""
		switch {
		case c.OK:
			o.Say("%v: %s: stall %v, healed %v", col, c.Row, c.Stall.Round(time.Millisecond), c.Healed.Round(time.Millisecond))
		case c.Problem != "":
			fmt.Fprintf(out, "FAILED: %v: %s: %.2000s\n", col, c.Row, c.Problem)
		}
	}
	fmt.Fprintf(out, "%-28v %v, %.1f s, %d operations, %d in histories\n", col, matrix.Count(cells), time.Since(began).Seconds(), r.Operations, r.HistoryOps)
	return cells
}

// matrixRun is the cells of one cluster as they come.
type matrixRun struct {
	x      *chaos
	cells  []matrix.Cell
	bounds []time.Duration
	spans  [][2]int64 // from the fault until all nodes are live; CLOCK_MONOTONIC ns
	begun  *matrix.Cell
}

// first is the cell that is over when the cluster has begun; nil: there is none.
func (m *matrixRun) first(places []matrix.Place) *matrix.Cell {
	for _, p := range places {
		if p.Row.Name == firstView {
			m.begun = &matrix.Cell{Row: firstView, Column: p.Column.String()}
		}
	}
	return m.begun
}

func (m *matrixRun) rows(ctx context.Context, places []matrix.Place) error {
	if err := m.x.calm(ctx, nil); err != nil {
		return err
	}
	// Writes before the first fault, to measure from.
	if err := sleep(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	for _, p := range places {
		if err := m.row(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.Row.Name, err)
		}
	}
	return sleep(ctx, time.Second)
}

// row carries one out, again if it came too late.
func (m *matrixRun) row(ctx context.Context, p matrix.Place) error {
	x := m.x
	if p.Row.Name == firstView {
		m.take(p, *m.begun, [2]int64{})
		return nil
	}
	c := matrix.Cell{Row: p.Row.Name, Column: p.Column.String()}
	span, hit, began := [2]int64{}, false, time.Now()
	for try := 0; !hit && try < attempts; try++ {
		if err := x.pause(ctx, 300*time.Millisecond); err != nil {
			return err
		}
		x.round.Sequence = append(x.round.Sequence, ChaosFault{AtS: time.Since(x.started).Seconds(), Kind: p.Row.Name})
		f := &x.round.Sequence[len(x.round.Sequence)-1]
		x.measureFromHere()
		var err error
		if hit, err = inProcesses[p.Row.Name](x, ctx, f); err == nil {
			err = x.calm(ctx, f)
		}
		if err == nil && hit {
			err = x.cameBack(ctx, f)
		}
		span = [2]int64{x.from, now()}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Detail, err)
		}
		c.Healed = time.Duration(f.HealedMS) * time.Millisecond
	}
	if !hit {
		c.Skip = fmt.Sprintf("the step was over every time of %d before the fault could come to it", attempts)
	}
	c.Took = time.Since(began)
	m.take(p, c, span)
	return nil
}

func (m *matrixRun) take(p matrix.Place, c matrix.Cell, span [2]int64) {
	if c.Skip == "" {
		m.x.round.ByKind[p.Row.Name]++
	}
	m.cells, m.spans, m.bounds = append(m.cells, c), append(m.spans, span), append(m.bounds, p.Bound(p.Column, m.x.lease())+processSlack)
}

// measureFromHere leaves what a row had to do before its fault out of the stall.
func (x *chaos) measureFromHere() { x.from = now() }

// measure takes the stalls from the windows of all nodes.
func (m *matrixRun) measure() error {
	nodes, err := m.x.writes()
	if err != nil {
		return err
	}
	for i := range m.cells {
		c := &m.cells[i]
		if c.Skip != "" {
			continue
		}
		if m.spans[i][1] != 0 { // else it was measured already
			gap, _ := report.WriteGap(nodes, m.spans[i][0], m.spans[i][1])
			c.Stall = time.Duration(gap)
		}
		if c.Stall > m.bounds[i] {
			c.Problem = fmt.Sprintf("no write was acknowledged anywhere for %v, at most %v", c.Stall, m.bounds[i])
		}
	}
	return nil
}

// writes are the traces of all nodes so far.
func (r *runner) writes() (nodes []report.NodeTrace, err error) {
	for i := range r.o.Nodes {
		var lives [][]record.Window
		for _, path := range r.windows[i] {
			w, err := record.ReadWindows(path)
			if err != nil {
				return nil, err
			}
			lives = append(lives, w.Windows)
		}
		nodes = append(nodes, report.NodeTrace{Node: i, Windows: report.JoinWindows(lives...)})
	}
	return nodes, nil
}
