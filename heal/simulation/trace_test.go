package simulation

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

var (
	tracesTo     = flag.String("sim.traces", "", "write traces into this folder, one subfolder a model (scripts/tlc-traces.sh)")
	traceSeeds   = flag.Int("sim.traceseeds", 1, "traces a model")
	traceFirst   = flag.Uint64("sim.tracefirst", 1, "first seed of traces")
	traceModel   = flag.String("sim.tracemodel", "", "only this model")
	traceMutants = flag.Int("sim.tracemutants", 0, "so many mutations of each trace, too")
)

// TestTraces writes traces, if told where to. Always: to write one changes
// nothing in the run.
func TestTraces(t *testing.T) {
	lines := 0
	for _, model := range proto.Models() {
		if *traceModel != "" && model.String() != *traceModel {
			continue
		}
		for i := range *traceSeeds {
			seed := *traceFirst + uint64(i)
			name := fmt.Sprintf("%v-%d", model, seed)
			if plant.On {
				name += "!" + os.Getenv("HEALKV_PLANT")
			}
			o, s := DrawTrace(seed, model)
			r, f, trace := RunTraced(name, o, s, handler())
			switch {
			case plant.On: // the trace goes as far as the run
				t.Logf("seed %d: %v", seed, f)
			case f != nil:
				t.Fatalf("seed %d (%v): %v", seed, &o, f)
			case trace.Unusable != "":
				t.Logf("seed %d (%v): after %d lines: %s", seed, &o, len(trace.Lines), trace.Unusable)
				continue
			}
			lines += len(trace.Lines)
			if *tracesTo == "" {
				if same, g := Run(o, s, nil); g != nil || same.Hash != r.Hash || same.Events != r.Events {
					t.Errorf("seed %d: the run is another one with a trace: %d events with hash %#x, without %d with %#x", seed, r.Events, r.Hash, same.Events, same.Hash)
				}
			}
			all := append([]*Trace{trace}, trace.mutants(int(seed)*5+int(model), *traceMutants)...)
			for _, x := range all {
				write(t, filepath.Join(*tracesTo, model.String()), x)
			}
		}
	}
	t.Logf("%d lines", lines)
}

func write(t *testing.T, dir string, x *Trace) {
	out := io.Discard
	if *tracesTo != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(dir, x.Name+".part"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		out = f
	}
	if err := x.Write(out); err != nil {
		t.Fatal(err)
	}
}
