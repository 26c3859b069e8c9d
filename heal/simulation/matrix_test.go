package simulation

import (
	"flag"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"healkv/bench/matrix"
	"healkv/bench/tally"
	"healkv/dataplane/proto"
)

var (
	matrixShare = flag.Float64("sim.matrix", 0, "share of the fault matrix' cells that run; 0: a tenth, with -short fewer")
	matrixSeed  = flag.Uint64("sim.matrix-seed", 1, "draws the cells of a share, and everything random in all of them")
	matrixCell  = flag.String("sim.cell", "", "run only this cell, as \"row|model provider domain\"")
	matrixRow   = flag.String("sim.row", "", "run only this row, in all columns")
	matrixOut   = flag.String("sim.matrix-out", "", "folder for the table, simulator.md and .json")
)

// cell builds the script of one cell. Times are in leases from the moment at
// which everything is live and under load.
type cell struct {
	o      Options
	s      Script
	rng    *rand.Rand
	want   []string // marks that the run must show: the fault came
	length float64  // leases that the script goes on after the moment
	waits  bool     // in the end all wait for people and nothing serves: there is no bound
	// victim and three others, different.
	victim, other, third, fourth int
}

const (
	cellLease = 20 * time.Millisecond
	cellStart = 8 // leases before the first fault: the first view, and some load
)

func (c *cell) us(leases float64) int64 { return int64(leases * float64(cellLease.Microseconds())) }

func (c *cell) add(at float64, e Entry) {
	e.At = c.us(cellStart + at)
	c.s.Entries = append(c.s.Entries, e)
	if !slices.Contains(c.want, "fault: "+e.Do) {
		c.want = append(c.want, "fault: "+e.Do)
	}
	c.length = max(c.length, at+12)
}

func (c *cell) crash(at float64, n int, away float64) {
	c.add(at, Entry{Do: doCrash, Node: n, A: c.us(away)})
}

// atStep arms a death at the next step of that name, of whom: 0 the one who
// recovers, 1 its buddy, 2 node.
func (c *cell) atStep(at float64, step string, whom int64, node int, away float64) {
	i := slices.Index(steps, step)
	if i < 0 {
		panic(step)
	}
	c.add(at, Entry{Do: doAtStep, Node: node, A: c.us(away), B: int64(i), C: whom})
	c.want = append(c.want, "deaths at "+step+": "+[]string{"itself", "another", "another"}[whom])
	if whom == 1 {
		c.want = append(c.want, "deaths of a buddy")
	}
}

func (c *cell) all(f func(n int)) {
	for n := range c.o.Nodes {
		f(n)
	}
}

// both is data and control plane, of doCut and doIsolate.
const both = 3

// inCells is what the simulator does for a row.
var inCells = map[string]func(c *cell){
	"killed": func(c *cell) { c.crash(0, c.victim, matrix.Away) },
	"killed again": func(c *cell) {
		c.crash(0, c.victim, matrix.Away)
		c.crash(6, c.victim, matrix.Away)
	},
	"killed while it starts": func(c *cell) {
		c.crash(0, c.victim, 0.1)
		for i := range 4 {
			c.crash(0.15+0.15*float64(i), c.victim, 0.1)
		}
	},
	"two killed": func(c *cell) {
		c.crash(0, c.victim, matrix.Away)
		c.crash(0, c.other, matrix.Away)
	},
	"view change": func(c *cell) {
		c.crash(0, c.victim, matrix.Away)
		at := 1.6 // silence shows only then
		if c.o.OneHost {
			at = 0.12
		}
		c.crash(at, c.other, matrix.Away)
	},
	"majority lost": func(c *cell) {
		for _, n := range []int{c.victim, c.other, c.third} {
			c.crash(0, n, matrix.Away)
		}
	},
	"all killed": func(c *cell) { c.all(func(n int) { c.crash(0, n, matrix.Away) }) },
	"all lose power": func(c *cell) {
		c.add(0, Entry{Do: doPowerAll, A: c.us(matrix.Away), B: c.rng.Int64N(tornKinds)})
		c.want = append(c.want, "cold starts")
	},
	"killed in the cold start": func(c *cell) {
		c.all(func(n int) { c.crash(0, n, matrix.Away) })
		c.atStep(0, "cold_start", 0, 0, 1)
	},
	"forced cold start": func(c *cell) {
		c.add(0, Entry{Do: doLostAll, Node: c.victim, A: c.us(matrix.Away), B: c.rng.Int64N(3), C: c.rng.Int64N(2)})
		c.add(matrix.Away+1, Entry{Do: doForce, Node: c.other, A: c.us(8)})
		c.length += 4
		c.want = append(c.want, "orders taken", "cold starts forced", "lost members that come back", "promoted: full")
	},
	"reboot of all": func(c *cell) {
		c.add(0, Entry{Do: doRebootAll, A: c.us(matrix.Away)})
		c.add(matrix.Away+1, Entry{Do: doForce, Node: c.other, A: c.us(4)})
		c.want = append(c.want, "orders refused: the pool of this node is blank", "cold starts refused for a blank pool")
		c.waits = true
	},

	"isolated":    func(c *cell) { c.isolate(matrix.LongCut, c.victim) },
	"cut shortly": func(c *cell) { c.isolate(matrix.ShortCut, c.victim) },
	"one way": func(c *cell) {
		c.all(func(n int) {
			if n != c.victim {
				c.add(0, Entry{Do: doCut, Node: c.victim, Other: n, A: c.us(matrix.LongCut), B: both})
			}
		})
	},
	"one way between two": func(c *cell) {
		c.add(0, Entry{Do: doCut, Node: c.victim, Other: c.other, A: c.us(matrix.LongCut), B: both})
	},
	"two apart": func(c *cell) {
		c.add(0, Entry{Do: doCutBoth, Node: c.victim, Other: c.other, A: c.us(matrix.LongCut), B: both})
	},
	"two stay apart": func(c *cell) {
		c.add(0, Entry{Do: doCutBoth, Node: c.victim, Other: c.other, A: c.us(matrix.LastingCut), B: both})
		c.length += matrix.LastingCut - 4
	},
	"split": func(c *cell) { c.isolate(matrix.LongCut, c.victim, c.other) },
	"split without a majority": func(c *cell) {
		c.isolate(matrix.LongCut, c.victim, c.other)
		c.isolate(matrix.LongCut, c.third, c.fourth)
	},
	"slow link": func(c *cell) {
		c.add(0, Entry{Do: doDelay, Node: c.victim, Other: c.other, A: c.us(4), B: c.us(0.25)})
		c.add(0, Entry{Do: doDelay, Node: c.other, Other: c.victim, A: c.us(4), B: c.us(0.25)})
	},
	"damaged stream":          func(c *cell) { c.add(0, Entry{Do: doCorrupt, Node: c.victim, Other: c.other}) },
	"damaged control message": func(c *cell) { c.add(0, Entry{Do: doGarbage, Node: c.victim, Other: c.other}) },
	"refused connection": func(c *cell) {
		c.o.TrustRefused = true
		c.crash(0, c.victim, matrix.Away)
		c.want = append(c.want, "members dead by refused connections")
	},

	"paused shortly":  func(c *cell) { c.add(0, Entry{Do: doPause, Node: c.victim, A: c.us(matrix.ShortPause)}) },
	"paused for long": func(c *cell) { c.add(0, Entry{Do: doPause, Node: c.victim, A: c.us(matrix.LongPause)}) },
	"all paused": func(c *cell) {
		c.all(func(n int) { c.add(0, Entry{Do: doPause, Node: n, A: c.us(matrix.LongPause)}) })
	},
	"hung shards": func(c *cell) { c.add(0, Entry{Do: doHang, Node: c.victim, A: c.us(matrix.LongPause)}) },
	"slow node":   func(c *cell) { c.add(0, Entry{Do: doSlow, Node: c.victim, A: c.us(4), B: 30}) },
	"clock too fast": func(c *cell) {
		c.add(0, Entry{Do: doDrift, Node: c.victim, A: c.us(8), B: 30_000})
		c.add(1, Entry{Do: doJump, Node: c.victim, A: c.o.Drift.Microseconds() / 4})
	},

	"slow disk":       func(c *cell) { c.add(0, Entry{Do: doSlowDisk, Node: c.victim, A: c.us(4), B: c.us(0.5)}) },
	"failed flush":    func(c *cell) { c.add(0, Entry{Do: doFailDisk, Node: c.victim}) },
	"dies in a flush": func(c *cell) { c.add(0, Entry{Do: doInFlush, Node: c.victim, A: c.us(matrix.Away), B: 1}) },
	"reboot": func(c *cell) {
		c.add(0, Entry{Do: doPower, Node: c.victim, A: c.us(matrix.Away), B: c.rng.Int64N(tornKinds)})
	},
	"blank pool": func(c *cell) {
		c.add(0, Entry{Do: doDiskGone, Node: c.victim, A: c.us(matrix.Away)})
		c.want = append(c.want, "promoted: full")
	},
	"older pool": func(c *cell) {
		c.add(0, Entry{Do: doOldPool, Node: c.victim, A: c.us(4)})
		c.length += 6
		c.want = append(c.want, "promoted: full")
	},
	"older pool of an earlier life": func(c *cell) {
		c.add(0, Entry{Do: doOldPool, Node: c.victim, A: c.us(10)})
		c.crash(1, c.victim, matrix.Away)
		c.length += 10
		c.want = append(c.want, "promoted: full")
	},
	"older pool after all restarted": func(c *cell) {
		c.add(0, Entry{Do: doOldAll, Node: c.victim, A: c.us(4), B: c.rng.Int64N(2)})
		c.length += 12
		c.want = append(c.want, "older pools after all others restarted", "cold starts", "promoted: full")
		if g := c.o.Model.Gates(); g.Answer == proto.Durable && g.Read == proto.Durable {
			// Else it may be healed in full already for having missed the cold start.
			c.want = append(c.want, "asked for a full copy: the pool is older than what the members saw it flush")
		}
	},

	"foreign pool": func(c *cell) {
		c.add(0, Entry{Do: doForeign, Node: c.victim, Other: c.other, A: c.us(matrix.LongCut)})
		c.want = append(c.want, "foreign pools refused", "promoted: heal")
	},

	"acceptor's disk fails": func(c *cell) {
		c.add(0, Entry{Do: doAcceptor, Node: c.victim, A: c.us(6)})
		c.crash(0.1, c.other, matrix.Away)
	},
	"acceptor's disk is slow": func(c *cell) {
		c.add(0, Entry{Do: doAcceptor, Node: c.victim, A: c.us(8), B: c.us(0.25)})
		c.crash(0.1, c.other, matrix.Away)
	},

	"acceptor's file older": func(c *cell) {
		c.add(0, Entry{Do: doOldVotes, Node: c.victim, A: c.us(6)})
		c.crash(0.5, c.other, matrix.Away) // something is decided and written meanwhile
		c.length += 8
		c.want = append(c.want, "older acceptor files found", "acceptors that vote again after an older file")
	},
	"acceptor's file lost": func(c *cell) {
		c.add(0, Entry{Do: doOldVotes, Node: c.victim, B: votesAnew})
		c.length += 4
		c.want = append(c.want, "older acceptor files found", "acceptors that vote again after an older file")
	},
	"acceptor's file foreign": func(c *cell) {
		c.add(0, Entry{Do: doOldVotes, Node: c.victim, Other: c.other, A: c.us(matrix.LongCut), B: votesForeign})
		c.want = append(c.want, "foreign acceptor files refused", "promoted: heal")
	},

	"shadow that keeps dying": func(c *cell) {
		c.crash(0, c.victim, 0.5)
		for range 4 {
			c.atStep(-0.5, "admitted", 0, 0, 0.1)
		}
		c.length += 10
	},
	"full copy cut off": func(c *cell) {
		c.add(0, Entry{Do: doDiskGone, Node: c.victim, A: c.us(matrix.Away)})
		c.atStep(-0.5, "transfer_begun", 0, 0, 0.5)
		c.want = append(c.want, "promoted: full")
	},

	"first view with one missing": func(c *cell) {
		c.o.FirstWait = cellStart * cellLease / 2 // writes are asked for by then
		c.add(-cellStart, Entry{Do: doMissing, Node: c.victim, A: c.us(cellStart + matrix.Away)})
		c.want = append(c.want, "first views with nodes missing", "promoted: full")
	},

	"leave": func(c *cell) {
		c.add(0, Entry{Do: doLeave, Node: c.victim, A: c.us(matrix.Away)})
		c.want = append(c.want, "promoted: heal") // "left in order" need not be: the others may be quicker to remove it
	},
	"drain": func(c *cell) {
		c.add(0, Entry{Do: doDrain, Node: c.victim, A: c.us(matrix.Away)})
		c.want = append(c.want, "left in order", "drained", "promoted: heal")
	},
	"rolling restart": func(c *cell) {
		c.all(func(n int) { c.add(6*float64(n), Entry{Do: doLeave, Node: n, A: c.us(matrix.Away)}) })
	},
}

// notInCells is why a row is not in the simulator. Every row is
// in one of the two; these are counted, so that none is absent in silence.
var notInCells = map[string]string{
	"certificates rotated": "the nodes of the simulator meet without certificates: TestProcessCertificatesAreReplaced, and the same row among processes",
}

func (c *cell) isolate(leases float64, nodes ...int) {
	set := int64(0)
	for _, n := range nodes {
		set |= 1 << n
	}
	c.add(0, Entry{Do: doIsolate, A: c.us(leases), B: both, C: set})
}

func init() {
	for _, step := range matrix.Steps {
		for i, whose := range matrix.Whose {
			inCells[matrix.AtStep(step, whose)] = func(c *cell) {
				c.crash(0, c.victim, matrix.Away)
				c.atStep(-0.5, step, int64(i), c.third, matrix.Away)
			}
		}
	}
}

// newCell is the cluster and the script of a cell.
func newCell(p matrix.Place, seed uint64) *cell {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s|%v|%d", p.Row.Name, p.Column, seed)
	model, err := proto.ParseModel(p.Model)
	if err != nil {
		panic(err)
	}
	c := &cell{rng: rand.New(rand.NewPCG(h.Sum64(), 0x63656c6c)), length: 16}
	c.o = Options{Seed: h.Sum64() >> 1, Nodes: 5, Shards: 1, Model: model, Power: p.Domain == matrix.File, Beside: p.Domain == matrix.File, OneHost: p.Provider == matrix.SHM, Lease: cellLease,
		Drift: cellLease / 10, LogBytes: 2 << 20, Segment: 8 << 10, Ring: 32 << 10, Keys: 24, ValueMax: 200, Clients: 8, Spin: 1, TurnMax: 8, DelayMax: 10, CallMax: 60}
	who := c.rng.Perm(c.o.Nodes)
	c.victim, c.other, c.third, c.fourth = who[0], who[1], who[2], who[3]
	inCells[p.Row.Name](c)
	c.load()
	c.s.sort()
	c.o.Millis = int(c.us(cellStart+c.length-4) / 1000)
	return c
}

// load asks every node for a write every tenth of a lease, and for a read now
// and then.
func (c *cell) load() {
	const from = 5
	every := c.us(0.1)
	for at := c.us(from); at < c.us(cellStart+c.length); at += every {
		for n := range c.o.Nodes {
			e := Entry{At: at + c.rng.Int64N(every), Do: doPut, Node: n, Other: c.rng.IntN(c.o.Clients), A: c.rng.Int64N(int64(c.o.Keys)), B: 8 + c.rng.Int64N(int64(c.o.ValueMax)), C: c.us(40)}
			scope := int64(0)
			if c.o.Model == proto.Scope && c.rng.IntN(2) == 0 {
				scope = 1 + c.rng.Int64N(2)
			}
			e.B |= scope << 32
			c.s.Entries = append(c.s.Entries, e)
			switch x := c.rng.IntN(8); {
			case x < 2:
				e.Do, e.B, e.A = doGet, 0, c.rng.Int64N(int64(c.o.Keys))
			case x == 2 && c.o.Model == proto.Scope:
				e.Do, e.B = doPersist, (1+c.rng.Int64N(2))<<32
			default:
				continue
			}
			e.At += c.us(0.05)
			c.s.Entries = append(c.s.Entries, e)
		}
	}
}

// runCell carries one out and judges it.
func runCell(p matrix.Place, seed uint64, log slog.Handler) (out matrix.Cell, r Result) {
	out = matrix.Cell{Row: p.Row.Name, Column: p.Column.String()}
	c := newCell(p, seed)
	r, f := searched(c.o, &c.s, log)
	out.Stall = r.Stall
	if f != nil {
		out.Problem = f.Error()
		return out, r
	}
	last := int64(0)
	for i := range c.s.Entries {
		if e := &c.s.Entries[i]; !e.op() {
			last = max(last, e.At*1000)
		}
	}
	out.Healed = max(0, r.Down-time.Duration(last))
	for _, name := range c.want {
		if r.Marks.Count(name) == 0 {
			out.Problem = fmt.Sprintf("the fault did not come to it: no %q", name)
		}
	}
	if r.Waiting != c.waits {
		out.Problem = fmt.Sprintf("in the end all wait for people: %v, and %v was expected", r.Waiting, c.waits)
	}
	if bound := p.Bound(p.Column, cellLease); r.Stall > bound && !c.waits {
		where := "everywhere"
		if r.StallNode >= 0 {
			where = fmt.Sprintf("at node %d", r.StallNode)
		}
		out.Problem = fmt.Sprintf("writes stood still %s for %v until %v, at most %v; victim %d, other %d", where, r.Stall, r.StallAt, bound, c.victim, c.other)
	}
	out.OK = out.Problem == ""
	return out, r
}

// TestMatrixRowsAreKnown: every row is carried out or says why not, and nothing
// is left of a row that is no more.
func TestMatrixRowsAreKnown(t *testing.T) {
	for _, r := range matrix.Rows() {
		if inCells[r.Name] == nil && notInCells[r.Name] == "" {
			t.Errorf("%s: carried out %v, or not because %q", r.Name, inCells[r.Name] != nil, notInCells[r.Name])
		}
	}
	for name := range inCells {
		if _, ok := matrix.RowOf(name); !ok {
			t.Errorf("there is no row %q", name)
		}
	}
	for name := range notInCells {
		if _, ok := matrix.RowOf(name); !ok {
			t.Errorf("there is no row %q", name)
		}
	}
}

// TestMatrix carries the fault matrix out, or a share of it.
func TestMatrix(t *testing.T) {
	share := *matrixShare
	if share == 0 {
		share = 0.1
	}
	places := matrix.Pick(*matrixSeed, share)
	switch {
	case *matrixCell != "" || *matrixRow != "":
		row, column, one := strings.Cut(*matrixCell, "|")
		places = slices.DeleteFunc(matrix.Pick(0, 1), func(p matrix.Place) bool {
			return *matrixRow != "" && p.Row.Name != *matrixRow || one && (p.Row.Name != row || p.Column.String() != column)
		})
	case testing.Short() && *matrixShare == 0:
		some := places[:0]
		for i, p := range places {
			if i%9 == 0 {
				some = append(some, p)
			}
		}
		places = some
	}
	var (
		mu    sync.Mutex
		sum   Result
		cells []matrix.Cell
		next  atomic.Int64
		wait  sync.WaitGroup
		begun = time.Now()
		slow  time.Duration
	)
	for range min(*parallel, runtime.NumCPU()) {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(places) {
					return
				}
				p := places[i]
				if why := notInCells[p.Row.Name]; why != "" {
					mu.Lock()
					cells = append(cells, matrix.Cell{Row: p.Row.Name, Column: p.Column.String(), Skip: why})
					mu.Unlock()
					continue
				}
				at := time.Now()
				c, r := runCell(p, *matrixSeed, handler())
				mu.Lock()
				slow = max(slow, time.Since(at))
				cells = append(cells, c)
				sum.Add(&r)
				if c.Problem != "" {
					t.Errorf("%s, %v: %s\nrepeat: go test ./heal/simulation -run TestMatrix$ -sim.matrix-seed %d -sim.cell '%s|%v'", c.Row, p.Column, c.Problem, *matrixSeed, c.Row, p.Column)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if share >= 1 {
		for _, c := range matrix.Columns() {
			for _, r := range matrix.Rows() {
				if why := r.NA(c); why != "" {
					cells = append(cells, matrix.Cell{Row: r.Name, Column: c.String(), NA: why})
				}
			}
		}
	}
	order := map[string]int{}
	for _, c := range matrix.Columns() {
		for _, r := range matrix.Rows() {
			order[r.Name+c.String()] = len(order)
		}
	}
	slices.SortFunc(cells, func(a, b matrix.Cell) int { return order[a.Row+a.Column] - order[b.Row+b.Column] })
	n := matrix.Count(cells)
	t.Logf("%v in %v, the slowest in %v; %d operations, %d compared, %d faults", n, time.Since(begun).Round(time.Millisecond), slow.Round(time.Millisecond), sum.Ops, sum.Compared, sum.Faults)
	if n.OK == 0 {
		t.Error("no cell was carried out")
	}
	tally.Add("matrix", "simulator cells", n.OK)
	tally.Add("matrix", "operations compared", sum.Compared)
	tally.Add("matrix", "faults", sum.Faults)
	skipped := map[string]int{}
	for _, c := range cells {
		if c.Skip != "" {
			skipped[c.Row]++
		}
	}
	for _, r := range matrix.Rows() {
		if k := skipped[r.Name]; k > 0 {
			tally.Skipped("matrix", fmt.Sprintf("%d cells of %s", k, r.Name), notInCells[r.Name])
		}
	}
	if *matrixOut != "" {
		if err := matrix.Write(*matrixOut, "simulator", fmt.Sprintf("Whole nodes in the simulator, with leases of %v: `go test ./heal/simulation -run TestMatrix$ -sim.matrix %v -sim.matrix-seed %d`.",
			cellLease, share, *matrixSeed), cells); err != nil {
			t.Fatal(err)
		}
		t.Logf("the table is in %s/simulator.md", *matrixOut)
	}
}

// TestMatrixNotices: a cell fails when writes stand still for longer than they
// may, wherever that was, and when its fault never came.
func TestMatrixNotices(t *testing.T) {
	find := func(row string) matrix.Place {
		r, ok := matrix.RowOf(row)
		if !ok {
			t.Fatalf("there is no row %q", row)
		}
		return matrix.Place{Row: r, Column: matrix.Column{Model: "strict", Provider: matrix.TCP, Domain: matrix.File}}
	}
	noticed := 0
	for _, c := range []struct {
		row     string
		leases  float64
		problem string
	}{
		{"killed", 0.5, "stood still"},                     // of all: until its lease has lapsed
		{"one way between two", 1, "at node"},              // of the two only
		{"majority lost", matrix.Away - 0.5, "everywhere"}, // nobody may serve
		{"killed", 5, ""},
	} {
		p := find(c.row)
		p.Row.Bound = func(matrix.Column, time.Duration) time.Duration { return time.Duration(c.leases * float64(cellLease)) }
		got, _ := runCell(p, 1, nil)
		if got.OK != (c.problem == "") || !strings.Contains(got.Problem, c.problem) {
			t.Errorf("%s, at most %v leases: ok %v, %q", c.row, c.leases, got.OK, got.Problem)
		}
		noticed++
	}
	did := inCells["killed"]
	defer func() { inCells["killed"] = did }()
	inCells["killed"] = func(c *cell) { c.want = append(c.want, "fault: "+doCrash) }
	if got, _ := runCell(find("killed"), 1, nil); got.OK || !strings.Contains(got.Problem, "did not come") {
		t.Errorf("nothing was done: ok %v, %q", got.OK, got.Problem)
	}
	t.Logf("%d noticed", noticed)
}
