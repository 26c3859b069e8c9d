package simulation

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

var (
	tracesTo    = flag.String("sim.traces", "", "write traces into this folder, one subfolder a model (scripts/tlc-traces.sh)")
	traceSeeds  = flag.Int("sim.traceseeds", 3, "traces a model")
	traceFirst  = flag.Uint64("sim.tracefirst", 1, "first seed of traces")
	traceModel  = flag.String("sim.tracemodel", "", "only this model")
	traceMutate = flag.Bool("sim.tracemutate", false, "write mutations of the traces as well")
)

// TestTraces writes traces, if told where to. Always: writing one changes
// nothing in the run.
func TestTraces(t *testing.T) {
	lines := 0
	for _, model := range proto.Models() {
		if *traceModel != "" && model.String() != *traceModel {
			continue
		}
		var traces []*Trace
		for i := range *traceSeeds {
			if *tracesTo == "" && i > 0 {
				break
			}
			seed := *traceFirst + uint64(i)
			o, s := DrawTrace(seed, model)
			r, f, trace := RunTraced(fmt.Sprintf("%v-%d", model, seed), o, s, handler())
			switch {
			case f != nil && !plant.On:
				t.Fatalf("seed %d (%v): %v", seed, &o, f)
			case trace.Unusable != "" && !plant.On:
				t.Logf("seed %d (%v): after %d lines: %s", seed, &o, len(trace.Lines), trace.Unusable)
				continue
			case f != nil:
				t.Logf("seed %d: %s", seed, f.Kind)
			}
			if *tracesTo == "" {
				if same, g := Run(o, s, nil); g != nil || same.Hash != r.Hash || same.Events != r.Events {
					t.Errorf("seed %d: the run is another one with a trace: %d events with hash %#x, without %d with %#x", seed, r.Events, r.Hash, same.Events, same.Hash)
				}
			}
			lines += len(trace.Lines)
			traces = append(traces, trace)
		}
		if *tracesTo == "" {
			continue
		}
		dir := filepath.Join(*tracesTo, model.String())
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(dir, "TraceData.tla"))
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteTraces(out, traces); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d lines", lines)
}
