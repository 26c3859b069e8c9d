package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"healkv/cmd/node/config"
	"healkv/cmd/node/local"
)

// clusterArgs are the flags of `node cluster`.
type clusterArgs struct {
	source      *config.Source
	dir         string
	destroy     bool
	ports       local.Ports
	readyWithin time.Duration
}

const nodesDefault = 6

// portsDefault are those of `node cluster`.
var portsDefault = local.Ports{Resp: 7000, Admin: 7100, Control: 7200, Data: 7300}

// portFlags declares the flags of a cluster's first ports; zero is what p
// holds unless they are given, def what help says of it.
func portFlags(fs *flag.FlagSet, p *local.Ports, def local.Ports) {
	for _, f := range []struct {
		name string
		p    *int
		def  int
		what string
	}{
		{"resp-port", &p.Resp, def.Resp, "Redis clients"},
		{"admin-port", &p.Admin, def.Admin, "/status, /metrics and load generators"},
		{"control-port", &p.Control, def.Control, "the control plane, with the providers tcp and verbs"},
		{"data-port", &p.Data, def.Data, "data connections, with the provider tcp: one for each shard of each node"},
	} {
		fs.IntVar(f.p, f.name, *f.p, fmt.Sprintf("first `port` for %s%s", f.what, defaultWords(*f.p, f.def)))
	}
}

func defaultWords(shown, def int) string {
	if shown != 0 { // the flag package's default says it
		return ""
	}
	return fmt.Sprintf(" (default %d)", def)
}

func newClusterArgs() *clusterArgs {
	a := &clusterArgs{source: config.New()}
	a.source.Config.Nodes = nodesDefault
	return a
}

func clusterFlags(a *clusterArgs) *flag.FlagSet {
	fs := newFlagSet("cluster")
	fs.StringVar(&a.dir, "dir", "", "the cluster's directory `D`: made if it does not exist")
	portFlags(fs, &a.ports, portsDefault)
	fs.DurationVar(&a.readyWithin, "ready-within", 2*time.Minute, "give up if not all nodes are live after this `time`; 0 waits for ever")
	fs.BoolVar(&a.destroy, "destroy", false, "remove the cluster: its data, its directory and what it has in memory")
	return fs
}

// explainFlags prints the flags that have a variable of their own.
func explainFlags(w io.Writer, fs *flag.FlagSet) {
	fs.VisitAll(func(f *flag.Flag) {
		name, text := flag.UnquoteUsage(f)
		if name != "" {
			name = " " + name
		}
		if f.DefValue != "" && f.DefValue != "0" && f.DefValue != "-1" && f.DefValue != "false" {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  --%s%s\n%s\n", f.Name, name, indent(text))
	})
}

func runCluster(ctx context.Context, args []string) error {
	a := newClusterArgs()
	fs := clusterFlags(a)
	a.source.AddFlags(fs, shared)
	if err := parse(fs, args); err != nil {
		return err
	}
	if a.dir == "" {
		return usage("cluster: --dir is missing: where shall the cluster's files be?")
	}
	if a.destroy {
		if err := local.Destroy(a.dir); err != nil {
			return err
		}
		fmt.Printf("removed %s\n", a.dir)
		return nil
	}
	if err := a.settings(); err != nil {
		return badConfig(err)
	}
	if err := builtIn(a.source.Config.Provider); err != nil {
		return err
	}
	c, flags, err := a.open()
	if err != nil {
		return err
	}
	program, err := local.ProgramPath()
	if err != nil {
		return err
	}
	return c.Run(ctx, local.RunOptions{
		Program: program, Flags: flags, ReadyWithin: a.readyWithin, Out: os.Stdout, Force: secondSignal(ctx),
	})
}

// settings brings environment and flags together. What differs from node to
// node cannot come from the environment: the nodes inherit it, all of them.
func (a *clusterArgs) settings() error {
	for i := range config.Keys {
		if k := &config.Keys[i]; !shared(k) {
			if _, set := os.LookupEnv(k.Env()); set {
				return fmt.Errorf("environment %s would apply to every node of the cluster; unset it", k.Env())
			}
		}
	}
	if err := a.source.Env(os.Environ()); err != nil {
		return err
	}
	if err := a.source.Flags(); err != nil {
		return err
	}
	return a.source.ValidateShared()
}

// open finds the cluster or makes it. It returns the given settings that are
// not fixed by the cluster's files, as flags for the nodes.
func (a *clusterArgs) open() (*local.Cluster, []string, error) {
	there, err := local.Exists(a.dir)
	if err != nil {
		return nil, nil, err
	}
	if there {
		c, err := local.Open(a.dir)
		switch {
		case errors.Is(err, local.ErrUnfinished):
		case err != nil:
			return nil, nil, err
		default:
			nodes := 0
			if a.source.Given("nodes") {
				nodes = a.source.Config.Nodes
			}
			if err := c.AgreesPorts(nodes, a.ports); err != nil {
				return nil, nil, err
			}
			flags, err := c.Agrees(a.source)
			return c, flags, err
		}
	}
	for _, p := range []struct{ port, def *int }{
		{&a.ports.Resp, &portsDefault.Resp}, {&a.ports.Admin, &portsDefault.Admin},
		{&a.ports.Control, &portsDefault.Control}, {&a.ports.Data, &portsDefault.Data},
	} {
		if *p.port == 0 {
			*p.port = *p.def
		}
	}
	c, err := local.Create(local.Options{
		Dir: a.dir, Ports: a.ports, Source: a.source, Format: formatNode,
		Say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
	})
	return c, nil, err
}

// secondSignal is closed by a signal that comes well after the one that ended
// ctx: a terminal or timeout(1) may send one request twice.
func secondSignal(ctx context.Context) <-chan struct{} {
	force := make(chan struct{})
	go func() {
		<-ctx.Done()
		asked := time.Now()
		again := make(chan os.Signal, 1)
		signal.Notify(again, syscall.SIGTERM, syscall.SIGINT)
		for range again {
			if time.Since(asked) > time.Second {
				close(force)
				return
			}
		}
	}()
	return force
}
