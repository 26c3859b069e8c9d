package report

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// TestFixedPart: of the first experiment and two further returns the middle one
// counts, without its transfer.
func TestFixedPart(t *testing.T) {
	in := syntheticInput(t)
	run := &in.Runs[0]
	whole := run.Marks.Serving - run.Marks.Restarted
	later := func(shift, stretch int64) Return {
		r := Return{Victim: run.Victim, Killed: run.Marks.Killed + shift, Restarted: run.Marks.Restarted + shift, Recovery: Recovery{Kind: "heal", Bytes: 1}}
		for _, e := range run.Events {
			if e.Node == r.Victim && e.At >= run.Marks.Restarted {
				e.At = r.Restarted + (e.At-run.Marks.Restarted)*stretch/10
				r.Events = append(r.Events, e)
			}
		}
		return r
	}
	in.Returns = []Return{later(60*sec, 20), later(120*sec, 13)}
	r, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	f := r.FixedPart
	first := float64(whole) / 1e6
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-3 {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	// The synthetic transfer is from 40 % to 88 % of the way.
	near("fixed part, median", f.FixedMs, 1.3*0.52*first)
	near("fixed part, least", f.MinMs, 0.52*first)
	near("fixed part, most", f.MaxMs, 2*0.52*first)
	near("transfer", f.TransferMs, 1.3*0.48*first)
	near("of the run itself", r.Runs[0].FixedMs, 0.52*first)
	if f.Times != 3 || len(f.Parts) != len(recoverySteps) {
		t.Errorf("%d times, parts %q", f.Times, partNames(f.Parts))
	}
	var text, page strings.Builder
	if err := errors.Join(r.WriteTerminal(&text), r.WriteHTML(&page)); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{"terminal": text.String(), "page": page.String()} {
		if !strings.Contains(s, f.text()) {
			t.Errorf("%s does not say %q", name, f.text())
		}
	}

	in.Returns[1].Events = slices.DeleteFunc(in.Returns[1].Events, func(e Event) bool { return e.Name == EventFirstReadServed || e.Name == EventPromoted })
	if _, err := Compute(in); !errors.Is(err, ErrInput) {
		t.Errorf("a return without an end: %v", err)
	}
}
