package demo

import (
	"fmt"
	"strings"
)

// judge says what held and what did not.
func (e *endurance) judge() {
	r := &e.result
	say := func(ok bool, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		fmt.Fprintln(e.out, map[bool]string{true: "kept:   ", false: "FAILED: "}[ok]+text)
		if !ok {
			r.Problems = append(r.Problems, text)
		}
	}
	first := r.Intervals[0].Writes
	r.Lowest, r.Highest = 1, 1
	judged, free, amplification := 0, 1.0, 1.0
	for n, x := range r.Intervals {
		for i := range x.FreeMin {
			free, amplification = min(free, x.FreeMin[i]), max(amplification, x.Amplification[i])
		}
		if n > 0 && x.Judged {
			judged++
			r.Lowest, r.Highest = min(r.Lowest, x.Writes/max(first, 1)), max(r.Highest, x.Writes/max(first, 1))
		}
	}
	rate := fmt.Sprintf("throughput: %.0f writes/s in the first interval; the others with all nodes, %d of them, from %.0f %% to %.0f %% of it",
		first, judged, 100*r.Lowest, 100*r.Highest)
	if e.o.Unsteady {
		say(first > 0 && judged > 0, "%s, not judged", rate)
	} else {
		say(first > 0 && judged > 0 && r.Lowest >= endureRate, "%s, at least %.0f %%", rate, 100*endureRate)
	}
	say(free >= endureFree, "space: at least %.1f %% of every log were free at every look, %.1f %% asked for", 100*free, 100*endureFree)
	say(amplification <= endureAmplification, "amplification: %.2f at the most, %.1f allowed", amplification, endureAmplification)
	say(r.Written > 1, "every log was written %.1f times over", r.Written)
	if e.o.Kill > 0 {
		x := r.Recovery
		kind := x.Kind
		if x.Why != "" {
			kind += " (" + x.Why + ")"
		}
		say(x.Kind == "heal", "node %d was away for %.1f s and came back by %s: %s, %d records, out of a range of %s of log, in %.1f s", e.o.Victim,
			r.Away, kind, size(x.Bytes), x.Records, size(x.RangeBytes), float64(x.Total)/1e9)
	}
	v := r.Verified
	compared := fmt.Sprintf("%d acknowledged writes, %d keys, compared at %d nodes: %d missing, %d older; %d operations of watched keys", v.AckedWrites, v.AckedKeys,
		e.o.Nodes, v.Missing, v.Older, v.HistoryOps)
	say(v.OK, "%s", strings.Join(append([]string{compared}, v.Problems...), "; "))
	fmt.Fprintf(e.out, "%d writes refused for want of room\n", r.NoRoom)
}
