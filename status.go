package healkv

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane"
	"healkv/dataplane/proto"
	"healkv/heal"
	"healkv/pmem/record"
	"healkv/rdma"

	"github.com/zeebo/xxh3"
)

// Event is something the recovery report or an operator wants to see.
type Event struct {
	At     int64  `json:"at"`   // ns on CLOCK_MONOTONIC: comparable between the processes of one host
	Wall   int64  `json:"wall"` // ns since 1970
	Name   string `json:"name"`
	Epoch  uint32 `json:"epoch,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// RecoveryStatus is what the last way back cost. Times in nanoseconds.
type RecoveryStatus struct {
	Kind        string        `json:"kind"` // none, heal, digest, full, cold
	Why         string        `json:"why,omitempty"`
	Buddy       int           `json:"buddy"` // -1: none
	Start       int64         `json:"start"`
	ToAdmitted  time.Duration `json:"to_admitted"`
	ToInstalled time.Duration `json:"to_installed"`
	Transfer    time.Duration `json:"transfer"`
	Finish      time.Duration `json:"finish"`
	Total       time.Duration `json:"total"`
	Bytes       uint64        `json:"bytes"`   // read from the buddy, lists included
	Records     uint64        `json:"records"` // read
	Applied     uint64        `json:"applied"` // of them newer than the own
	Missed      uint64        `json:"missed_bytes"`
	RangeBytes  uint64        `json:"range_bytes"`
	StoreBytes  uint64        `json:"store_bytes"`
	Leftovers   uint64        `json:"leftovers"`
	// Of a recovery by digests.
	Ranges uint64 `json:"digest_ranges,omitempty"` // of keys whose digests differed
	Buried uint64 `json:"buried,omitempty"`        // own records deleted, as the buddy had no such key
	Unlike uint64 `json:"unlike,omitempty"`        // records of one timestamp and two values
}

func recoveryStatus(r *heal.Recovery) *RecoveryStatus {
	return &RecoveryStatus{Kind: r.Kind, Why: r.Why, Buddy: r.Buddy, Start: r.Start, ToAdmitted: r.ToAdmitted,
		ToInstalled: r.ToInstalled, Transfer: r.Transfer, Finish: r.Finish, Total: r.Total, Bytes: r.Bytes,
		Records: r.Records, Applied: r.Applied, Missed: r.Missed, RangeBytes: r.RangeBytes, StoreBytes: r.StoreBytes,
		Leftovers: r.Leftovers, Ranges: r.Ranges, Buried: r.Buried, Unlike: r.Unlike}
}

// Status is what a node says of itself.
type Status struct {
	PID           int               `json:"pid"`
	Node          int               `json:"node"`
	Role          string            `json:"role"` // starting, joining, shadow, live, cold, fenced, draining, drained, failed, stopped
	Serving       bool              `json:"serving"`
	Epoch         uint32            `json:"epoch"`
	EpochsLeft    uint32            `json:"epochs_left"` // views that can follow; a warning at a tenth of all
	Incarnation   uint32            `json:"incarnation"`
	Live          []int             `json:"live"`
	Shadow        []int             `json:"shadow"`
	Model         string            `json:"model"`
	Provider      string            `json:"provider"`
	Device        string            `json:"device,omitempty"` // what the first shard's connections run on: verbs: device, port, GID; tcp: address; shm: none
	Control       string            `json:"control"`          // where the control plane listens
	Domain        string            `json:"domain"`
	PageSize      string            `json:"page_size"`
	Shards        int               `json:"shards"`
	Keys          uint64            `json:"keys"`
	PoolBytes     uint64            `json:"pool_bytes"`
	PoolUsedBytes uint64            `json:"pool_used_bytes"`
	LeaseValid    bool              `json:"lease_valid"`
	LeaseLeft     time.Duration     `json:"lease_left_ns"`
	Blocked       string            `json:"blocked,omitempty"`     // why it does not serve
	Hung          []int             `json:"hung_shards,omitempty"` // shards that did not answer for this status
	Recovery      *RecoveryProgress `json:"recovery,omitempty"`    // while it is on the way back
	Opened        string            `json:"opened"`
	LastRecovery  *RecoveryStatus   `json:"last_recovery,omitempty"`
	Counters      map[string]uint64 `json:"counters"`
	Space         Space             `json:"space"`
	Membership    any               `json:"membership,omitempty"`
	// Certificate is nil where nodes need none: on one host.
	Certificate *CertificateStatus `json:"certificate,omitempty"`
	Events      []Event            `json:"events"`
	Error       string             `json:"error,omitempty"`
	Damage      DamageStatus       `json:"damage"`
	// Failing is nil while all is well with what the node stands on.
	Failing *FailingStatus `json:"failing,omitempty"`
}

// RecoveryProgress is where a node is on its way back.
type RecoveryProgress struct {
	Phase    string        `json:"phase"`
	For      time.Duration `json:"for_ns"`             // since this way back began
	Done     uint64        `json:"done"`               // bytes of records moved so far
	Expected uint64        `json:"expected,omitempty"` // of so many, as far as known; 0: not at all
	Rate     float64       `json:"rate,omitempty"`     // bytes per second, lately
	Left     time.Duration `json:"left_ns,omitempty"`  // of the transfer; 0: not known
}

// wayBack notes what heal says about why this life cannot go on.
func (n *Node) wayBack(l *life, name, detail string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.waits = ""; name == "waiting" || name == "backs_off" {
		l.waits = detail
	}
}

// progressOf is what is known of a way back that is not over.
func progressOf(r *heal.Recovery, now int64) *RecoveryProgress {
	p := &RecoveryProgress{Phase: r.Phase, Done: r.Done, Expected: r.Expected, Rate: r.Rate, Left: r.Left}
	if r.Start != 0 {
		p.For = time.Duration(now - r.Start)
	}
	return p
}

const eventsMax = 512

func monotonic() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano()
}

func (n *Node) event(name string, epoch uint32, detail string) {
	e := Event{monotonic(), time.Now().UnixNano(), name, epoch, detail}
	n.mu.Lock()
	if len(n.events) == eventsMax {
		n.events = append(n.events[:0], n.events[eventsMax/4:]...)
	}
	n.events = append(n.events, e)
	n.mu.Unlock()
	if n.log != nil {
		n.log.Debug("event", "name", name, "epoch", epoch, "detail", detail)
	}
}

func ints(s proto.NodeSet) []int {
	list := []int{}
	for _, n := range s.Nodes(nil) {
		list = append(list, int(n))
	}
	return list
}

// Status is a snapshot; it costs each shard worker one turn, and takes at most
// about a second however the shards are.
func (n *Node) Status() (s Status) {
	v := n.members.Current()
	s = Status{PID: os.Getpid(), Node: n.cfg.Node, Role: "starting", Serving: n.Ready(), Epoch: uint32(v.Epoch), EpochsLeft: proto.EpochMax - uint32(v.Epoch),
		Live: ints(v.Live), Shadow: ints(v.Shadow), Model: n.cfg.Model.String(), Provider: n.cfg.Provider,
		Domain: n.cfg.Domain.String(), Shards: n.cfg.Shards, Keys: n.LiveKeys(), Counters: map[string]uint64{},
		LeaseValid: n.members.Lease().Valid(), Control: n.control.Address(), Certificate: n.certificate()}
	m := n.members.Status()
	s.Membership, s.Counters["leases_lost"], s.LeaseLeft = m, m.Counts.LeasesLost, m.LeaseLeft
	s.Counters["complaints_attempted"], s.Counters["complaints_carried"] = m.Counts.Accused, m.Counts.Blamed
	s.Counters["detector_turns"] = m.Counts.Looks
	s.Counters["slow_demoted"], s.Counters["acceptor_mended"] = m.Counts.Demoted, m.Counts.Mended
	n.mu.Lock()
	l, drained := n.life, n.drained
	whole := l != nil && l.whole
	var waits string
	if l != nil {
		waits = l.waits
	}
	s.Opened, s.LastRecovery = n.opened, n.last
	s.Events = append([]Event(nil), n.events...)
	failures := n.failing.total
	if n.err != nil {
		s.Error = n.err.Error()
	}
	n.mu.Unlock()
	s.Failing = n.failingStatus()
	s.Counters["failures"] = failures
	if s.Failing != nil && s.Error == "" {
		s.Error = s.Failing.Why
	}
	select {
	case <-n.done:
		s.Role = "stopped"
		return s
	default:
	}
	defer func() { s.Blocked = n.blocked(&s, &v, &m, waits) }()
	if l == nil {
		switch {
		case drained:
			s.Role = "drained"
		case s.Failing != nil:
			s.Role = "failed"
		}
		return s
	}
	s.Incarnation, s.Device = uint32(l.self.Incarnation), l.device
	switch {
	case l.gate.closed.Load():
		s.Role = "draining"
	case !v.Has(l.self):
		s.Role = "joining"
	case v.Cold:
		s.Role = "cold"
	case v.Shadow.Has(l.self.Node), s.LeaseValid && !whole: // or promoted this moment, and not recorded yet
		s.Role = "shadow"
	case s.LeaseValid:
		s.Role = "live"
	default:
		s.Role = "fenced"
	}
	if s.Role == "joining" || s.Role == "shadow" || s.Role == "cold" {
		r := l.heal.Recovery()
		s.Recovery = progressOf(&r, monotonic())
	}
	if n.host.Core() == l.core {
		n.count(l, &s)
		countCompared(l.heal.Compared(), s.Counters)
	}
	return s
}

// connections is a provider whose connections can break and be made again.
type connections interface {
	Connections(count func(name string, n uint64)) // worker only
}

// statusPatience is how long a shard has to answer for Status.
const statusPatience = time.Second

// count fills in what the shards know. One that hangs is named instead.
func (n *Node) count(l *life, s *Status) {
	c := s.Counters
	workers := l.core.Workers()
	answers := make([]chan map[string]uint64, len(workers))
	for i, w := range workers {
		answer := make(chan map[string]uint64, 1)
		answers[i] = answer
		go func() {
			counted := map[string]uint64{}
			w.Do(func() { countShard(w, l.endpoints[i], counted) })
			answer <- counted
		}()
	}
	late, cancel := context.WithTimeout(context.Background(), statusPatience)
	defer cancel()
	for i := range workers {
		select {
		case <-late.Done():
		case counted := <-answers[i]:
			answers[i] <- counted
		}
		select {
		case counted := <-answers[i]:
			for name, x := range counted {
				c[name] += x
			}
		default:
			s.Hung = append(s.Hung, i)
		}
		info := l.pools[i].Info()
		s.PoolBytes += uint64(info.LogBytes)
		s.PoolUsedBytes += info.UsedBytes
		s.Domain = info.Domain.String()
		s.PageSize = pageSize(info.PageSize)
	}
	s.Space = takeSpace(c)
	s.Damage = n.Damage()
	wire := n.control.Stats()
	c["control_refused"] = wire.Refused()
}

// countShard adds up what one shard knows, inside Do.
func countShard(w *dataplane.Worker, ep rdma.Endpoint, c map[string]uint64) {
	k, r := &w.Counters, &w.Replica().Counters
	for name, x := range map[string]uint64{
		"reads_at_worker": k.Reads, "rejected": k.Rejected, "no_room": k.NoRoom, "unknown": k.Unknown,
		"ring_full_turns": k.RingFullTurns, "flushes": k.Flushes, "sleeps": k.Sleeps, "stream_faults": k.StreamFaults,
		"index_starved": k.IndexStarved, "cleaned_bytes": k.CleanedBytes, "cleaned_segments": k.CleanedSegments,
		"writes": r.Writes, "superseded": r.Superseded, "confirmed": r.Confirmed, "waited_for_view": r.WaitedForView,
		"locked_reads": r.LockedReads, "adopted": r.Adopted, "adopted_locked": r.AdoptedLocked,
		"rolled_forward": r.RolledForward, "ring_full": r.RingFull, "stalled_no_space": r.StalledNoSpace,
		"turns": w.Turns(), "stable_position": w.Replica().StablePos(), "log_tail": w.Pool().Store().Tail(),
	} {
		c[name] += x
	}
	countCheckpoints(w.Pool(), c)
	countFlushes(w, c)
	countSpace(w, c)
	countDamage(w, c)
	countScrub(w, c)
	if e, ok := ep.(connections); ok {
		e.Connections(func(name string, x uint64) { c[name] += x })
	}
}

func pageSize(b int) string {
	switch {
	case b >= 1<<30:
		return "1GiB"
	case b >= 2<<20:
		return "2MiB"
	}
	return "4KiB"
}

// Digest sums up a node's data, independent of order: equal digests mean equal
// keys, timestamps and values.
type Digest struct {
	Keys       uint64 `json:"keys"`
	Tombstones uint64 `json:"tombstones"`
	Sum        uint64 `json:"sum"`
	Locked     uint64 `json:"locked"` // records not yet readable; not settled while above 0
}

// Same says that two nodes hold the same data: one may have dropped tombstones
// that the other still has.
func (d Digest) Same(o Digest) bool {
	d.Tombstones, o.Tombstones = 0, 0
	return d == o
}

// Digest reads all records. Exact while nobody writes.
func (n *Node) Digest() (d Digest) {
	core := n.host.Core()
	if core == nil {
		return d
	}
	for _, w := range core.Workers() {
		st := w.Pool().Store()
		for !st.Sure() && !w.Stopping() {
			time.Sleep(time.Millisecond) // the worker is on it
		}
		r := st.NewReader()
		st.ForEach(r, func(_ uint64, locked bool, img []byte) bool {
			if locked {
				d.Locked++
			}
			var b [16]byte
			h := xxh3.Hash(record.Key(img)) ^ record.TS(img)*0x9E3779B97F4A7C15
			if record.KindOf(img) == record.Delete {
				d.Tombstones++
				return true
			}
			d.Keys++
			h ^= xxh3.HashSeed(record.Value(img), h)
			for i := range 8 {
				b[i] = byte(h >> (8 * i))
			}
			d.Sum += xxh3.Hash(b[:])
			return true
		})
		r.Close()
	}
	return d
}
