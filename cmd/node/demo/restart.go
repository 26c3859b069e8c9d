package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"healkv/bench/agent"
	"healkv/bench/floor"
	"healkv/cmd/node/local"
)

// RestartOptions of a measurement of how long a node takes to serve again.
type RestartOptions struct {
	Records    []uint64
	Runs       int
	ValueBytes int
	Overwrites uint64
	Check      bool
	Program    string
	Make       func(records uint64) (*local.Cluster, func(), error)
	Say        func(format string, args ...any)
}

// RestartLease is the lease of the node that is measured: a restarted acceptor
// waits for one, which hides what is looked for the more the longer it is.
const RestartLease = 100 * time.Millisecond

// restartRatio is how much longer it may take with more records.
const restartRatio = 1.2

// ErrRestart: the time to serve grows with the number of records.
var ErrRestart = errors.New("restart: serving takes longer the more records there are")

// restarted is one start.
type restarted struct {
	gone, serving time.Duration
	disk          time.Duration // of an fdatasync of 4 KiB right before
	replayed      int
	opened        string
}

// restartRow is one number of records.
type restartRow struct {
	records     uint64
	pool        uint64 // bytes in use
	kill, power []restarted
}

// Restart measures it for every number of records and prints a table.
func Restart(ctx context.Context, o RestartOptions, out io.Writer) error {
	if o.Runs < 1 || len(o.Records) == 0 {
		return fmt.Errorf("%w: %d runs of %v records", errOptions, o.Runs, o.Records)
	}
	var nodes []*restartNode
	defer func() {
		for _, n := range nodes {
			n.done()
		}
	}()
	for _, records := range o.Records {
		n, err := newRestartNode(ctx, &o, records)
		if n != nil {
			nodes = append(nodes, n)
		}
		if err != nil {
			return err
		}
	}
	for run := range 2 * o.Runs {
		for _, n := range nodes {
			if err := n.round(ctx, &o, run); err != nil {
				return err
			}
		}
	}
	var rows []*restartRow
	for _, n := range nodes {
		rows = append(rows, &n.restartRow)
	}
	worst := restartTable(out, rows)
	if o.Check && worst > restartRatio {
		return fmt.Errorf("%w: %.2f times as long after SIGKILL, limit %.1f", ErrRestart, worst, restartRatio)
	}
	return nil
}

// restartNode is a node with so many records. It runs in its rounds only: they
// take turns, so that all meet the disk in the same states. A disk that has just
// taken ten gigabytes flushes a vote ten times slower than one at rest, and a
// start flushes a dozen times.
type restartNode struct {
	restartRow
	k      *cluster
	folder string
	probe  restartProbe
	closes func()
}

// newRestartNode makes and loads one; nil if there is nothing to close.
func newRestartNode(ctx context.Context, o *RestartOptions, records uint64) (*restartNode, error) {
	c, done, err := o.Make(records)
	if err != nil {
		return nil, err
	}
	n := &restartNode{restartRow: restartRow{records: records}, k: newCluster(c, o.Program), folder: filepath.Dir(c.LogPath(0)), closes: done}
	n.probe.address = c.Configs[0].Resp.Listen
	if err := n.begin(ctx, 0); err != nil {
		return n, err
	}
	begun := time.Now()
	if err := n.load(ctx, o, n.k, agent.Run{Load: true}); err != nil {
		return n, err
	}
	o.Say("%d records loaded in %.1f s", records, time.Since(begun).Seconds())
	return n, n.k.leave(ctx, 0)
}

// done ends what still runs and takes the files away.
func (n *restartNode) done() {
	_ = n.k.stop(syscall.SIGHUP) // it kills what does not end
	n.k.client.CloseIdleConnections()
	n.closes()
}

// begin starts the node and leaves some keys to be read after it has ended.
func (n *restartNode) begin(ctx context.Context, group int) error {
	if err := n.k.start(0, benchFlag); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := n.k.awaitServing(wait, n.k.all()); err != nil {
		return err
	}
	return n.probe.keep(group)
}

// diskLook is how long the disk is looked at before a process is ended.
const diskLook = 50 * time.Millisecond

// round overwrites some records, ends the process, and measures the next one.
func (n *restartNode) round(ctx context.Context, o *RestartOptions, run int) error {
	if err := n.begin(ctx, run+1); err != nil {
		return err
	}
	if err := n.load(ctx, o, n.k, agent.Run{Ops: o.Overwrites, Seed: uint64(run + 1)}); err != nil {
		return err
	}
	if err := n.rest(ctx); err != nil {
		return err
	}
	disk, err := floor.Flush(ctx, n.folder, 4<<10, diskLook)
	if err != nil {
		return err
	}
	power := run%2 == 1
	one, err := n.again(ctx, n.k, &n.probe, power)
	if err != nil {
		return err
	}
	one.disk = time.Duration(disk * float64(time.Microsecond))
	if power {
		n.power = append(n.power, one)
	} else {
		n.kill = append(n.kill, one)
	}
	o.Say("%d records, %s: serving after %v; the old process was gone after %v; fdatasync before it %v; %s",
		n.records, [...]string{"SIGKILL", "power loss"}[run%2], one.serving.Round(100*time.Microsecond), one.gone.Round(100*time.Microsecond), one.disk.Round(10*time.Microsecond), one.opened)
	return n.k.leave(ctx, 0)
}

// rest returns once the node has loaded all pages of its index.
func (n *restartNode) rest(ctx context.Context) error {
	for {
		s, err := n.k.status(ctx, 0)
		if err != nil {
			return err
		}
		if n.pool = s.PoolUsedBytes; s.Counters["index_pages_in_doubt"] == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// load runs the generator inside the node to its end.
func (row *restartRow) load(ctx context.Context, o *RestartOptions, k *cluster, q agent.Run) error {
	q.Workload, q.Keys, q.ValueBytes, q.Nodes, q.Window = "write-only", row.records, o.ValueBytes, 1, 512
	if err := k.ask(ctx, 0, http.MethodPost, "/bench/start", q, nil); err != nil {
		return err
	}
	var t agent.Totals
	if err := k.ask(ctx, 0, http.MethodPost, "/bench/wait", struct{}{}, &t); err != nil {
		return err
	}
	if t.Err != "" {
		return fmt.Errorf("generator: %s", t.Err)
	}
	return nil
}

var replayed = regexp.MustCompile(`replayed (\d+) records|rebuilt from log, (\d+) records`)

// again ends the process and measures the next one.
func (row *restartRow) again(ctx context.Context, k *cluster, probe *restartProbe, power bool) (one restarted, err error) {
	begun := time.Now()
	k.kill(0)
	<-k.procs[0].ended
	one.gone = time.Since(begun)
	if power {
		if err := forgetIndex(k.local.Configs[0].IndexDir); err != nil {
			return one, err
		}
	}
	begun = time.Now()
	if err := k.start(0, benchFlag); err != nil {
		return one, err
	}
	if err := probe.serving(ctx, k.procs[0]); err != nil {
		return one, fmt.Errorf("%w; its log is %s", err, k.local.LogPath(0))
	}
	one.serving = time.Since(begun)
	s, err := k.status(ctx, 0)
	if err != nil {
		return one, err
	}
	one.opened = s.Opened
	if m := replayed.FindStringSubmatch(s.Opened); m != nil {
		one.replayed, _ = strconv.Atoi(m[1] + m[2])
	}
	return one, nil
}

// forgetIndex leaves what a power loss leaves: what lies in memory is gone. As
// root the page cache goes too, so that what is read comes from the disk.
func forgetIndex(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.index"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("restart: no index in %s", dir)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	syscall.Sync()
	_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) // not as root: the files stay in the cache
	return nil
}

// restartProbe is a Redis client that reads and writes keys of its own.
type restartProbe struct {
	address string
	kept    int
}

const restartKeys = 200

func restartKey(n, i int) (key, value string) {
	return fmt.Sprintf("restart-%d-%d", n, i), fmt.Sprintf("kept %d %d", n, i)
}

// keep writes keys that must be there after every start that follows.
func (p *restartProbe) keep(n int) error {
	c, err := net.Dial("tcp", p.address)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for i := range restartKeys {
		key, value := restartKey(n, i)
		for try := 0; ; try++ {
			got, err := command(c, r, "SET", key, value)
			if err == nil && got == "OK" {
				break
			}
			if try == 2000 || got == "" {
				return fmt.Errorf("restart: SET: %q %w", got, err)
			}
			time.Sleep(time.Millisecond) // a lease of RestartLease is lost on a busy machine, and comes back
		}
	}
	p.kept = n
	return nil
}

// serving returns when a read and a write have succeeded.
func (p *restartProbe) serving(ctx context.Context, proc *process) error {
	last := ""
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return fmt.Errorf("%w (last answer: %s)", ctx.Err(), last)
		}
		if proc.over() {
			return errors.New("restart: the node ended")
		}
		var err error
		if last, err = p.once(n); err == nil {
			return nil
		}
		if errors.Is(err, errRestartWrong) {
			return err
		}
		time.Sleep(500 * time.Microsecond)
	}
}

var errRestartWrong = errors.New("restart: a key is not what it was")

func (p *restartProbe) once(n int) (string, error) {
	c, err := net.DialTimeout("tcp", p.address, time.Second)
	if err != nil {
		return err.Error(), err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	for {
		key, want := restartKey(n%(p.kept+1), n%restartKeys)
		got, err := command(c, r, "GET", key)
		switch {
		case err == nil && got != want:
			return got, fmt.Errorf("%w: %s is %q, was %q", errRestartWrong, key, got, want)
		case err == nil:
			got, err = command(c, r, "SET", "restart-written", strconv.Itoa(n))
			if err == nil && got == "OK" {
				return got, nil
			}
		}
		if got == "" { // the connection, not the node's answer
			return got, err
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// command sends one and reads its answer; an error answer is an error, and its
// text the answer.
func command(w io.Writer, r *bufio.Reader, args ...string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return "", err
	}
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	switch {
	case strings.HasPrefix(line, "-"):
		return line, errors.New(line)
	case strings.HasPrefix(line, "$-1"):
		return "(nothing)", nil
	case strings.HasPrefix(line, "$"):
		n, err := strconv.Atoi(line[1:])
		if err != nil {
			return "", err
		}
		body := make([]byte, n+2)
		if _, err := io.ReadFull(r, body); err != nil {
			return "", err
		}
		return string(body[:n]), nil
	case strings.HasPrefix(line, "+"):
		return line[1:], nil
	}
	return line, nil
}

// restartTable prints the rows and returns the worst ratio after SIGKILL.
func restartTable(out io.Writer, rows []*restartRow) (worst float64) {
	median := func(all []restarted, of func(*restarted) time.Duration) time.Duration {
		var d []time.Duration
		for i := range all {
			d = append(d, of(&all[i]))
		}
		slices.Sort(d)
		return d[len(d)/2]
	}
	serving := func(x *restarted) time.Duration { return x.serving }
	gone := func(x *restarted) time.Duration { return x.gone }
	disk := func(x *restarted) time.Duration { return x.disk }
	most := func(all []restarted) (n int) {
		for i := range all {
			n = max(n, all[i].replayed)
		}
		return n
	}
	least := [2]time.Duration{1 << 62, 1 << 62}
	for _, r := range rows {
		least[0], least[1] = min(least[0], median(r.kill, serving)), min(least[1], median(r.power, serving))
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "records\tused\tSIGKILL: serving after\tratio\treplayed at most\tgone after\tfdatasync\tpower loss: serving after\tratio\treplayed at most\t")
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
	for _, r := range rows {
		a, b := median(r.kill, serving), median(r.power, serving)
		ratio := float64(a) / float64(least[0])
		worst = max(worst, ratio)
		fmt.Fprintf(t, "%d\t%d MiB\t%s\t%.2f\t%d\t%s\t%s\t%s\t%.2f\t%d\t\n", r.records, r.pool>>20, ms(a), ratio, most(r.kill),
			ms(median(r.kill, gone)), median(r.kill, disk).Round(10*time.Microsecond), ms(b), float64(b)/float64(least[1]), most(r.power))
	}
	t.Flush()
	return worst
}
