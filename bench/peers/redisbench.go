package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"healkv/bench/peers/result"
	"healkv/bench/peers/servers"
)

// The command redis-bench: redis-benchmark against one Redis server that has
// neither replicas nor persistence, and against HealKV's three nodes, where a
// write is answered when all of them have it.

// benchOptions are its flags.
type benchOptions struct {
	runs      int
	clients   int
	requests  int // without pipelining; with it, as many more as the pipeline is long, at most ten times
	value     int
	keys      int
	pipelines []int
	judge     bool
	program   string
	pool      string
	out       string // directory of fileRedisBench, "" for none
	limit     time.Duration
}

// fileRedisBench has a benchReport.
const fileRedisBench = "redis-bench.json"

// benchReport is what was measured and judged, for programs.
type benchReport struct {
	Parts    []benchPart      `json:"parts"`
	Verdicts []result.Verdict `json:"verdicts"`
}

func parseBench(args []string) (o benchOptions, err error) {
	fs := flag.NewFlagSet("peers redis-bench", flag.ContinueOnError)
	fs.IntVar(&o.runs, "runs", 5, "how often everything is measured; the server that begins changes")
	fs.IntVar(&o.clients, "clients", 50, "connections")
	fs.IntVar(&o.requests, "requests", 300_000, "requests of a part without pipelining; with it more, by the length of the pipeline, at most 10 times")
	fs.IntVar(&o.value, "value", 150, "bytes of a value")
	fs.IntVar(&o.keys, "keys", 100_000, "keys, chosen at random")
	pipelines := fs.String("pipelines", "1,16", "commands sent at a time")
	fs.BoolVar(&o.judge, "judge", true, "exit status 1 if a bound is missed")
	fs.StringVar(&o.program, "node", "bin/node", "HealKV's `program`")
	fs.StringVar(&o.pool, "pool-size", "1GiB", "HealKV's pool_size")
	fs.StringVar(&o.out, "out", "", "`directory` for "+fileRedisBench+" with everything measured; made if it is not there")
	fs.DurationVar(&o.limit, "limit", time.Hour, "give up after this time")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	for text := range strings.SplitSeq(*pipelines, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return o, fmt.Errorf("%w: --pipelines %q; numbers from 1 to 1000, with commas between", errUsage, *pipelines)
		}
		o.pipelines = append(o.pipelines, n)
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("%w: %q is no flag", errUsage, fs.Arg(0))
	case o.runs < 1 || o.requests < 1 || o.keys < 1 || o.limit <= 0:
		return o, fmt.Errorf("%w: --runs, --requests, --keys and --limit must be above zero", errUsage)
	case o.clients < 1 || o.clients > 10_000:
		return o, fmt.Errorf("%w: --clients %d; from 1 to 10000", errUsage, o.clients)
	case o.value < 1 || o.value > 1<<20:
		return o, fmt.Errorf("%w: --value %d; from 1 to 1048576 bytes", errUsage, o.value)
	}
	o.program, err = filepath.Abs(o.program)
	return o, err
}

// benchBounds are ratios of HealKV's rate to that of the lone Redis.
var benchBounds = []struct {
	op             string
	factor, wanted float64 // required; wished for
}{
	{"GET", 0.9, 1.0},
	{"SET", 0.5, 0.7},
}

// benchPart is one line of redis-benchmark.
type benchPart struct {
	Server   string  `json:"server"`
	Op       string  `json:"op"`
	Pipeline int     `json:"pipeline"`
	Rate     float64 `json:"rate"` // requests/s
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
}

// parseCSV finds a test's line in the output of redis-benchmark --csv.
func parseCSV(text []byte, op string) (p benchPart, err error) {
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil || len(rows) < 2 {
		return p, fmt.Errorf("peers: redis-benchmark wrote no table (%w): %.200q", err, text)
	}
	column := func(row []string, name string) (float64, error) {
		i := slices.Index(rows[0], name)
		if i < 0 || i >= len(row) {
			return 0, fmt.Errorf("peers: redis-benchmark has no column %q: %v", name, rows[0])
		}
		return strconv.ParseFloat(row[i], 64)
	}
	for _, row := range rows[1:] {
		if row[0] != op {
			continue
		}
		var errs [3]error
		p.Op = op
		p.Rate, errs[0] = column(row, "rps")
		p.P50, errs[1] = column(row, "p50_latency_ms")
		p.P99, errs[2] = column(row, "p99_latency_ms")
		return p, errors.Join(errs[:]...)
	}
	return p, fmt.Errorf("peers: redis-benchmark has no line for %s: %.200q", op, text)
}

// redisBench measures, shows and judges.
func redisBench(ctx context.Context, o benchOptions, out io.Writer) (err error) {
	tool, err := exec.LookPath("redis-benchmark")
	if err != nil {
		return fmt.Errorf("%w: redis-benchmark; install it, as root: apt-get install redis-tools (make redis-bench does)", servers.ErrMissing)
	}
	data, err := os.MkdirTemp("/dev/shm", "peers-")
	if err != nil {
		return fmt.Errorf("peers: redis-bench needs a tmpfs: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	names := []string{servers.RedisAlone, "healkv"}
	options := func(name string, run int) servers.Options {
		return servers.Options{Dir: filepath.Join(data, fmt.Sprintf("%s-%d", name, run)), Domain: servers.Memory, Program: o.program, Pool: o.pool}
	}
	for _, name := range names { // what is missing is said before anything runs
		s, err := servers.NewServed(name, options(name, 0))
		if err != nil {
			return err
		}
		a := s.About()
		fmt.Fprintf(out, "%s %s: a write is answered when %s\n", a.Name, a.Version, a.Answered)
	}
	var parts []benchPart
	for run := 1; run <= o.runs; run++ {
		slices.Reverse(names)
		for _, name := range names {
			s, err := servers.NewServed(name, options(name, run))
			if err != nil {
				return err
			}
			more, err := benchServer(ctx, o, tool, name, s)
			if e := s.Stop(); e != nil {
				err = errors.Join(err, fmt.Errorf("stopping %s: %w", name, e))
			}
			if err != nil {
				return fmt.Errorf("run %d: %w", run, err)
			}
			for _, p := range more {
				fmt.Fprintf(out, "run %d: %-11s %s -P %-3d %9.0f/s  p50 %.3f ms  p99 %.3f ms\n", run, name, p.Op, p.Pipeline, p.Rate, p.P50, p.P99)
			}
			parts = append(parts, more...)
		}
	}
	text, verdicts := judgeBench(parts, o.pipelines)
	if o.out != "" {
		if err := writeBench(o.out, benchReport{parts, verdicts}); err != nil {
			return err
		}
	}
	var missed []string
	for _, v := range verdicts {
		if !v.Passed {
			missed = append(missed, v.Text)
		}
	}
	fmt.Fprintf(out, "\n%s, %d cores, kernel %s; %d connections to one node, values of %d bytes, %d keys; medians of %d runs\n\n%s",
		processor(), runtime.NumCPU(), kernel(), o.clients, o.value, o.keys, o.runs, text)
	if len(missed) > 0 && o.judge {
		return fmt.Errorf("%w: %s", errMissed, strings.Join(missed, "; "))
	}
	return nil
}

// benchServer runs every part against a server that it starts. SET comes before
// GET, which finds what that has written.
func benchServer(ctx context.Context, o benchOptions, tool, name string, s servers.Served) (parts []benchPart, err error) {
	start, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := s.Start(start); err != nil {
		return nil, err
	}
	for _, pipeline := range o.pipelines {
		for _, op := range []string{"SET", "GET"} {
			args := []string{"-p", strconv.Itoa(s.Port()), "-t", strings.ToLower(op), "-n", strconv.Itoa(o.requests * min(pipeline, 10)),
				"-c", strconv.Itoa(o.clients), "-P", strconv.Itoa(pipeline), "-d", strconv.Itoa(o.value), "-r", strconv.Itoa(o.keys), "--csv"}
			var complaints bytes.Buffer
			c := exec.CommandContext(ctx, tool, args...)
			c.Stderr = &complaints
			text, err := c.Output()
			if err == nil && complaints.Len() > 0 { // it goes on after errors of the server
				err = errors.New("it complains")
			}
			if err != nil {
				return parts, fmt.Errorf("%s: redis-benchmark %s: %w: %.300s", name, strings.Join(args, " "), err, complaints.String())
			}
			p, err := parseCSV(text, op)
			if err != nil {
				return parts, err
			}
			p.Server, p.Pipeline = name, pipeline
			parts = append(parts, p)
		}
	}
	return parts, nil
}

func writeBench(dir string, r benchReport) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, fileRedisBench), append(text, '\n'), 0o600)
}

// judgeBench makes the table, and says which bounds are kept.
func judgeBench(parts []benchPart, pipelines []int) (text string, verdicts []result.Verdict) {
	rates := func(server, op string, pipeline int) []float64 {
		var all []float64
		for _, p := range parts {
			if p.Server == server && p.Op == op && p.Pipeline == pipeline {
				all = append(all, p.Rate)
			}
		}
		slices.Sort(all)
		return all
	}
	var b strings.Builder
	b.WriteString("| | redis alone /s | healkv, three nodes /s | ratio | at least | wanted | |\n|---|---|---|---|---|---|---|\n")
	for _, pipeline := range pipelines {
		for _, bound := range benchBounds {
			theirs, ours := rates(servers.RedisAlone, bound.op, pipeline), rates("healkv", bound.op, pipeline)
			if len(theirs) == 0 || len(ours) == 0 {
				verdicts = append(verdicts, result.Verdict{Text: fmt.Sprintf("%s -P %d was not measured", bound.op, pipeline)})
				continue
			}
			t, h := middle(theirs), middle(ours)
			ratio, word := h/t, "PASS"
			if ratio < bound.factor {
				word = "MISSED"
			}
			verdicts = append(verdicts, result.Verdict{Passed: ratio >= bound.factor,
				Text: fmt.Sprintf("%s -P %d: healkv %.0f/s, redis alone %.0f/s: %.2f times, %.2f wanted", bound.op, pipeline, h, t, ratio, bound.factor)})
			spread := func(all []float64) string {
				return fmt.Sprintf("%.0f (%.0f to %.0f)", middle(all), all[0], all[len(all)-1])
			}
			fmt.Fprintf(&b, "| %s -P %d | %s | %s | %.2f | %.2f | %.2f | %s |\n", bound.op, pipeline, spread(theirs), spread(ours), ratio, bound.factor, bound.wanted, word)
		}
	}
	return b.String(), verdicts
}

// middle of sorted numbers.
func middle(all []float64) float64 {
	n := len(all)
	if n%2 == 1 {
		return all[n/2]
	}
	return (all[n/2-1] + all[n/2]) / 2
}
