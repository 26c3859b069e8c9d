package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"healkv/bench/floor"
	"healkv/bench/report"
	"healkv/cmd/node/demo"
)

// part is a group of figures with one way to get them.
type part struct {
	name, title, about string
	run                func(ctx context.Context, o *options) ([]Figure, error)
}

// parts in the order they are run; the ratios of later ones need the earlier.
var parts []part

func init() {
	parts = []part{
		{"floors", "Floors", "What this machine can do at best in each of the things that a read or a write is made of", floors},
		{"micro", "Pieces of the product", "Micro-benchmarks beside the floor of what they do", micro},
		{"load", "In-node load", "Generators inside the nodes of a local cluster, memory domain, model synchronous, values of 150 bytes and a timestamp, closed loop", load},
		{"near", "One write at a time", "Two nodes, a worker for each core; one write in flight, submitted on the thread of the worker of one node (`Node.Attend`), memory domain, model synchronous, values of 150 bytes and a timestamp, beside the floor measured in the same minute. 10 000 keys are in the caches, 500 000 in none", near},
		{"recovery", "Recovery", "Six nodes, TAOBench A, a node killed, healed, killed, and copied in full: `node demo`", recovery},
		{"cost", "What a recovery costs the live nodes", "Six nodes, two million records, TAOBench A, ten seconds away; at half of the saturation in an open loop, then at saturation with several budgets: `node cost` (`make cost`)", cost},
		{"memory", "Beside other systems, nothing flushed", "Three nodes of each, the same operations, connections, machine and minutes: `make peers`", peers("memory")},
		{"redis", "redis-benchmark beside one Redis server", "redis-benchmark with 50 connections to one of our three nodes, where a write is answered when all of them have it, and to a redis-server that has neither replicas nor persistence: `make redis-bench`", redisBench},
		{"file", "Beside etcd, flushed to disk", "The same, each with its default flush before the answer", peers("file")},
	}
}

func partNames() (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

func floors(ctx context.Context, o *options) ([]Figure, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	measured, err := floor.Measure(ctx, floor.Options{Disk: o.work, Runs: o.runs, Child: []string{exe, childOfFloor}})
	if err != nil {
		return nil, err
	}
	var figures []Figure
	for _, f := range measured {
		figures = append(figures, Figure{Name: f.Name, Unit: f.Unit, More: strings.HasSuffix(f.Unit, "/s"),
			Low: f.Low, Median: f.Median, High: f.High, Missing: f.Missing})
	}
	return figures, nil
}

// micros are the benchmarks shown, each beside its floor.
var micros = []struct{ pkg, benchmark, name, beside string }{
	{"./pmem/record", "BenchmarkEncode", "encode a record", "checksum of a record"},
	{"./pmem/record", "BenchmarkVerify", "verify a record", "checksum of a record"},
	{"./pmem/seglog", "BenchmarkAppend", "append to the log", "copy of a record"},
	{"./pmem/index", "BenchmarkHit", "look a word up in the index", "index probe"},
	{"./pmem/store", "BenchmarkGetManyKeys", "read a key", "index probe, then its record"},
	{"./pmem/store", "BenchmarkPutManyKeys", "write a key to log and index", "index probe, then its record"},
	{"./rdma/shm", "BenchmarkRoundTrip/echo-spin", "an entry to another process and one back, spinning", "ring round trip, spinning"},
	{"./rdma/shm", "BenchmarkRoundTrip/echo-sleep", "an entry to another process and one back, sleeping", "ring round trip, sleeping"},
}

func micro(ctx context.Context, o *options) ([]Figure, error) {
	values := map[string][]float64{}
	done := map[string]bool{}
	for _, m := range micros {
		if done[m.pkg] {
			continue
		}
		done[m.pkg] = true
		var names []string
		for _, x := range micros {
			if x.pkg == m.pkg {
				top, _, _ := strings.Cut(x.benchmark, "/")
				names = append(names, top)
			}
		}
		c := exec.CommandContext(ctx, o.goTool, "test", "-run", "^$", "-bench", "^("+strings.Join(names, "|")+")$",
			"-benchtime", "200ms", "-count", strconv.Itoa(o.runs), m.pkg)
		c.Stderr = os.Stderr
		out, err := c.Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", m.pkg, err, out)
		}
		for name, runs := range benchmarks(out) {
			values[m.pkg+" "+name] = runs
		}
	}
	var figures []Figure
	for _, m := range micros {
		found := false
		for key, runs := range values {
			sub, ok := strings.CutPrefix(key, m.pkg+" "+m.benchmark)
			if !ok || sub != "" && sub[0] != '/' {
				continue
			}
			found = true
			name := m.name
			if sub != "" {
				name += ", " + strings.ReplaceAll(sub[1:], "_", " ")
			}
			figures = append(figures, figure(name, "ns", false, m.beside, runs))
		}
		if !found {
			return nil, fmt.Errorf("%s has no %s any more", m.pkg, m.benchmark)
		}
	}
	return sorted(figures), nil
}

// benchmarks reads what go test -bench prints: ns per operation by name.
func benchmarks(out []byte) map[string][]float64 {
	values := map[string][]float64{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := f[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			if _, err := strconv.Atoi(name[i+1:]); err == nil {
				name = name[:i]
			}
		}
		for i := 3; i < len(f); i += 2 {
			if f[i] != "ns/op" {
				continue
			}
			if v, err := strconv.ParseFloat(f[i-1], 64); err == nil {
				values[name] = append(values[name], v)
			}
		}
	}
	return values
}

// loads are runs of `node bench`.
var loads = []struct {
	name, workload string
	nodes, window  int
	reads          bool
	beside         string
}{
	{"writes, 3 nodes, 256 in flight each", "write-only", 3, 256, false, "writes without a protocol, 3 nodes"},
	{"writes, 6 nodes, 256 in flight each", "write-only", 6, 256, false, "writes without a protocol, 6 nodes"},
	{"writes, 3 nodes, 2048 in flight each", "write-only", 3, 2048, false, "writes without a protocol, 3 nodes, 2048 in flight"},
	{"writes, 6 nodes, 2048 in flight each", "write-only", 6, 2048, false, "writes without a protocol, 6 nodes, 2048 in flight"},
	{"reads, 3 nodes", "taobench-ro", 3, 256, true, ""},
	{"reads, 6 nodes", "taobench-ro", 6, 256, true, ""},
	{"TAOBench A, 6 nodes", "taobench-a", 6, 256, true, ""},
}

func load(ctx context.Context, o *options) (figures []Figure, err error) {
	var collections, bytes []float64 // of every run of all loads
	for _, l := range loads {
		dir := filepath.Join(o.work, "load")
		var bare []float64
		if err := besideFloor(ctx, o, l.beside, &bare); err != nil {
			return nil, err
		}
		if err := node(ctx, o, "bench", "--out", dir, "--nodes", strconv.Itoa(l.nodes), "--workload", l.workload, "--keys", "500000",
			"--window", strconv.Itoa(l.window), "--time", o.time.String(), "--runs", strconv.Itoa(o.runs)); err != nil {
			return nil, err
		}
		var b demo.BenchResult
		if err := readJSON(filepath.Join(dir, demo.FileBench), &b); err != nil {
			return nil, err
		}
		var rates, p99 []float64
		for _, r := range b.Runs {
			c, perOp := r.Garbage(o.time)
			collections, bytes = append(collections, float64(c)), append(bytes, perOp)
			rates = append(rates, r.Ops)
			latency := r.Write.P99
			if l.reads {
				latency = r.Read.P99
			}
			p99 = append(p99, float64(latency))
		}
		beside := ""
		if l.beside != "" {
			if err := besideFloor(ctx, o, l.beside, &bare); err != nil {
				return nil, err
			}
			beside = l.beside + ", beside the load"
			figures = append(figures, figure(beside, "writes/s", true, "", bare))
		}
		figures = append(figures, figure(l.name, "ops/s", true, beside, rates), figure(l.name+", p99", "µs", false, "", p99))
	}
	return append(figures, figure("all of these loads, collections of garbage in a run, all nodes", "collections", false, "", collections),
		figure("all of these loads, bytes allocated for an operation", "bytes", false, "", bytes)), nil
}

// besideFloor measures a floor once more, right before a load or right behind it, since
// it moves with the machine's other guests: by a half within minutes. No name: none.
func besideFloor(ctx context.Context, o *options, name string, runs *[]float64) error {
	if name == "" {
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	for range (o.runs + 1) / 2 {
		figures, err := floor.Measure(ctx, floor.Options{Disk: o.work, Runs: 1, Exactly: name, Child: []string{exe, childOfFloor}})
		if err != nil {
			return err
		}
		if figures[0].Missing != "" {
			return errors.New(figures[0].Missing)
		}
		*runs = append(*runs, figures[0].Median)
	}
	return nil
}

// nearMost is how many round trips of a word one write between two nodes may take.
const nearMost = 4

// nearKeys is in the caches, what is measured then is the way; far is in none.
const (
	nearKeys = 10_000
	farKeys  = 500_000
)

// near is the latency of a write of which nothing hides: one in flight. The floor
// is measured before each run, since it moves with the machine's other guests.
func near(ctx context.Context, o *options) ([]Figure, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var trips []float64
	middle, p99 := map[int][]float64{}, map[int][]float64{}
	dir := filepath.Join(o.work, "near")
	for range o.runs {
		floors, err := floor.Measure(ctx, floor.Options{Disk: o.work, Runs: 1, Only: floor.RoundTrip, Child: []string{exe, childOfFloor}})
		if err != nil {
			return nil, err
		}
		if floors[0].Missing != "" {
			return nil, errors.New(floors[0].Missing)
		}
		trips = append(trips, floors[0].Median)
		for _, keys := range []int{nearKeys, farKeys} {
			if err := node(ctx, o, "bench", "--out", dir, "--nodes", "2", "--loaded", "1", "--on-worker", "--window", "1", "--spin", "10ms",
				"--workload", "write-only", "--keys", strconv.Itoa(keys), "--time", o.time.String(), "--runs", "1"); err != nil {
				return nil, err
			}
			var b demo.BenchResult
			if err := readJSON(filepath.Join(dir, demo.FileBench), &b); err != nil {
				return nil, err
			}
			for _, r := range b.Runs {
				middle[keys], p99[keys] = append(middle[keys], 1000*r.Write.P50), append(p99[keys], 1000*r.Write.P99)
			}
		}
	}
	const trip = "ring round trip, spinning, beside the writes"
	median := figure("a write, 10 000 keys, median", "ns", false, trip, middle[nearKeys])
	median.Most = nearMost
	return []Figure{figure(trip, "ns", false, "", trips), median, figure("a write, 10 000 keys, p99", "ns", false, trip, p99[nearKeys]),
		figure("a write, 500 000 keys, median", "ns", false, trip, middle[farKeys]), figure("a write, 500 000 keys, p99", "ns", false, trip, p99[farKeys])}, nil
}

func recovery(ctx context.Context, o *options) ([]Figure, error) {
	heal, full := map[string][]float64{}, map[string][]float64{}
	for range max(1, o.runs/2) { // each takes a minute
		dir := filepath.Join(o.work, "recovery")
		if err := node(ctx, o, "demo", "--out", dir, "--overwrite", "0"); err != nil {
			return nil, err
		}
		var r report.Report
		if err := readJSON(filepath.Join(dir, report.FileJSON), &r); err != nil {
			return nil, err
		}
		for _, x := range r.Runs {
			into := heal
			if x.Name == "full" {
				into = full
			}
			into["ms"] = append(into["ms"], x.RecoveryMs)
			into["bytes"] = append(into["bytes"], float64(x.Recovery.Bytes)/1e6)
			into["stall"] = append(into["stall"], x.Stall.LongestMs)
			for _, p := range x.Phases {
				if s := p.Interference; p.Name == report.PhaseRecovering && s != nil && s.SpanMs > 0 {
					into["kept off"] = append(into["kept off"], s.ByRecoveryPct())
				}
			}
		}
	}
	figures := []Figure{
		figure("full copy, restart to serving", "ms", false, "", full["ms"]),
		figure("heal, restart to serving", "ms", false, "full copy, restart to serving", heal["ms"]),
		figure("full copy, bytes", "MB", false, "", full["bytes"]),
		figure("heal, bytes", "MB", false, "full copy, bytes", heal["bytes"]),
		figure("failover stall", "ms", false, "", heal["stall"]),
		figure("heal: hot-path threads kept off their cores by recovery", "% of their time", false, "", heal["kept off"]),
	}
	return figures, nil
}

func cost(ctx context.Context, o *options) ([]Figure, error) {
	dir := filepath.Join(o.work, "cost")
	if err := node(ctx, o, "cost", "--out", dir); err != nil {
		return nil, err
	}
	var r report.CostReport
	if err := readJSON(filepath.Join(dir, report.FileCostJSON), &r); err != nil {
		return nil, err
	}
	return costFigures(&r), nil
}

// costFigures are each of one group of recoveries, with the spread over them.
func costFigures(r *report.CostReport) (figures []Figure) {
	add := func(name, unit string, more bool, beside string, s report.Spread, scale float64) {
		figures = append(figures, Figure{Name: name, Unit: unit, More: more, Beside: beside, Low: s.Low * scale, Median: s.Median * scale, High: s.High * scale})
	}
	const half, full = "half of saturation: ", "half of saturation: full copy, restart to serving"
	add("saturation, 6 nodes, TAOBench A", "ops/s", true, "", r.Saturation, 1)
	if r.Full != nil {
		add(full, "ms", false, "", r.Full.RecoveryMs, 1)
		add(half+"current records, all", "MB", false, "", r.Full.MovedBytes, 1e-6)
	}
	add(half+"heal, restart to serving", "ms", false, full, r.Heal.RecoveryMs, 1)
	add(half+"heal, bytes", "MB", false, half+"current records, all", r.Heal.MovedBytes, 1e-6)
	phases := func(name string, g *report.CostGroup) {
		p := g.Phase(report.PhaseRecovering)
		add(name+"live nodes lose", "% of before", false, "", p.LossEach, 1)
		add(name+"p99 of reads", "times before", false, "", p.ReadEach, 1)
		add(name+"p99 of writes", "times before", false, "", p.WriteEach, 1)
	}
	phases(half+"heal, ", r.Heal)
	if r.Full != nil {
		phases(half+"full copy, ", r.Full)
	}
	for i := range r.Sweep {
		g := &r.Sweep[i]
		name := "saturation, budget " + g.BudgetText() + ": "
		add(name+"restart to serving", "ms", false, "", g.RecoveryMs, 1)
		phases(name, g)
	}
	if s := r.Spare; s != nil {
		f := Figure{Name: "a core to spare: hot-path threads kept off their cores by recovery work", Unit: "% of their time", Missing: "nobody watched the scheduler"}
		if kept := s.Group.Phase(report.PhaseRecovering).KeptOffEach; s.CoresUsed > float64(s.Cores-1) {
			f.Missing = fmt.Sprintf("no core was idle: %.2f of %d were in use before the returns", s.CoresUsed, s.Cores)
		} else if kept != nil {
			f.Low, f.Median, f.High, f.Missing = kept.Low, kept.Median, kept.High, ""
		}
		figures = append(figures, f)
	}
	return figures
}

// peersReport is what is used of a report of the comparison.
type peersReport struct {
	Parts []struct {
		System  string  `json:"system"`
		Op      string  `json:"op"`
		Clients int     `json:"clients"`
		Rate    float64 `json:"rate"`
		P99     float64 `json:"p99_us"`
	} `json:"parts"`
	Absences []struct {
		System string  `json:"system"`
		Rejoin float64 `json:"rejoin_s"`
	} `json:"absences"`
	Verdicts []struct {
		Passed bool   `json:"passed"`
		Text   string `json:"text"`
	} `json:"verdicts"`
}

func peers(domain string) func(ctx context.Context, o *options) ([]Figure, error) {
	return func(ctx context.Context, o *options) ([]Figure, error) {
		dir := filepath.Join(o.work, "peers-"+domain)
		path := filepath.Join(dir, "peers.json")
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		failed := command(ctx, o.peers, "--domain", domain, "--node", o.node, "--out", dir, "--runs", strconv.Itoa(max(1, o.runs/2)), "--time", (2 * o.time).String(), "--judge=false")
		var r peersReport
		if err := readJSON(path, &r); err != nil {
			return nil, errors.Join(failed, err)
		}
		return r.figures(domain), failed // what was measured before it failed, too
	}
}

func (r *peersReport) figures(domain string) (figures []Figure) {
	type row struct {
		system, op string
		clients    int
	}
	rates, p99 := map[row][]float64{}, map[row][]float64{}
	var order []row
	for _, p := range r.Parts {
		k := row{p.System, p.Op, p.Clients}
		if rates[k] == nil {
			order = append(order, k)
		}
		rates[k], p99[k] = append(rates[k], p.Rate), append(p99[k], p.P99)
	}
	name := func(k row) string { return fmt.Sprintf("%s, %ss, %d clients (%s)", k.system, k.op, k.clients, domain) }
	for _, k := range order {
		beside := ""
		if strings.HasPrefix(k.system, "healkv") {
			other := row{"etcd", k.op, k.clients}
			if strings.HasSuffix(k.system, " unix") { // socket files beside socket files
				other.system += " unix"
			}
			if rates[other] != nil {
				beside = name(other)
			}
		}
		figures = append(figures, figure(name(k), "ops/s", true, beside, rates[k]))
		if beside != "" {
			beside += ", p99"
		}
		figures = append(figures, figure(name(k)+", p99", "ms", false, beside, scaled(p99[k], 1e-3)))
	}
	back := map[string][]float64{}
	var systems []string
	for _, a := range r.Absences {
		if back[a.System] == nil {
			systems = append(systems, a.System)
		}
		back[a.System] = append(back[a.System], a.Rejoin)
	}
	for _, s := range systems {
		figures = append(figures, figure(fmt.Sprintf("%s, back after a kill (%s)", s, domain), "s", false, "", back[s]))
	}
	for _, v := range r.Verdicts {
		figures = append(figures, Figure{Name: v.Text, Verdict: map[bool]string{true: "PASS", false: "**MISSED**"}[v.Passed]})
	}
	return figures
}

type redisReport struct {
	Parts []struct {
		Server   string  `json:"server"`
		Op       string  `json:"op"`
		Pipeline int     `json:"pipeline"`
		Rate     float64 `json:"rate"`
	} `json:"parts"`
	Verdicts []struct {
		Passed bool   `json:"passed"`
		Text   string `json:"text"`
	} `json:"verdicts"`
}

func redisBench(ctx context.Context, o *options) ([]Figure, error) {
	dir := filepath.Join(o.work, "redis")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := command(ctx, o.peers, "redis-bench", "--node", o.node, "--out", dir, "--runs", strconv.Itoa(o.runs), "--judge=false"); err != nil {
		return nil, err
	}
	var r redisReport
	if err := readJSON(filepath.Join(dir, "redis-bench.json"), &r); err != nil {
		return nil, err
	}
	return r.figures(), nil
}

func (r *redisReport) figures() (figures []Figure) {
	rates := map[string][]float64{}
	var names, besides []string
	for _, p := range r.Parts {
		name := func(server string) string { return fmt.Sprintf("%s, %s -P %d", server, p.Op, p.Pipeline) }
		if n := name(p.Server); rates[n] == nil {
			names = append(names, n)
			besides = append(besides, map[bool]string{true: name("redis-alone")}[p.Server == "healkv"])
		}
		rates[name(p.Server)] = append(rates[name(p.Server)], p.Rate)
	}
	for i, n := range names {
		figures = append(figures, figure(n, "requests/s", true, besides[i], rates[n]))
	}
	for _, v := range r.Verdicts {
		figures = append(figures, Figure{Name: v.Text, Verdict: map[bool]string{true: "PASS", false: "**MISSED**"}[v.Passed]})
	}
	return figures
}

func scaled(v []float64, by float64) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		out[i] = v[i] * by
	}
	return out
}

func node(ctx context.Context, o *options, args ...string) error {
	return command(ctx, o.node, args...)
}

func command(ctx context.Context, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	c.WaitDelay = 10 * time.Second
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out.Bytes())
	}
	return nil
}

func readJSON(path string, to any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
