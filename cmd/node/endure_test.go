//go:build process

package main

import (
	"context"
	"flag"
	"os"
	"testing"
	"time"

	"healkv/bench/tally"
	"healkv/cmd/node/demo"
)

var endureTime = flag.Duration("endure-time", time.Minute, "for how long pools are overwritten; a node is killed in the middle")

// TestEndureShort is `node endure` for a short time: what it says of throughput
// is logged only, since a machine that does something else beside is not steady.
func TestEndureShort(t *testing.T) {
	var a endureArgs
	if err := parse(endureFlags(&a), []string{"--out", t.TempDir(), "--keys", "100000", "--time", endureTime.String(),
		"--kill", (*endureTime / 2).String(), "--away", "5s"}); err != nil {
		t.Fatal(err)
	}
	if err := a.settle(); err != nil {
		t.Fatal(err)
	}
	a.ports.Resp, a.ports.Admin = freePorts(t, 6)
	c, done, err := a.cluster()
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	o := a.o
	o.Program, o.Lease, o.WatchRate = binary, time.Duration(a.source.Config.Lease), 20
	o.Verify = demo.Minima{AckedWrites: o.Keys, AckedKeys: o.Keys, HistoryOps: int(o.Time.Seconds())}
	o.Say = t.Logf
	o.Unsteady = true
	ctx, cancel := context.WithTimeout(context.Background(), 4**endureTime+3*time.Minute)
	defer cancel()
	r, err := demo.Endure(ctx, o, c, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	tally.Add("endurance", "intervals", len(r.Intervals))
	tally.Add("endurance", "logs written over", int(r.Written))
	tally.Add("endurance", "records healed", int(r.Recovery.Records))
	tally.Add("endurance", "acknowledged writes compared", r.Verified.AckedWrites)
}
