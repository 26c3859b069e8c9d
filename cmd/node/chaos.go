package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"healkv/bench/workload"
	"healkv/cmd/node/config"
	"healkv/cmd/node/demo"
	"healkv/cmd/node/local"
	"healkv/dataplane/proto"
)

// chaosArgs are the flags of `node chaos`.
type chaosArgs struct {
	o        demo.ChaosOptions
	models   string
	domains  string
	nodes    string
	kinds    string
	huge     string
	provider string
	verbs    config.Verbs
	ports    local.Ports
	verbose  bool
	matrix   bool // the fault matrix instead of rounds
	share    float64
	columns  int
	rows     string
}

func chaosFlags(a *chaosArgs) *flag.FlagSet {
	fs := newFlagSet("chaos")
	fs.StringVar(&a.o.Out, "out", "out/chaos", "where the results go, `DIR`: chaos.json, and what failed rounds leave")
	fs.DurationVar(&a.o.Time, "time", 3*time.Minute, "`time` after which no further round begins")
	fs.IntVar(&a.o.Faults, "faults", 0, "go on until so `many` faults were injected, however long it takes")
	fs.DurationVar(&a.o.RoundTime, "round", 0, "`time` of one round; 0: --time over the pairs of model and domain, 20 s to 60 s")
	fs.Uint64Var(&a.o.Seed, "seed", 0, "`number` from which faults, victims and pauses follow; 0: a new one, which is printed")
	fs.StringVar(&a.models, "model", "all", "persistency `models`, comma between: synchronous, strict, read-enforced, eventual, scope; or all")
	fs.StringVar(&a.domains, "domain", "memory,file", "durability `domains`, comma between: memory, file")
	fs.StringVar(&a.nodes, "nodes", "3-5", "`number` of node processes, or the smallest and the largest: most clusters have the smallest")
	fs.StringVar(&a.kinds, "kinds", "all", "`faults`, comma between: "+strings.Join(demo.FaultKinds(), ", ")+"; or all")
	fs.Uint64Var(&a.o.Keys, "keys", 5000, "`number` of records loaded")
	fs.StringVar(&a.o.Workload, "workload", "ycsb-a", "one of "+strings.Join(workload.Names(), ", "))
	fs.Float64Var(&a.o.Rate, "rate", 1000, "accesses per second offered, all nodes together")
	fs.StringVar(&a.huge, "huge-pages", "auto", "auto, on, off; of clusters in the memory domain")
	providerFlags(fs, &a.provider, &a.verbs)
	a.ports = local.Ports{Resp: 18000, Admin: 18100, Control: 18200, Data: 18300}
	portFlags(fs, &a.ports, a.ports)
	fs.BoolVar(&a.o.KeepGoing, "keep-going", false, "go on after a failed round")
	fs.BoolVar(&a.verbose, "verbose", false, "print every fault")
	fs.BoolVar(&a.matrix, "matrix", false, "carry the fault matrix out instead: every fault in every kind of cluster, with the stall of writes in each; --time, --faults, --model, --domain, --nodes and --kinds do not count")
	fs.Float64Var(&a.share, "share", 1, "of the matrix: the `share` of its cells, drawn from --seed")
	fs.IntVar(&a.columns, "columns", 5, "of the matrix: how many `clusters` a share below 1 is carried out on")
	fs.StringVar(&a.rows, "rows", "all", "of the matrix: `rows`, comma between; or all")
	return fs
}

func runChaos(ctx context.Context, args []string) error {
	var a chaosArgs
	if err := parse(chaosFlags(&a), args); err != nil {
		return err
	}
	program, err := local.ProgramPath()
	if err != nil {
		return err
	}
	if err := a.settle(); err != nil {
		return badConfig(err)
	}
	if err := builtIn(a.provider); err != nil {
		return err
	}
	a.o.Program, a.o.Commit, a.o.Make = program, version, a.cluster
	if a.matrix {
		m := demo.MatrixOptions{ChaosOptions: a.o, Share: a.share, Columns: a.columns}
		if a.rows != "all" {
			m.Rows = strings.Split(a.rows, ",")
		}
		_, err = demo.Matrix(ctx, m, os.Stdout)
		return err
	}
	_, err = demo.Chaos(ctx, a.o, os.Stdout)
	return err
}

// settle reads the lists.
func (a *chaosArgs) settle() error {
	if a.o.Seed == 0 {
		a.o.Seed = rand.Uint64() >> 11 // short enough for any tool that reads JSON
	}
	if a.models == "all" {
		for _, m := range proto.Models() {
			a.o.Models = append(a.o.Models, m.String())
		}
	} else {
		a.o.Models = strings.Split(a.models, ",")
	}
	for _, m := range a.o.Models {
		if _, err := proto.ParseModel(m); err != nil {
			return fmt.Errorf("--model: %w", err)
		}
	}
	if a.domains == "all" {
		a.domains = "memory,file"
	}
	a.o.Domains = strings.Split(a.domains, ",")
	for _, d := range a.o.Domains {
		if d != "memory" && d != "file" {
			return fmt.Errorf("--domain %s: want memory, file or both", d)
		}
	}
	if a.kinds != "all" {
		a.o.Kinds = strings.Split(a.kinds, ",")
	}
	low, high, ranged := strings.Cut(a.nodes, "-")
	if !ranged {
		high = low
	}
	var errs [2]error
	a.o.NodesMin, errs[0] = strconv.Atoi(low)
	a.o.NodesMax, errs[1] = strconv.Atoi(high)
	if errors.Join(errs[:]...) != nil {
		return fmt.Errorf("--nodes %s: want a number, or two as in 3-5", a.nodes)
	}
	a.o.Say = func(format string, args ...any) {
		if a.verbose {
			fmt.Printf(format+"\n", args...)
		}
	}
	return nil
}

// cluster makes the cluster of a round.
func (a *chaosArgs) cluster(want demo.ChaosCluster) (*local.Cluster, error) {
	if there, err := local.Exists(want.Dir); err != nil {
		return nil, err
	} else if there {
		if err := local.Destroy(want.Dir); err != nil { // of a run that was cut off
			return nil, err
		}
	}
	s := config.New()
	s.Config.Provider, s.Config.Verbs = cmp.Or(want.Provider, a.provider), a.verbs
	s.Config.Nodes, s.Config.Model, s.Config.Domain = want.Nodes, want.Model, want.Domain
	s.Config.PoolSize = config.Size(demo.ChaosPoolBytes())
	s.Config.HugePages = a.huge
	if want.DataTLS {
		s.Config.Data.TLS = "on"
	}
	if want.RunDir != "" {
		// A tmpfs of its own inside would not fill up with the rest.
		s.Config.RunDir, s.Config.HugePages = want.RunDir, "off"
	}
	return local.Create(local.Options{Dir: want.Dir, Ports: a.ports, Source: s, Format: formatNode})
}
