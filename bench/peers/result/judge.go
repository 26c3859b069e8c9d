package result

import (
	"cmp"
	"fmt"
	"slices"
)

// Verdict on one bound.
type Verdict struct {
	Passed bool   `json:"passed"`
	Text   string `json:"text"`
}

// Bound is what HealKV promises against another system.
type Bound struct {
	Ours   string  // row of ours: "healkv" or InNode
	Theirs string  // system
	Op     string  // write or read
	Factor float64 // at least so many times their rate
	P99    bool    // and a p99 not above theirs
}

// Rejoining is a bound on the time to rejoin.
type Rejoining struct {
	Theirs string
	Factor float64 // they take at least so many times as long
}

// FileBounds: flushed to disk on both sides. HealKV is judged by clients of its
// API inside the nodes, which is how programs use it, and through its Redis front
// end, by as many connections as etcd has: over socket files on both sides, and
// over TCP on both. There the bound is that of MemoryBounds for sockets: on two
// cores TCP itself takes so much of a write's time that no server of this
// protocol would do ten times what etcd does (decision 0038).
var FileBounds = []Bound{
	{Ours: InNode, Theirs: "etcd", Op: "write", Factor: 10, P99: true},
	{Ours: "healkv", Theirs: "etcd", Op: "write", Factor: 5, P99: true},
	{Ours: OverFiles("healkv"), Theirs: OverFiles("etcd"), Op: "write", Factor: 10, P99: true},
}

// rowNames says in verdicts how the clients of a row of ours reach it.
var rowNames = map[string]string{InNode: "healkv (row in-node: clients of the API)", "healkv": "healkv (row healkv: the Redis front end over TCP)",
	OverFiles("healkv"): "healkv (row healkv unix: the Redis front end over socket files)"}

// MemoryBounds: no flush on both sides.
var MemoryBounds = []Bound{
	{InNode, "etcd", "write", 30, true},
	{InNode, "zookeeper", "write", 30, true},
	{InNode, "etcd", "read", 100, false},
	{InNode, "zookeeper", "read", 100, false},
	{"healkv", "etcd", "write", 5, false},
	{"healkv", "zookeeper", "write", 5, false},
	{InNode, "dragonboat", "write", 6, true},
}

// RejoinBounds hold after as many missed writes.
var RejoinBounds = []Rejoining{{"dragonboat", 5}, {"zookeeper", 50}}

// probesApart: beyond it a disk was not the same disk to both sides.
const probesApart = 2.0

// Judge applies the bounds to whose systems were measured, at the largest number
// of clients, and fills in verdicts and notes. Not a single one that applies is
// an error in itself: a comparison that compares nothing has not passed.
func (r *Report) Judge(bounds []Bound, rejoins []Rejoining) {
	r.Verdicts = nil
	if len(r.Conditions.Clients) == 0 {
		return
	}
	clients := slices.Max(r.Conditions.Clients)
	for _, b := range bounds {
		ours, theirs := r.Find(b.Ours, b.Op, clients), r.Find(b.Theirs, b.Op, clients)
		if ours == nil || theirs == nil {
			continue
		}
		r.Verdicts = append(r.Verdicts, judge(b, ours, theirs)...)
	}
	aways := r.Aways()
	find := func(name string) *Away {
		if i := slices.IndexFunc(aways, func(a Away) bool { return a.System == name }); i >= 0 {
			return &aways[i]
		}
		return nil
	}
	for _, b := range rejoins {
		ours, theirs := find("healkv"), find(b.Theirs)
		if ours == nil || theirs == nil {
			continue
		}
		ratio := theirs.Seconds.Median / ours.Seconds.Median
		r.Verdicts = append(r.Verdicts, Verdict{ratio >= b.Factor, fmt.Sprintf(
			"rejoin after about %.0f missed writes: %s takes %.3f s, healkv %.3f s: %.1f times faster, %.0f wanted",
			ours.Missed.Median, b.Theirs, theirs.Seconds.Median, ours.Seconds.Median, ratio, b.Factor)})
	}
	for _, p := range r.Parts {
		if p.Wrong > 0 {
			r.Verdicts = append(r.Verdicts, Verdict{false, fmt.Sprintf("%s, run %d, %d clients: %d of %d acknowledged writes read back were wrong",
				p.System, p.Run, p.Clients, p.Wrong, p.Checked)})
		}
	}
	for _, a := range r.Absences {
		if a.Wrong > 0 {
			r.Verdicts = append(r.Verdicts, Verdict{false, fmt.Sprintf("%s, run %d: %d of %d acknowledged writes were wrong at the node that came back",
				a.System, a.Run, a.Wrong, a.Checked)})
		}
	}
}

func judge(b Bound, ours, theirs *Row) []Verdict {
	ratio := ours.Rate.Median / theirs.Rate.Median
	row := cmp.Or(rowNames[b.Ours], b.Ours)
	all := []Verdict{{ratio >= b.Factor, fmt.Sprintf("%ss/s with %d clients: %s %.0f, %s %.0f: %.1f times, %.0f wanted",
		b.Op, ours.Clients, row, ours.Rate.Median, b.Theirs, theirs.Rate.Median, ratio, b.Factor)}}
	if b.P99 {
		all = append(all, Verdict{ours.P99.Median <= theirs.P99.Median, fmt.Sprintf("p99 of %ss with %d clients: %s %.2f ms, %s %.2f ms: not above wanted",
			b.Op, ours.Clients, row, ours.P99.Median/1000, b.Theirs, theirs.P99.Median/1000)})
	}
	return all
}

// Failed verdicts.
func (r *Report) Failed() []Verdict {
	var f []Verdict
	for _, v := range r.Verdicts {
		if !v.Passed {
			f = append(f, v)
		}
	}
	return f
}

// NoteProbes says where the disk was not the same to all.
func (r *Report) NoteProbes() {
	type load struct {
		run, clients int
		op           string
	}
	var least, most float64
	var loads []load
	for _, p := range r.Parts {
		if p.Probe == nil {
			continue
		}
		if least == 0 || p.Probe.Rate < least {
			least = p.Probe.Rate
		}
		most = max(most, p.Probe.Rate)
		if l := (load{p.Run, p.Clients, p.Op}); !slices.Contains(loads, l) {
			loads = append(loads, l)
		}
	}
	if least == 0 {
		return
	}
	if most > probesApart*least {
		r.Notes = append(r.Notes, fmt.Sprintf("the disk changed during the comparison: probes from %.0f to %.0f fdatasync/s, more than %.0f times apart; ratios within a run are worth more than medians over runs",
			least, most, probesApart))
	}
	for _, l := range loads {
		var lo, hi Part
		for _, p := range r.Parts {
			if p.Probe == nil || (load{p.Run, p.Clients, p.Op}) != l {
				continue
			}
			if lo.Probe == nil || p.Probe.Rate < lo.Probe.Rate {
				lo = p
			}
			if hi.Probe == nil || p.Probe.Rate > hi.Probe.Rate {
				hi = p
			}
		}
		if hi.Probe.Rate > probesApart*lo.Probe.Rate {
			r.Notes = append(r.Notes, fmt.Sprintf("run %d, %d clients, %s: the disk was not the same to all: %.0f fdatasync/s before %s, %.0f before %s",
				l.run, l.clients, l.op, hi.Probe.Rate, hi.System, lo.Probe.Rate, lo.System))
		}
	}
}
