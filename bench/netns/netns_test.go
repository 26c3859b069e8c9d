//go:build process

package netns

import (
	"context"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"healkv/bench/tally"
)

var (
	programFlag = flag.String("netns.node", "", "the `program` that serves; default: built from this repository")
	leaseFlag   = flag.Duration("netns.lease", 3*time.Second, "lease of the nodes")
	keysFlag    = flag.Uint64("netns.keys", 8000, "loaded keys, of 1000 bytes each")
	rateFlag    = flag.Float64("netns.rate", 75, "operations a second of each generator and client: three for each node")
	nodesFlag   = flag.Int("netns.nodes", 6, "how many nodes")
	logsFlag    = flag.Bool("netns.logs", false, "show what the nodes said also if all went well")
	kindsFlag   = flag.String("netns.faults", "", "kinds of faults, comma between; default: all")
)

// program is what is started in the hosts.
func program(t *testing.T) string {
	t.Helper()
	if *programFlag != "" {
		return *programFlag
	}
	path := filepath.Join(t.TempDir(), "node")
	build := exec.Command("go", "build", "-o", path, "healkv/cmd/node")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Six nodes on six hosts over TCP: links are cut in every way, a node is killed
// and healed, and after each everybody is a member again and every key is
// readable everywhere. In the end no answer was wrong and nothing that was
// answered is lost.
func TestNetnsCluster(t *testing.T) {
	w := network(t, *nodesFlag)
	began := time.Now()
	x := &trial{cluster: newCluster(t, w, program(t), *leaseFlag), lease: *leaseFlag, seen: map[string]uint64{}}
	x.clients = newClients(x.cluster)
	ctx := t.Context()
	for i := range x.procs {
		x.start(i)
	}
	err := x.await(ctx, "the start", x.patience(), func(ctx context.Context) bool {
		for i := range x.procs {
			if x.ask(ctx, i, "/readyz", nil, nil) != nil {
				return false
			}
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []func() error{
		func() error { return x.clients.load(ctx) },
		x.clients.goOutside,
		func() error { _, err := x.calm(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d nodes serve and hold %d keys after %.1f s", len(x.procs), *keysFlag, time.Since(began).Seconds())

	injected := 0
	for _, kind := range strings.Split(*kindsFlag, ",") {
		if kind != "" && !slices.ContainsFunc(faults(), func(f fault) bool { return f.kind == kind }) {
			t.Fatalf("no fault is called %q", kind)
		}
	}
	for i, f := range faults() {
		if *kindsFlag != "" && !slices.Contains(strings.Split(*kindsFlag, ","), f.kind) {
			continue
		}
		if f.needs != nil {
			if missing := f.needs(x); missing != "" {
				tally.Skipped("network namespaces", f.kind, missing)
				t.Logf("%s: left out, it needs %s", f.kind, missing)
				continue
			}
		}
		shown, err := x.run(ctx, f, i%len(x.procs))
		if err != nil {
			t.Fatalf("%s: %v", f.kind, err)
		}
		if !shown {
			tally.Skipped("network namespaces", f.kind, "it came too late each time")
			continue
		}
		injected++
	}
	if err := x.clients.halt(ctx); err != nil {
		t.Fatal(err)
	}
	j, err := x.clients.judge(ctx)
	if err != nil {
		t.Error(err)
	}
	x.stop()
	x.readLogs()

	x.seen["acknowledged keys compared at each node"] = j.ackedKeys
	x.seen["operations in histories"] = uint64(j.history.Compared())
	for _, name := range slices.Sorted(maps.Keys(x.seen)) {
		t.Logf("%8d %s", x.seen[name], name)
		tally.Mark("network namespaces", name, x.seen[name])
	}
	t.Logf("%8d unknown, %d rejected, of %d operations on %d keys", j.history.Unknown, j.history.Rejected, j.history.Ops, j.history.Keys)
	if injected == 0 || j.ackedKeys < *keysFlag || j.history.Keys != watchKeys || j.history.Compared() < 200*injected {
		t.Errorf("%d faults, %d of %d keys compared, %d operations of %d watched keys: too little to mean anything",
			injected, j.ackedKeys, *keysFlag, j.history.Compared(), j.history.Keys)
	}
	t.Logf("%d faults in %.1f s", injected, time.Since(began).Seconds())
}
