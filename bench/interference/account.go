package interference

import (
	"cmp"
	"slices"
	"sort"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Whom a hot-path thread lost its core to.
const (
	ByRecovery     = "recovery"         // a recovery goroutine's thread, of any node
	ByRecovering   = "recovering node"  // any other thread of the node that recovers: its worker applies what is fetched
	ByOtherWorker  = "worker of a node" // another hot-path thread
	BySameProcess  = "its own process"  // the Go runtime, sessions, the control plane
	ByOtherNode    = "another node"     // the same of another node
	ByOtherProcess = "another process"  // all else
)

// Whom is all of these, in the order they are shown.
var Whom = []string{ByRecovery, ByRecovering, ByOtherWorker, BySameProcess, ByOtherNode, ByOtherProcess}

// Share is what the hot-path threads went through in a span of time. Sums are
// over all threads.
type Share struct {
	Threads     int           `json:"threads"`
	SpanMs      float64       `json:"span_ms"` // of each thread: as long as it was watched
	ThreadMs    float64       `json:"thread_ms"`
	OnCoreMs    float64       `json:"on_core_ms"`
	GaveMs      float64       `json:"gave_way_ms"`  // off its core by sched_yield: it had found nothing to do
	PreemptedMs float64       `json:"preempted_ms"` // ready, and kept off the core
	Preemptions int           `json:"preemptions"`
	By          map[string]By `json:"by"`
	Wakes       uint64        `json:"wakes"`
	WakeP50Us   float64       `json:"wake_p50_us"`
	WakeP99Us   float64       `json:"wake_p99_us"`
	WakeMaxUs   float64       `json:"wake_max_us"` // the upper bound of the last bucket used
	WakeBuckets []Bucket      `json:"wake_buckets,omitempty"`
}

// By is a part of the preemptions.
type By struct {
	Ms    float64 `json:"ms"`
	Count int     `json:"count"`
}

// Bucket counts the wake-ups that took at most so long, and longer than the
// bucket before.
type Bucket struct {
	UpToNs int64  `json:"up_to_ns"`
	Count  uint64 `json:"count"`
}

// HDR is the wake-ups as a histogram in microseconds, each at its bucket's
// upper bound, at most 19 % above what it was.
func (s *Share) HDR() *hdrhistogram.Histogram {
	h := hdrhistogram.New(1, 60_000_000, 3)
	for _, b := range s.WakeBuckets {
		_ = h.RecordValues(max(1, b.UpToNs/1000), int64(b.Count)) // within its bounds by bucketNanos
	}
	return h
}

// Nodes are process numbers.
type Nodes struct {
	All        []int // of node processes, dead ones too
	Recovering int   // of the one whose every thread works for its recovery; 0: none
}

// Between is the share in [from, to), CLOCK_MONOTONIC ns. keep, if not nil,
// chooses threads.
func (w *Watcher) Between(from, to int64, nodes Nodes, keep func(Thread) bool) Share {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Share{SpanMs: ms(to - from), By: map[string]By{}}
	var wakes [wakeBuckets]uint64
	chosen := map[uint32]*track{}
	tracks := slices.Clone(w.gone)
	for _, t := range w.watched {
		tracks = append(tracks, t)
	}
	slices.SortFunc(tracks, func(a, b *track) int { return cmp.Compare(a.TID, b.TID) })
	for _, t := range tracks {
		first, last, ok := t.span(from, to)
		if keep != nil && !keep(t.Thread) || !ok {
			continue
		}
		chosen[uint32(t.TID)] = t
		s.Threads++
		s.ThreadMs += ms(last.at - first.at)
		s.OnCoreMs += ms(last.ran - first.ran)
		s.GaveMs += ms(last.gave - first.gave)
		for i := range wakes {
			wakes[i] += uint64(last.wakes[i] - first.wakes[i])
		}
	}
	for _, e := range w.events {
		t := chosen[e.tid]
		n := min(e.since+e.nanos, to) - max(e.since, from)
		if t == nil || n <= 0 {
			continue
		}
		whom := w.whom(t, &e, nodes)
		b := s.By[whom]
		b.Ms, b.Count = b.Ms+ms(n), b.Count+1
		s.By[whom] = b
		s.PreemptedMs += ms(n)
		s.Preemptions++
	}
	s.wakes(&wakes)
	return s
}

// span are the ticks nearest to the ends of a span; false if there are not two.
func (t *track) span(from, to int64) (first, last tick, ok bool) {
	near := func(at int64) int {
		i := sort.Search(len(t.ticks), func(i int) bool { return t.ticks[i].at >= at })
		if i > 0 && (i == len(t.ticks) || at-t.ticks[i-1].at < t.ticks[i].at-at) {
			i--
		}
		return i
	}
	if len(t.ticks) == 0 {
		return first, last, false
	}
	i, j := near(from), near(to)
	return t.ticks[i], t.ticks[j], i < j
}

func (w *Watcher) whom(t *track, e *preemption, nodes Nodes) string {
	switch role := roleOf(e.name); {
	case role == RoleRecovery:
		return ByRecovery
	case nodes.Recovering != 0 && int(e.byPID) == nodes.Recovering:
		return ByRecovering
	case role == RoleWorker:
		return ByOtherWorker
	case int(e.byPID) == t.PID:
		return BySameProcess
	case slices.Contains(nodes.All, int(e.byPID)):
		return ByOtherNode
	}
	return ByOtherProcess
}

// ByRecoveryPct is the share of the threads' time in which they were kept off
// their cores by recovery work of any kind, in percent.
func (s *Share) ByRecoveryPct() float64 {
	if s.Threads == 0 || s.SpanMs == 0 {
		return 0
	}
	return 100 * (s.By[ByRecovery].Ms + s.By[ByRecovering].Ms) / (s.SpanMs * float64(s.Threads))
}

func (s *Share) add(o *Share) {
	s.Threads = o.Threads
	s.SpanMs, s.ThreadMs, s.OnCoreMs, s.GaveMs, s.PreemptedMs =
		s.SpanMs+o.SpanMs, s.ThreadMs+o.ThreadMs, s.OnCoreMs+o.OnCoreMs, s.GaveMs+o.GaveMs, s.PreemptedMs+o.PreemptedMs
	s.Preemptions, s.Wakes = s.Preemptions+o.Preemptions, s.Wakes+o.Wakes
	if s.By == nil {
		s.By = map[string]By{}
	}
	for whom, b := range o.By {
		s.By[whom] = By{s.By[whom].Ms + b.Ms, s.By[whom].Count + b.Count}
	}
	var counts [wakeBuckets]uint64
	for i := range counts {
		for _, b := range [2][]Bucket{s.WakeBuckets, o.WakeBuckets} {
			for _, x := range b {
				if x.UpToNs == bucketNanos(i) {
					counts[i] += x.Count
				}
			}
		}
	}
	s.Wakes, s.WakeBuckets = 0, nil
	s.wakes(&counts)
}

func (s *Share) wakes(counts *[wakeBuckets]uint64) {
	for _, n := range counts {
		s.Wakes += n
	}
	below := uint64(0)
	for i, n := range counts {
		if n == 0 {
			continue
		}
		us := float64(bucketNanos(i)) / 1000
		if below < (s.Wakes+1)/2 && below+n >= (s.Wakes+1)/2 {
			s.WakeP50Us = us
		}
		if rank := s.Wakes - s.Wakes/100; below < rank && below+n >= rank {
			s.WakeP99Us = us
		}
		s.WakeMaxUs = us
		s.WakeBuckets = append(s.WakeBuckets, Bucket{bucketNanos(i), n})
		below += n
	}
}

func ms(ns int64) float64 { return float64(ns) / 1e6 }
