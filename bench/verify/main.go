// Command verify runs every check of the protocol and the code that ships and
// adds up what they counted: states, seeds, operations, faults, crash states,
// planted bugs. It fails when a check fails, when a count is missing its
// minimum, and when anything that was counted is zero: a check that did
// nothing proves nothing.
//
//	go run ./bench/verify              what every change must pass
//	go run ./bench/verify -scale 10    ten times the seeds and states
//	go run ./bench/verify -only simulation -seed 5000
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"healkv/bench/tally"
)

func main() {
	var (
		only  = flag.String("only", "", "run only these `steps`, separated by commas")
		skip  = flag.String("skip", "", "leave these `steps` out")
		scale = flag.Float64("scale", 1, "seeds and states, in `multiples` of what every change must pass; above 1 the steps have as many times longer")
		seed  = flag.Uint64("seed", 1, "first `seed` of the simulations")
		out   = flag.String("out", "out/verify", "`folder` for logs and summary.json")
		goCmd = flag.String("go", "go", "the go `command`")
		list  = flag.Bool("list", false, "print the steps and their commands, run nothing")
	)
	flag.Usage = func() { usage(flag.CommandLine, plan("go", 1, 1)) }
	flag.Parse()
	steps := plan(*goCmd, *scale, *seed)
	if *list {
		for _, s := range steps {
			fmt.Printf("%-14s %s\n%14s %s\n", s.name, s.what, "", shell(s.command))
		}
		return
	}
	steps, err := choose(steps, *only, *skip)
	if err == nil && (*scale <= 0 || flag.NArg() > 0) {
		err = fmt.Errorf("want a scale above 0 and no arguments, got %v and %q", *scale, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "verify:", err)
		os.Exit(2)
	}
	if err := run(steps, *out); err != nil {
		fmt.Fprintln(os.Stderr, "verify:", err)
		os.Exit(1)
	}
}

func usage(set *flag.FlagSet, steps []step) {
	w := set.Output()
	fmt.Fprintf(w, "verify runs every check of the protocol and of the code that ships, and adds up what they counted.\n\n"+
		"usage: go run ./bench/verify [options]        or: make verify VERIFY=\"options\"\n\noptions:\n")
	set.PrintDefaults()
	fmt.Fprintf(w, "\nsteps, for -only and -skip:\n")
	for _, s := range steps {
		fmt.Fprintf(w, "  %-14s %s\n", s.name, s.what)
	}
}

func choose(all []step, only, skip string) (chosen []step, err error) {
	names := func(list string) (names []string, err error) {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name == "" {
				continue
			}
			if !slices.ContainsFunc(all, func(s step) bool { return s.name == name }) {
				return nil, fmt.Errorf("there is no step %q; -list shows them", name)
			}
			names = append(names, name)
		}
		return names, nil
	}
	in, err := names(only)
	if err != nil {
		return nil, err
	}
	out, err := names(skip)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if (len(in) == 0 || slices.Contains(in, s.name)) && !slices.Contains(out, s.name) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("no step is left to run")
	}
	return chosen, nil
}

// outcome is how a step ended.
type outcome struct {
	Name    string       `json:"name"`
	Command string       `json:"command"`
	Seconds float64      `json:"seconds"`
	Failed  []string     `json:"failed,omitempty"`
	Counts  []tally.Line `json:"counts"`
	log     string
}

func run(steps []step, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	var outcomes []outcome
	begun := time.Now()
	for _, s := range steps {
		fmt.Printf("%s: %s\n", s.name, s.what)
		o, err := s.run(out, interrupted)
		if err != nil {
			return err
		}
		outcomes = append(outcomes, o)
		verdict := "ok"
		if len(o.Failed) > 0 {
			verdict = "FAILED: " + strings.Join(o.Failed, "; ")
			showTail(o.log)
		}
		fmt.Printf("%s: %s, %.0f s, %s\n", s.name, verdict, o.Seconds, o.log)
	}
	print(os.Stdout, outcomes, time.Since(begun))
	b, err := json.MarshalIndent(outcomes, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "summary.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	var failed []string
	for _, o := range outcomes {
		if len(o.Failed) > 0 {
			failed = append(failed, o.Name)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

// run executes the step with a tally of its own and judges what it counted.
func (s *step) run(out string, interrupted <-chan os.Signal) (o outcome, err error) {
	file := filepath.Join(out, strings.ReplaceAll(s.name, " ", "-"))
	o = outcome{Name: s.name, Command: shell(s.command), log: file + ".log"}
	counts, err := filepath.Abs(file + ".tally")
	if err != nil {
		return o, err
	}
	if err := os.Remove(counts); err != nil && !errors.Is(err, os.ErrNotExist) {
		return o, err
	}
	log, err := os.Create(o.log)
	if err != nil {
		return o, err
	}
	defer log.Close()
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.Env = append(os.Environ(), tally.Variable+"="+counts)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it starts goes with it
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return o, fmt.Errorf("%s: %w", s.name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
		if err != nil {
			o.Failed = append(o.Failed, err.Error())
		}
	case <-time.After(s.limit):
		o.Failed = append(o.Failed, fmt.Sprintf("not done after %v", s.limit))
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	case sig := <-interrupted:
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		return o, fmt.Errorf("%s: %v", s.name, sig)
	}
	o.Seconds = time.Since(begun).Seconds()
	lines, err := tally.Read(counts)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return o, err
	}
	o.Counts = sum(lines)
	o.Failed = append(o.Failed, s.judge(o.Counts)...)
	return o, nil
}

// sum adds up the counts of one name, in the order of their first line.
func sum(lines []tally.Line) (sums []tally.Line) {
	for _, l := range lines {
		i := slices.IndexFunc(sums, func(x tally.Line) bool {
			return x.Group == l.Group && x.Name == l.Name && x.Mark == l.Mark && x.Skip == l.Skip
		})
		if i < 0 {
			sums = append(sums, l)
			continue
		}
		sums[i].Count += l.Count
	}
	return sums
}

// judge says what is missing: a step that counted nothing, a zero, a count
// below its minimum.
func (s *step) judge(counts []tally.Line) (bad []string) {
	if !slices.ContainsFunc(counts, func(l tally.Line) bool { return l.Skip == "" && l.Count > 0 }) {
		return []string{"counted nothing"}
	}
	for _, l := range counts {
		if l.Skip == "" && l.Count <= 0 {
			bad = append(bad, fmt.Sprintf("%s, %s: %d", l.Group, l.Name, l.Count))
		}
	}
	for _, m := range s.atLeast {
		var n int64
		for _, l := range counts {
			if l.Group == m.group && l.Name == m.name {
				n += l.Count
			}
		}
		if n < m.n {
			bad = append(bad, fmt.Sprintf("%s, %s: %d, want at least %d", m.group, m.name, n, m.n))
		}
	}
	return bad
}

func print(w io.Writer, outcomes []outcome, took time.Duration) {
	fmt.Fprintf(w, "\n%-14s %8s  %-24s %16s\n", "check", "seconds", "group", "count")
	for _, o := range outcomes {
		first := fmt.Sprintf("%-14s %8.0f", o.Name, o.Seconds)
		for _, l := range o.Counts {
			if l.Mark {
				continue
			}
			if l.Skip != "" {
				fmt.Fprintf(w, "%s  %-24s %16s  %s\n", first, l.Group, "skipped", l.Name+": "+l.Skip)
			} else {
				fmt.Fprintf(w, "%s  %-24s %16d  %s\n", first, l.Group, l.Count, l.Name)
			}
			first = strings.Repeat(" ", 23)
		}
		if len(o.Counts) == 0 {
			fmt.Fprintf(w, "%s  nothing counted\n", first)
		}
		for _, f := range o.Failed {
			fmt.Fprintf(w, "%23s  FAILED: %s\n", "", f)
		}
	}
	marks := 0
	for _, o := range outcomes {
		for _, l := range o.Counts {
			if !l.Mark {
				continue
			}
			if marks++; marks == 1 {
				fmt.Fprintf(w, "\nrare branches that were taken\n")
			}
			fmt.Fprintf(w, "%16d  %s: %s\n", l.Count, l.Group, l.Name)
		}
	}
	fmt.Fprintf(w, "\n%d checks in %v\n", len(outcomes), took.Round(time.Second))
}

// showTail prints the end of a failed step's log.
func showTail(path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	const most = 8000
	fmt.Printf("%s\n", b[max(0, len(b)-most):])
}
