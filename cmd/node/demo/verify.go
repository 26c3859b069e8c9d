package demo

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"healkv/bench/agent"
	"healkv/bench/check"
	"healkv/bench/record"
	"healkv/bench/report"
	pmemrecord "healkv/pmem/record"
)

// verify compares at the end: every acknowledged write at every node, the
// nodes with one another, and the histories of the watched keys.
func (r *runner) verify(ctx context.Context) (*report.Verification, error) {
	r.say("verifying: acknowledged writes at every node, digests, histories")
	v := &report.Verification{OK: true, DigestsAgree: true, Linearizable: true,
		Minimum: fmt.Sprintf("%d acknowledged writes, %d keys at each node, %d operations of watched keys",
			r.o.Verify.AckedWrites, r.o.Verify.AckedKeys, r.o.Verify.HistoryOps)}
	fail := func(format string, args ...any) {
		v.OK = false
		v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
	}
	for _, f := range r.acks {
		t, err := record.ReadAcks(f)
		if err != nil {
			return nil, err
		}
		v.AckedWrites += t.Count
	}
	nodes := r.k.all()
	got := make([]agent.Verified, len(nodes))
	if err := r.k.each(nodes, func(i int) error { return r.readBack(ctx, i, &got[i]) }); err != nil {
		return nil, err
	}
	for i, g := range got {
		v.AckedKeys = max(v.AckedKeys, g.Acks.Compared)
		v.KeysCompared += g.Acks.Compared
		v.Missing += g.Acks.Missing
		v.Older += g.Acks.Older
		if !g.Acks.OK() {
			fail("node %d lacks acknowledged writes: %d missing, %d older: %v", i, g.Acks.Missing, g.Acks.Older, g.Acks.Losses)
		}
		if !g.Digest.Same(got[0].Digest) {
			v.DigestsAgree = false
			fail("node %d and node 0 hold different data: %+v and %+v", i, g.Digest, got[0].Digest)
			continue
		}
		v.DigestNodes++
	}
	v.DigestKeys, v.Digest = got[0].Digest.Keys, fmt.Sprintf("%016x", got[0].Digest.Sum)
	if got[0].Digest.Locked > 0 {
		fail("%d records are locked with nobody writing", got[0].Digest.Locked)
	}
	var ops []check.Op
	for _, f := range r.history {
		h, err := record.ReadHistory(f)
		if err != nil {
			return nil, err
		}
		ops = append(ops, h.Ops...)
	}
	res := check.Registers(ops)
	v.HistoryOps, v.HistoryKeys, v.Linearizable = res.Compared(), res.Keys, res.OK()
	r.unknown, r.rejected = res.Unknown, res.Rejected
	for _, x := range res.Violations {
		fail("the history is not linearizable: %v", x)
	}
	m := r.o.Verify
	if v.AckedWrites < m.AckedWrites || v.AckedKeys < m.AckedKeys || v.HistoryOps < m.HistoryOps {
		fail("too little was compared: %d acknowledged writes, %d keys, %d operations of watched keys; at least %s",
			v.AckedWrites, v.AckedKeys, v.HistoryOps, v.Minimum)
	}
	return v, nil
}

// readBack verifies one node; the digest counts once nothing is locked there.
func (r *runner) readBack(ctx context.Context, i int, got *agent.Verified) error {
	for try := 0; ; try++ {
		q := agent.Verify{Workload: r.o.Workload, Keys: r.o.Keys, Acks: r.acks}
		if err := r.k.ask(ctx, i, http.MethodPost, "/bench/verify", q, got); err != nil {
			return err
		}
		if got.Digest.Locked == 0 || try == 20 {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// traces gives experiments the windows of all nodes that overlap with them.
func (r *runner) traces(runs ...*report.Run) error {
	for _, i := range r.k.all() {
		files := make([][][]record.Window, len(runs))
		for _, f := range r.windows[i] {
			w, err := record.ReadWindows(f)
			if err != nil {
				return err
			}
			for n, x := range runs {
				first, last := x.Marks.Begin/record.WindowNanos, x.Marks.End/record.WindowNanos
				var part []record.Window
				for _, x := range w.Windows {
					if x.Index >= first && x.Index <= last {
						part = append(part, x)
					}
				}
				files[n] = append(files[n], part)
			}
		}
		for n, x := range runs {
			x.Nodes = append(x.Nodes, report.NodeTrace{Node: i, Windows: report.JoinWindows(files[n]...)})
		}
	}
	return nil
}

func recordBytes(key, value int) int { return pmemrecord.Bytes(key, value) }

func size(b uint64) string {
	switch {
	case b >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(b)/(1<<20))
	case b >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(b)/(1<<10))
	}
	return fmt.Sprintf("%d B", b)
}

// machine describes where this runs.
func machine() (e report.Environment) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		e.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(name) {
		case "model name":
			e.Machine = strings.TrimSpace(value)
		case "processor":
			e.Cores++
		}
	}
	if strings.Contains(e.Machine, "QEMU") {
		e.Emulated = "the processor is emulated (" + e.Machine + "): its figures say that something works, not how fast it is."
	}
	return e
}
