package demo

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// write is the table at the end: faults by kind, and where they were injected.
func (s *ChaosSummary) write(out io.Writer) {
	var pairs []string
	counts := map[string]map[string]int{}
	for _, r := range s.Rounds {
		if counts[r.pair()] == nil {
			counts[r.pair()] = map[string]int{}
			pairs = append(pairs, r.pair())
		}
		for k, n := range r.ByKind {
			counts[r.pair()][k] += n
		}
	}
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "fault\tall")
	for _, p := range pairs {
		fmt.Fprintf(t, "\t%s", short(p))
	}
	fmt.Fprintln(t)
	for _, k := range FaultKinds() {
		missed := 0
		for _, r := range s.Rounds {
			missed += r.Missed[k]
		}
		if s.ByKind[k] == 0 && missed == 0 {
			continue
		}
		fmt.Fprintf(t, "%s\t%d", k, s.ByKind[k])
		for _, p := range pairs {
			fmt.Fprintf(t, "\t%d", counts[p][k])
		}
		if missed > 0 {
			fmt.Fprintf(t, "\t%d more came too late", missed)
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	for _, l := range s.Left {
		fmt.Fprintf(out, "left out: %s\n", l)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(out, "FAILED: %s\n", p)
	}
	verdict := "OK"
	if !s.OK {
		verdict = "FAILED"
	}
	fmt.Fprintf(out, "%s: %d rounds, %d faults in %.0f s; %d operations, %d acknowledged keys compared, %d operations in histories; "+
		"%d recoveries by heal, %d by full copy, %d cold; healed within %d ms; seed %d\n",
		verdict, len(s.Rounds), s.Faults, s.TookS, s.Operations, s.AckedKeys, s.HistoryOps,
		s.Recoveries["heal"], s.Recoveries["full"], s.Recoveries["cold"], s.HealMaxMS, s.Seed)
}

// short is "sy/m" for "synchronous memory".
func short(pair string) string {
	var model, domain string
	fmt.Sscan(pair, &model, &domain)
	names := []string{"synchronous", "strict", "read-enforced", "eventual", "scope"}
	if i := slices.Index(names, model); i >= 0 {
		model = []string{"sync", "strict", "read-e", "event", "scope"}[i]
	}
	return model + "/" + domain[:min(1, len(domain))]
}
