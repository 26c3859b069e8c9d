package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"healkv/bench/tally"
	"healkv/bench/workload"
	"healkv/cmd/node/local"
)

// ErrChaos: a cluster under faults broke a promise, or too little was done for
// the verdict to mean anything.
var ErrChaos = errors.New("chaos: a round failed")

var errChaosOptions = errors.New("chaos")

// ChaosOptions of a run that hurts clusters of real processes under load.
//
// A run is a sequence of rounds. Each makes a cluster, with the next pair of
// model and domain, injects faults until the round's time is over, lets the
// cluster come to rest, and judges it.
type ChaosOptions struct {
	Out     string // results; what a failed round left stays there
	Program string // the binary that serves
	Commit  string

	Time      time.Duration // rounds begin until so much has passed
	Faults    int           // and until so many faults were injected
	Rounds    int           // and until so many rounds were done
	RoundTime time.Duration // 0: Time over the pairs of model and domain, 20 s to 60 s
	// RoundFaults ends a round as well; 0 for no such bound.
	RoundFaults int
	Seed        uint64
	Models      []string
	Domains     []string
	NodesMin    int // of a cluster; most have so many
	NodesMax    int
	Kinds       []string // nil: all
	Keys        uint64
	Workload    string
	Rate        float64 // accesses a second, all nodes together
	KeepGoing   bool    // after a failed round

	// Make makes a cluster; it is removed with local.Destroy.
	Make func(ChaosCluster) (*local.Cluster, error)
	Say  func(format string, args ...any)
}

// ChaosCluster says what cluster a round wants.
type ChaosCluster struct {
	Dir           string
	RunDir        string // "": the usual place
	Nodes         int
	Model, Domain string
	Provider      string // "": the run's
	DataTLS       bool   // data connections are encrypted, where there are any
}

func (o *ChaosOptions) validate() error {
	if o.NodesMax == 0 {
		o.NodesMax = o.NodesMin
	}
	if o.Kinds == nil {
		o.Kinds = FaultKinds()
	}
	for _, k := range o.Kinds {
		if faultOf(k) == nil {
			return fmt.Errorf("%w: no fault is called %q; there are %v", errChaosOptions, k, FaultKinds())
		}
	}
	switch pairs := len(o.Models) * len(o.Domains); {
	case pairs == 0:
		return fmt.Errorf("%w: no model or no domain", errChaosOptions)
	case o.NodesMin < 3 || o.NodesMax > 16 || o.NodesMax < o.NodesMin:
		return fmt.Errorf("%w: %d to %d nodes, want 3 to 16: a group of fewer has no majority without the one that is killed", errChaosOptions, o.NodesMin, o.NodesMax)
	case o.Keys < 100 || !(o.Rate > 0):
		return fmt.Errorf("%w: %d keys at %v accesses a second, want at least 100 and above 0", errChaosOptions, o.Keys, o.Rate)
	case o.Time <= 0 && o.Faults <= 0 && o.Rounds <= 0:
		return fmt.Errorf("%w: no time, no faults and no rounds asked for", errChaosOptions)
	case o.RoundTime == 0:
		o.RoundTime = min(max(o.Time/time.Duration(pairs), 20*time.Second), 60*time.Second)
	}
	return nil
}

// ChaosSummary is what a run did; it is written as JSON.
type ChaosSummary struct {
	Seed       uint64         `json:"seed"`
	Commit     string         `json:"commit"`
	TookS      float64        `json:"took_s"`
	Faults     int            `json:"faults"`
	ByKind     map[string]int `json:"by_kind"`
	Left       []string       `json:"left_out,omitempty"` // kinds that this machine does not permit, and why
	Operations uint64         `json:"operations"`
	AckedKeys  uint64         `json:"acked_keys_compared"`
	HistoryOps int            `json:"history_operations"`
	Recoveries map[string]int `json:"recoveries"`
	HealMaxMS  int64          `json:"heal_max_ms"`
	Rounds     []*ChaosRound  `json:"rounds"`
	Problems   []string       `json:"problems"`
	OK         bool           `json:"ok"`
}

// Chaos runs rounds and writes DIR/chaos.json. The error is ErrChaos if
// something was not right, and another one if a round could not be run at all.
func Chaos(ctx context.Context, o ChaosOptions, out io.Writer) (*ChaosSummary, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Out, 0o700); err != nil {
		return nil, err
	}
	sweepDisks(o.Say)
	s := &ChaosSummary{Seed: o.Seed, Commit: o.Commit, ByKind: map[string]int{}, Recoveries: map[string]int{}, OK: true}
	p := &planner{o: &o, rng: rand.New(rand.NewPCG(o.Seed, 0xc4a05)), all: map[string]int{}, pair: map[string]map[string]int{}}
	if err := mayMount(); err != nil {
		why := fmt.Sprintf("%s: a file system of bounded size cannot be mounted: %v", FaultDiskFull, err)
		s.Left = append(s.Left, why)
		p.noDisk = true
		tally.Skipped("real cluster", FaultDiskFull, "the permission to mount a tmpfs")
	}
	began := time.Now()
	fmt.Fprintf(out, "seed %d: %d kinds of faults, models %v, domains %v, rounds of %v\n", o.Seed, len(o.Kinds), o.Models, o.Domains, o.RoundTime)
	fmt.Fprintf(out, "%5s %-14s %-7s %5s %7s %7s %9s %8s %9s %9s  %s\n", "round", "model", "domain", "nodes", "took", "faults", "ops", "history", "healed ms", "recovered", "")
	for n := 0; time.Since(began) < o.Time || s.Faults < o.Faults || n < o.Rounds; n++ {
		if err := ctx.Err(); err != nil {
			s.problem("stopped after %d rounds: %v", n, context.Cause(ctx))
			break
		}
		if limit := 2*o.Time + time.Hour; time.Since(began) > limit {
			s.problem("%d faults after %v, wanted %d", s.Faults, limit, o.Faults)
			break
		}
		r := p.round(n)
		runRound(ctx, &o, p, r)
		s.take(r)
		r.line(out)
		for _, problem := range r.Problems {
			fmt.Fprintf(out, "FAILED: round %d (%s, %s, %d nodes): %s\n", r.Number, r.Model, r.Domain, r.Nodes, problem)
		}
		if !r.OK && !o.KeepGoing {
			break
		}
	}
	s.TookS = time.Since(began).Seconds()
	s.judge(&o)
	s.write(out)
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return s, err
	}
	path := filepath.Join(o.Out, "chaos.json")
	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return s, err
	}
	fmt.Fprintf(out, "all of it: %s\n", path)
	s.count(&o)
	if !s.OK {
		return s, fmt.Errorf("%w: seed %d; logs, states and histories of the failed round are in %s", ErrChaos, o.Seed, o.Out)
	}
	return s, nil
}

// planner chooses what comes next: for a seed always the same, as far as the
// number of faults that fit into a round is.
type planner struct {
	o      *ChaosOptions
	rng    *rand.Rand
	all    map[string]int            // faults by kind
	pair   map[string]map[string]int // the same by model and domain
	noDisk bool
}

func (p *planner) round(n int) *ChaosRound {
	o := p.o
	i := n % (len(o.Models) * len(o.Domains))
	r := &ChaosRound{Number: n, Model: o.Models[i%len(o.Models)], Domain: o.Domains[i/len(o.Models)%len(o.Domains)],
		Nodes: o.NodesMin, Seed: p.rng.Uint64(), OK: true, ByKind: map[string]int{}, Missed: map[string]int{}, Recoveries: map[string]int{}}
	if o.NodesMax > o.NodesMin && p.rng.IntN(3) == 0 {
		r.Nodes += p.rng.IntN(o.NodesMax-o.NodesMin) + 1
	}
	// Every second round of a pair lives on a small file system, and every second
	// pair begins with one.
	r.Bounded = !p.noDisk && slices.Contains(o.Kinds, FaultDiskFull) && (i+n/(len(o.Models)*len(o.Domains)))%2 == 0
	return r
}

// permits says whether a fault of this kind can be injected at all: it may need
// more nodes, or a file system that can be filled.
func (r *ChaosRound) permits(kind string) bool {
	f := faultOf(kind)
	return (r.Bounded || !f.bounded) && f.nodes <= r.Nodes
}

// next is a kind that was never injected, else one that this pair of model and
// domain has not seen, else the rarest.
func (p *planner) next(r *ChaosRound) string {
	pair := p.pair[r.pair()]
	best, rank := "", [3]int{}
	for _, j := range p.rng.Perm(len(p.o.Kinds)) {
		k := p.o.Kinds[j]
		if !r.permits(k) {
			continue
		}
		if now := [3]int{min(p.all[k], 1), pair[k], p.all[k]}; best == "" || slices.Compare(now[:], rank[:]) < 0 {
			best, rank = k, now
		}
	}
	return best
}

func (p *planner) done(r *ChaosRound, kind string) {
	p.all[kind]++
	if p.pair[r.pair()] == nil {
		p.pair[r.pair()] = map[string]int{}
	}
	p.pair[r.pair()][kind]++
}

func (s *ChaosSummary) problem(format string, args ...any) {
	s.OK = false
	s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
}

func (s *ChaosSummary) take(r *ChaosRound) {
	s.Rounds = append(s.Rounds, r)
	s.OK = s.OK && r.OK
	for k, n := range r.ByKind {
		s.ByKind[k] += n
		s.Faults += n
	}
	for k, n := range r.Recoveries {
		s.Recoveries[k] += n
	}
	s.Operations += r.Operations
	s.AckedKeys += r.AckedKeys
	s.HistoryOps += r.HistoryOps
	s.HealMaxMS = max(s.HealMaxMS, r.HealMaxMS)
}

// due are the kinds of which there must have been a fault: those that some
// round permitted, in a run long enough to come to every kind twice.
func (s *ChaosSummary) due(o *ChaosOptions) (kinds []string) {
	if s.Faults < 2*len(o.Kinds) {
		return nil
	}
	for _, k := range o.Kinds {
		if slices.ContainsFunc(s.Rounds, func(r *ChaosRound) bool { return r.permits(k) }) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// judge looks for what should have happened and did not.
func (s *ChaosSummary) judge(o *ChaosOptions) {
	if s.OK && s.Faults < o.Faults {
		s.problem("%d faults, wanted %d", s.Faults, o.Faults)
	}
	for _, k := range s.due(o) {
		if s.ByKind[k] == 0 {
			s.problem("not one fault of kind %s among %d", k, s.Faults)
		}
	}
	if s.OK && (s.Faults == 0 || s.Operations == 0 || s.HistoryOps == 0) {
		s.problem("%d faults, %d operations, %d of them in histories: nothing was shown", s.Faults, s.Operations, s.HistoryOps)
	}
}

// count hands the figures to the summary of a verification.
func (s *ChaosSummary) count(o *ChaosOptions) {
	tally.Add("real cluster", "rounds", len(s.Rounds))
	tally.Add("real cluster", "faults", s.Faults)
	tally.Add("real cluster", "operations", s.Operations)
	tally.Add("real cluster", "operations in histories", s.HistoryOps)
	due := s.due(o)
	for _, k := range FaultKinds() {
		if n := s.ByKind[k]; n > 0 || slices.Contains(due, k) {
			tally.Mark("real cluster", k, n)
		}
	}
	// After these faults there is no other way back.
	for _, x := range []struct{ way, after string }{{"heal", FaultKill}, {"full", FaultBlank}, {"cold", FaultKillAll}} {
		if n := s.Recoveries[x.way]; n > 0 || slices.Contains(due, x.after) {
			tally.Mark("real cluster", "recovered by "+x.way, n)
		}
	}
}

func chaosSpec(o *ChaosOptions) (*workload.Spec, error) {
	return workload.New(o.Workload, workload.Options{Keys: o.Keys})
}
