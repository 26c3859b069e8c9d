package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"healkv/bench/record"
)

const (
	msec = int64(1_000_000)
	sec  = 1000 * msec
)

// shape of a synthetic run. Everything follows from it, so tests know what the
// report must say.
type shape struct {
	name               string
	nodes, victim      int
	opsPerWindow       int   // of one node
	steady, away, tail int64 // ns
	view               int64 // kill to last view installed
	stall              int64 // kill to the next write
	recovery           int64
	dip                float64 // part of the throughput the live nodes lose while it recovers
	bytes, missed      uint64
	start              int64
}

// synthetic makes the traces of a run, through files as real ones come.
func synthetic(t testing.TB, s shape) Run {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, uint64(len(s.name))))
	m := Marks{Begin: s.start}
	m.Killed = m.Begin + s.steady
	m.ViewInstalled = m.Killed + s.view
	m.Restarted = m.Killed + s.away
	m.Serving = m.Restarted + s.recovery
	m.End = m.Serving + s.tail
	run := Run{Name: s.name, Victim: s.victim, Marks: m, WallOffset: 1_700_000_000 * sec, Recovery: Recovery{
		Kind: s.name, Buddy: (s.victim + 1) % s.nodes, Bytes: s.bytes, Records: s.bytes / 220, Applied: s.bytes / 230, RangeBytes: s.bytes * 3 / 2,
		StoreBytes: 112_400_000, MissedBytes: s.missed, Leftovers: 17,
		ToAdmitted: s.recovery * 3 / 10, ToInstalled: s.recovery * 4 / 10, Transfer: s.recovery / 2, Finish: s.recovery / 10, Total: s.recovery * 95 / 100,
	}}
	dir := t.TempDir()
	for n := range s.nodes {
		var lives [][]record.Window
		for life := range 2 {
			path := filepath.Join(dir, fmt.Sprintf("%d-%d", n, life))
			w, err := record.CreateWindows(path, record.WindowHeader{Node: n})
			if err != nil {
				t.Fatal(err)
			}
			s.trace(t, w, rng, m, n, life)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			f, err := record.ReadWindows(path)
			if err != nil {
				t.Fatal(err)
			}
			lives = append(lives, f.Windows)
		}
		run.Nodes = append(run.Nodes, NodeTrace{Node: n, Windows: JoinWindows(lives...)})
	}
	run.Events = s.events(m)
	return run
}

func (s shape) trace(t testing.TB, w *record.WindowWriter, rng *rand.Rand, m Marks, n, life int) {
	var reads, writes record.Hist
	lastWrite := int64(0)
	for i := firstWindow(m.Begin); i < firstWindow(m.End); i++ {
		at := i * record.WindowNanos
		victim := n == s.victim
		if victim && (life == 0) != (at < m.Killed) || victim && at >= m.Killed && at < m.Serving || !victim && life == 1 {
			continue
		}
		ops := float64(s.opsPerWindow) * (1 + 0.04*rng.NormFloat64())
		slow := 1.0
		if at >= m.Restarted && at < m.Serving {
			ops *= 1 - s.dip
			slow = 1 + 6*s.dip
		}
		stalled := at+record.WindowNanos > m.Killed && at+record.WindowNanos <= m.Killed+s.stall
		x := record.Window{Index: i, FirstWrite: -1, LastWrite: -1}
		for range int(ops * 0.88) {
			reads.Record(int64(9_000 * slow * math.Exp(0.5*rng.NormFloat64())))
		}
		if stalled {
			x.Errors[record.ErrTryAgain] = uint32(rng.IntN(40))
			x.Backlog = uint32(rng.IntN(90))
		} else {
			first := true
			for k := range int(ops * 0.12) {
				lat := 160_000 * slow * math.Exp(0.45*rng.NormFloat64())
				if at < m.Killed+s.stall+record.WindowNanos && at >= m.Killed && first {
					lat += rng.Float64() * float64(s.stall) * float64(k%9) / 9
				}
				writes.Record(int64(lat))
			}
			off := int32(0)
			if at < m.Killed+s.stall+record.WindowNanos && at >= m.Killed { // the first write after the stall, to the ns
				off = int32(max(m.Killed+s.stall-at, 0))
			}
			x.FirstWrite, x.LastWrite = off, record.WindowNanos-1
			if lastWrite != 0 {
				x.WriteGap = at + int64(off) - lastWrite
			}
			lastWrite = at + record.WindowNanos - 1
		}
		x.Reads, x.Writes = reads.Total(), writes.Total()
		x.Requests = x.Ops() / 2
		if err := w.Append(&x, &reads, &writes); err != nil {
			t.Fatal(err)
		}
		reads.Reset()
		writes.Reset()
	}
}

func (s shape) events(m Marks) (e []Event) {
	add := func(at int64, node int, name, detail string) {
		e = append(e, Event{At: at, Node: node, Name: name, Epoch: 7, Detail: detail})
	}
	add(m.Killed, s.victim, EventKilled, "SIGKILL")
	add(m.Killed+s.view/4, s.victim, EventProcessGone, "")
	for n := range s.nodes {
		if n != s.victim {
			add(m.Killed+s.view/2+int64(n)*msec/10, n, EventSuspected, fmt.Sprintf("node %d: process is gone", s.victim))
			add(m.ViewInstalled-int64(n)*msec/5, n, EventViewInstalled, "")
			add(m.Restarted+s.recovery*35/100, n, EventViewInstalled, "shadow")
		}
	}
	add(m.Restarted, s.victim, EventRestarted, "")
	r := s.recovery
	for _, x := range []struct {
		part int64
		name string
	}{{12, EventProcessStarted}, {18, EventPoolMapped}, {19, EventIncarnation}, {20, EventEndpointsOpen}, {21, EventConnected}, {22, EventJoinAsked}, {30, EventAdmitted}, {38, EventAllInstalled}, {40, EventTransferBegun}, {88, EventTransferDone}, {92, EventFlushed}, {97, EventPromoted}, {100, EventFirstReadServed}} {
		add(m.Restarted+r*x.part/100, s.victim, x.name, "")
	}
	return e
}

func healShape() shape {
	return shape{name: "heal", nodes: 6, victim: 3, opsPerWindow: 150, steady: 3 * sec, away: 4 * sec, tail: 3 * sec, view: 21 * msec, stall: 27 * msec,
		recovery: 90 * msec, dip: 0.03, bytes: 4_310_000, missed: 3_980_000, start: 5_000 * sec}
}

func fullShape() shape {
	s := healShape()
	s.name, s.recovery, s.dip, s.bytes, s.view, s.stall, s.start = "full", 720*msec, 0.24, 109_800_000, 24*msec, 31*msec, 6_000*sec
	return s
}

func syntheticInput(t testing.TB) Input {
	return Input{
		Env: Environment{Commit: "0123abc", Machine: "synthetic test data", Kernel: "Linux 6.1", Cores: 2, Nodes: 6, Provider: "shm", Domain: "memory", PageSize: "2 MiB",
			Model: "synchronous", Shards: 1, Keys: 500_000, KeyBytes: "3 to 24", ValueBytes: 158, Workload: "taobench-a", Mix: "TAOBench A: 12 % of the accesses write",
			Clients: "6 generators inside the nodes, 256 in flight each", RatePerS: 90_000, DurationS: 10, StartUnix: 1_700_000_000 * sec},
		Runs: []Run{synthetic(t, healShape()), synthetic(t, fullShape())},
		Verification: &Verification{AckedWrites: 412_345, AckedKeys: 101_234, KeysCompared: 607_404, DigestNodes: 6, DigestKeys: 500_008, Digest: "9f3b…c2",
			DigestsAgree: true, HistoryOps: 61_034, HistoryKeys: 8, Linearizable: true, Minimum: "100 000 acknowledged writes, 50 000 keys, 10 000 operations", OK: true},
		Notes: []string{"Accesses fall due in groups 0.5 ms apart; latency counts from the due time."},
	}
}
