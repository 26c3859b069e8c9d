// Command node is the one binary of HealKV: it serves one node, makes and runs
// a local cluster, shows its state, and runs the demo and the benchmarks.
//
// It turns flags, environment and file into a healkv.Config and wires the
// parts; what can be tested apart lives in the packages below it.
//
// Exit status: 0 done, 1 failed, 2 the command line or configuration is wrong,
// 75 (EX_TEMPFAIL) a node that was drained by order and is to be started again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"healkv/cmd/node/local"
)

// version is set by the Makefile.
var version = "unknown"

// command is one verb of the binary.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string) error
}

// commands is filled in init, since help refers to it.
var commands []command

func init() {
	commands = []command{
		{"cluster", "run a cluster of node processes on this machine", runCluster},
		{"status", "show the state of a local cluster", runStatus},
		{"drain", "take a node out of the group without a stall, and bring it back", runDrain},
		{"rolling", "restart the nodes of a local cluster, one after the other", runRolling},
		{"cold-start", "start a cluster that is down without members that are lost", runColdStart},
		{"accept-loss", "give up damaged records that no node has a good copy of", runLiveOrder("accept-loss")},
		{"forget", "keep nothing any longer for nodes that are away", runLiveOrder("forget")},
		{"serve", "run one node", runServe},
		{"format", "make the pools of one node", runFormat},
		{"certs", "make the certificates with which nodes of different hosts prove themselves", runCerts},
		{"demo", "load, kill, heal, compare: the recovery report", runDemo},
		{"chaos", "kill, stop and starve local clusters, and judge what survives", runChaos},
		{"damage", "hurt the files of six nodes in every way, and judge what they answer", runDamage},
		{"bench", "workloads and micro-benchmarks", runBench},
		{"cost", "what recoveries cost the nodes that live on, and by which budget", runCost},
		{"endure", "overwrite pools of twice the live data for long, kill a node, and judge", runEndure},
		{"floor", "what this machine can do at best, for the ratios of the other figures", runFloor},
		{"restart-bench", "how long a killed node takes to serve again, by the number of its records", runRestartBench},
		{"doctor", "what this host has for HealKV, and what to do about the rest", runDoctor},
		{"version", "print the version", runVersion},
		{"help", "explain a command, or the configuration: node help config", runHelp},
	}
}

// errUsage makes the exit status 2; its text is for the user.
var errUsage = errors.New("see `node help`")

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	go endAtSignal(cancel)
	switch err := dispatch(ctx, os.Args[1:]); {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		status := exitStatus(err)
		if status != local.RestartStatus {
			fmt.Fprintln(os.Stderr, "node:", err)
		}
		os.Exit(status)
	}
}

// signaled is the cause of a context that a signal has ended.
type signaled struct{ os.Signal }

func (s signaled) Error() string { return s.String() }

// endAtSignal ends the work in order at the first signal. Later ones are the
// command's affair.
func endAtSignal(cancel context.CancelCauseFunc) {
	first := make(chan os.Signal, 1)
	signal.Notify(first, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	cancel(signaled{<-first})
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return runHelp(ctx, nil)
	}
	switch args[0] {
	case "-h", "-help", "--help":
		return runHelp(ctx, args[1:])
	case "-version", "--version":
		return runVersion(ctx, nil)
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(ctx, args[1:])
		}
	}
	return fmt.Errorf("unknown command %q; %w", args[0], errUsage)
}

func runVersion(_ context.Context, args []string) error {
	if len(args) > 0 {
		return usage("version: unexpected argument %q; it has none", args[0])
	}
	fmt.Printf("healkv %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			fmt.Printf("  %s %s\n", m.Path, m.Version)
		}
	}
	return nil
}

// parse reads flags that stand alone: anything left over is an error. The
// flag package's own printing is replaced, so that an error is one line.
func parse(fs *flag.FlagSet, args []string) error {
	fs.Usage = func() {}
	fs.SetOutput(discard{})
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		explain(os.Stdout, fs.Name())
		return err
	case err != nil:
		return usage("%s: %s; `node help %s` lists the flags", fs.Name(), flagError(err), fs.Name())
	case fs.NArg() > 0:
		return usage("%s: unexpected argument %q; `node help %s` lists the flags", fs.Name(), fs.Arg(0), fs.Name())
	}
	return nil
}

// flagError says an error of the flag package as everything else here is spelled:
// flags with two dashes, and what was expected.
func flagError(err error) string {
	text := err.Error()
	for _, c := range [][2]string{{"flag provided but not defined: -", "there is no flag --"}, {"flag needs an argument: -", "a value is missing behind --"}} {
		if name, ok := strings.CutPrefix(text, c[0]); ok {
			return c[1] + name
		}
	}
	for _, named := range []string{" for flag -", " for -"} { // the second one: of booleans
		if head, tail, ok := strings.Cut(text, named); ok {
			text = head + " for --" + tail
			break
		}
	}
	if head, ok := strings.CutSuffix(text, ": parse error"); ok && strings.HasPrefix(head, "invalid boolean") {
		text = head + ": neither true nor false"
	} else if ok {
		text = head + ": not a number, or a time without its unit, as 5s has it"
	}
	return text
}

func newFlagSet(name string) *flag.FlagSet { return flag.NewFlagSet(name, flag.ContinueOnError) }

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// usageError is an error of the command line: its text says it all, and the
// exit status is 2.
type usageError struct{ text string }

func (e usageError) Error() string   { return e.text }
func (e usageError) Is(t error) bool { return t == errUsage }

func usage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// badConfig marks an error of the configuration for the exit status.
func badConfig(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err.Error()}
}
