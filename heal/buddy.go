package heal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
	"healkv/pmem"
	"healkv/pmem/store"
)

// served is a range this node keeps readable for a recovering member. Its list
// is made by one goroutine while the member reads it.
type served struct {
	to    proto.Member
	shard int
	pin   atomic.Uint64 // nothing at or above it is moved; only rises
	short atomic.Bool   // pageReply.Short, when the pin rose last

	mu      sync.Mutex
	more    chan struct{} // closed and replaced when a page is added
	list    []byte        // encoded runs
	ends    []int         // offsets in list at which pages end
	records uint64        // bytes of the records listed
	listed  uint64        // position behind the last of them
	done    bool
	err     error
	dropped bool
}

// page adds a page to the list, or ends it. False: nobody wants it any more.
func (s *served) page(data []byte, records, listed uint64, done bool, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(data) > 0 {
		s.list = append(s.list, data...)
		s.ends = append(s.ends, len(s.list))
	}
	s.records, s.listed, s.done, s.err = records, max(s.listed, listed), done, err
	close(s.more)
	s.more = make(chan struct{})
	return !s.dropped
}

// drop tells who lists it that nobody reads it any more.
func (s *served) drop() {
	s.mu.Lock()
	s.dropped = true
	s.mu.Unlock()
}

// Serve registers the requests between lives. current is the life of the
// moment, nil if there is none.
func Serve(c Control, current func() *Life) {
	c.Handle(kindHello, handler(current, (*Life).onHello))
	c.Handle(kindAwait, handler(current, (*Life).onAwait))
	c.Handle(kindRange, handler(current, (*Life).onRange))
	c.Handle(kindPage, handler(current, (*Life).onPage))
	c.Handle(kindSums, handler(current, (*Life).onSums))
	c.Handle(kindLook, handler(current, (*Life).onLook))
	c.Handle(kindGet, handler(current, (*Life).onGet))
	c.Handle(kindDoubt, handler(current, (*Life).onDoubt))
	c.Handle(kindDigest, handler(current, (*Life).onDigest))
	c.Handle(kindParts, handler(current, (*Life).onParts))
	c.Handle(kindEntries, handler(current, (*Life).onEntries))
	c.Handle(kindEnd, handler(current, (*Life).onEnd))
	c.Handle(kindCold, handler(current, (*Life).onCold))
	serveMending(c, current)
}

// handler decodes a request for the present life.
func handler[Q, R any](current func() *Life, f func(*Life, context.Context, proto.Member, *Q) (*R, error)) func(context.Context, proto.Member, json.RawMessage) (any, error) {
	return func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error) {
		l := current()
		if l == nil {
			return nil, errNoLife
		}
		var q Q
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, fmt.Errorf("heal: malformed request: %w", err)
		}
		r, err := f(l, ctx, from, &q)
		if err != nil {
			return nil, err
		}
		return r, nil
	}
}

func (l *Life) forMe(to proto.Member) error {
	if to != l.self {
		return fmt.Errorf("%w: for %v, this is %v", errNotMe, to, l.self)
	}
	return nil
}

// onHello prepares the connection to a joining life.
func (l *Life) onHello(ctx context.Context, from proto.Member, q *helloRequest) (*helloReply, error) {
	if q.From.Node != from.Node && !plant.Is(plant.HelloName) || q.From.Node == l.self.Node || q.From.Node >= proto.NodesMax {
		return nil, fmt.Errorf("heal: hello in the name of %v from node %d", q.From, from.Node)
	}
	if err := l.prepare(ctx, q.From); err != nil {
		return nil, err
	}
	r := &helloReply{Me: l.self, Blank: l.cfg.Blank, Prev: l.cfg.Prev, Tails: l.cfg.Tails, Remembers: l.remembers()}
	if r.Stale = l.heard(said{life: q.From, prev: q.Prev, tails: q.Tails, blank: q.Blank, remembers: q.Remembers}); r.Stale {
		l.log.Warn("a joining node's pool is older than what it had flushed", "node", q.From.Node, "life", q.Prev, "tails", q.Tails)
	}
	outdone := outdone(l.prev(), l.cfg.Tails, q.Remembers)
	if err := l.tell(func(m *rejoin.Machine) {
		m.Connected(q.From)
		l.judge(m)
		if outdone {
			m.Stale()
		}
	}); err != nil {
		return nil, err
	}
	return r, nil
}

func (l *Life) onAwait(ctx context.Context, _ proto.Member, q *awaitRequest) (*awaitReply, error) {
	if err := l.forMe(q.To); err != nil {
		return nil, err
	}
	e, err := l.awaitInstalled(ctx, q.Epoch)
	return &awaitReply{e}, err
}

func (l *Life) onCold(_ context.Context, from proto.Member, q *coldRequest) (*struct{}, error) {
	if q.From.Node != from.Node {
		return nil, fmt.Errorf("heal: cold start in the name of %v from node %d", q.From, from.Node)
	}
	if err := l.tell(func(m *rejoin.Machine) { m.ColdDone(q.From.Node, q.Epoch) }); err != nil {
		return nil, err
	}
	return &struct{}{}, nil
}

// onRange is the buddy's part of a recovery (protocol.md, "Rejoin of f", 3 and
// 4): pin the range, list the records in it that nothing has superseded, with
// their locks. The recovering node then reads the records itself.
//
// The list is made after this node has taken in the watermarks that every
// member published when it installed the view: an entry below the position
// from which its coordinator feeds the shadow is unlocked by then (H6, H7).
func (l *Life) onRange(_ context.Context, from proto.Member, q *rangeRequest) (*rangeReply, error) {
	if err := l.forMe(q.To); err != nil {
		return nil, err
	}
	if q.From.Node != from.Node && !plant.Is(plant.RangeName) {
		return nil, fmt.Errorf("heal: range in the name of %v from node %d", q.From, from.Node)
	}
	if q.Shard < 0 || q.Shard >= len(l.workers) {
		return nil, fmt.Errorf("heal: shard %d of %d", q.Shard, len(l.workers))
	}
	w := l.workers[q.Shard]
	if !plant.Is(plant.H7Polled) && !w.Do(func() {}) { // the turn of this call polls all watermarks before the next one's
		return nil, errNoLife
	}
	s := &served{to: q.From, shard: q.Shard, more: make(chan struct{})}
	r := &rangeReply{}
	var first, tail uint64
	var err error
	if !w.Do(func() {
		v := w.Replica().View()
		if v.Epoch < q.Epoch && !plant.Is(plant.BuddyView) || !v.Shadow.Has(q.From.Node) || !v.Has(q.From) || !v.Live.Has(l.self.Node) {
			err = errView
			return
		}
		if !q.Full {
			until := v.LiveUntil[q.From.Node]
			pos, ok := w.Replica().MissedFrom(until)
			if !ok || until < w.LostThrough() && !plant.Is(plant.BuddyLost) {
				r.NoRange = true
				return
			}
			first = pos
		}
		tail = w.Pool().Store().Tail()
		s.pin.Store(first)
		l.addRange(s, r)
	}) {
		return nil, errNoLife
	}
	if err != nil || r.NoRange {
		return r, err
	}
	if !q.Full {
		r.RangeBytes = tail - min(first, tail)
	}
	r.StoreBytes = w.Pool().UsedBytes()
	l.env.Go(func() { l.list(w, s, first, tail, q) })
	return r, nil
}

// list is the buddy's recovery goroutine: locked to its thread, on a core of
// its own where there is one. It walks its own log and lists what nothing has
// superseded; the member reads the pages meanwhile.
//
// While it walks, the worker appends: a record of the range that is superseded
// before the walk comes to it is not listed, and what superseded it lies behind
// the walk's end and may reach the member by stream only after its promotion.
// So the walk goes on to the new tail, and ends in one step with the worker:
// in it nothing is superseded, and every key of the range is listed with what
// is current then or was current when the walk passed it.
func (l *Life) list(w *dataplane.Worker, s *served, from, tail uint64, q *rangeRequest) {
	l.ownThread()
	limit := &l.cfg.Limits
	var last run
	var page []byte
	var records, paged uint64
	runs, room, given := 0, limit.FirstPageBytes, false
	floor := l.floor(tail - min(from, tail))
	pageRecords := limit.pageRecords(l.part(floor))
	st := w.Pool().Store()
	add := func(pos uint64, off int64, n int, inc uint32, locked bool) bool {
		next := run{pos, off, n, inc, locked}
		page = appendRun(page, &next, &last)
		last = next
		runs++
		records += uint64(n)
		if len(page) < room && records-paged < pageRecords {
			return true
		}
		paged = records
		given = !s.page(page, records, pos+uint64(n), false, nil)
		page, last, room = page[:0], run{}, limit.PageBytes // every page decodes on its own
		return !given
	}
	for !st.Sure() && !w.Stopping() {
		l.env.Wait(unsurePause) // a list needs the whole index
	}
	err := l.guarded(w, func() error {
		return l.walk(st, s, from, tail, q.Full, l.threads && floor > 0 && floor < l.cfg.Budget, add)
	})
	for done := false; !done && !given && err == nil; {
		from = tail
		if !w.Do(func() {
			if plant.Is(plant.BuddyGap) {
				done = true
				return
			}
			if tail = st.Tail(); tail-from <= limit.LastStepBytes {
				err, done = st.Manifest(from, tail, q.Full, add), true
			}
		}) {
			err = errNoLife
		}
		if !done && err == nil {
			// Without rests: what was appended meanwhile is little, and must become less.
			err = l.guarded(w, func() error { return l.walk(st, s, from, tail, q.Full, false, add) })
		}
	}
	if given { // up: nobody reads on
		return
	}
	s.page(page, records, last.pos+uint64(last.bytes), true, err)
	if err != nil {
		l.log.Error("listing a missed range", "for", q.From, "shard", q.Shard, "err", err)
	}
	l.cfg.Event("buddy_of", q.Epoch, fmt.Sprintf("node %d, shard %d: %d runs, %d bytes", q.From.Node, q.Shard, runs, records))
}

// unsurePause is how often a list looks whether the worker has verified the
// index that it took over.
const unsurePause = time.Millisecond

// guarded runs what reads the pool outside its worker. A fault on one of its
// pages ends the life, as it does in the worker, and not the program.
func (l *Life) guarded(w *dataplane.Worker, fn func() error) error {
	if plant.Is(plant.FaultBuddy) {
		return fn()
	}
	err := pmem.Guard(fn)
	if errors.Is(err, pmem.ErrFault) {
		w.Fault(err)
	}
	return err
}

// walkPiece is a piece of the log, some tens of microseconds.
const walkPiece = 256 << 10

// walk is Store.Manifest with pauses in between: those of Limits, and, if it
// rests, those of an account of its own, in which it pays for the processor time
// that it takes. It never waits inside: the store's readers must not.
func (l *Life) walk(st *store.Store, s *served, from, to uint64, full, rests bool, add func(pos uint64, off int64, n int, inc uint32, locked bool) bool) error {
	step := l.cfg.Limits.WalkBytes
	if rests {
		step = cmp.Or(step, walkPiece)
	}
	a := l.newAccount(l.cfg.Floor)
	for step > 0 {
		next, paused := from, false
		err := st.Manifest(from, to, full, func(pos uint64, off int64, n int, inc uint32, locked bool) bool {
			if !add(pos, off, n, inc, locked) {
				return false
			}
			next = pos + uint64(n)
			paused = next-from >= step
			return !paused
		})
		if err != nil || !paused {
			return err
		}
		from = next
		rest := l.cfg.Limits.WalkPause
		if rests {
			a.pace.hurried = s.short.Load()
			rest = max(rest, a.tell(worth(a.spent())))
			a.idled = int64(rest)
		}
		if rest > 0 || !rests {
			l.rest(rest)
		}
	}
	return st.Manifest(from, to, full, add)
}

// addRange keeps a range readable until its end or until its member is gone
// from the view. On the shard's worker.
func (l *Life) addRange(s *served, r *rangeReply) {
	l.rangeMu.Lock()
	defer l.rangeMu.Unlock()
	l.rangeID++
	r.ID = l.rangeID
	// One range a member and shard: an abandoned one gives way.
	for id, old := range l.ranges {
		if old.to == s.to && old.shard == s.shard {
			delete(l.ranges, id)
			old.drop()
		}
	}
	l.ranges[r.ID] = s
	l.repin(s.shard)
}

// repin sets the cleaner's limit of a shard to its lowest range. On the
// shard's worker, rangeMu held.
func (l *Life) repin(shard int) {
	pin := ^uint64(0)
	for _, s := range l.ranges {
		if s.shard == shard && !plant.Is(plant.BuddyPin) {
			pin = min(pin, s.pin.Load())
		}
	}
	l.workers[shard].Pin(pin)
}

// dropRanges lets the cleaner at ranges again.
func (l *Life) dropRanges(which func(*served) bool) {
	var shards []int
	l.rangeMu.Lock()
	for id, s := range l.ranges {
		if which(s) {
			delete(l.ranges, id)
			shards = append(shards, s.shard)
			s.drop()
		}
	}
	l.rangeMu.Unlock()
	slices.Sort(shards) // the map's order must not matter
	for _, i := range slices.Compact(shards) {
		l.workers[i].Do(func() {
			l.rangeMu.Lock()
			defer l.rangeMu.Unlock()
			l.repin(i)
		})
	}
}

// onPage answers with the page that begins at the offset, once it is there.
func (l *Life) onPage(ctx context.Context, from proto.Member, q *pageRequest) (*pageReply, error) {
	if err := l.forMe(q.To); err != nil {
		return nil, err
	}
	l.rangeMu.Lock()
	s := l.ranges[q.ID]
	l.rangeMu.Unlock()
	if s == nil || s.to.Node != from.Node {
		return nil, errPage
	}
	l.raise(s, q.Read)
	for {
		s.mu.Lock()
		more := s.more
		if s.err != nil || q.Off < 0 || q.Off > len(s.list) {
			s.mu.Unlock()
			return nil, errors.Join(errPage, s.err)
		}
		if q.Off < len(s.list) || s.done {
			end := q.Off
			for _, e := range s.ends {
				if e > q.Off {
					end = e
					break
				}
			}
			r := &pageReply{Data: s.list[q.Off:end], More: end < len(s.list) || !s.done, Records: s.records, Short: s.short.Load()}
			s.mu.Unlock()
			return r, nil
		}
		s.mu.Unlock()
		if l.env.Wait(-1, more, ctx.Done()) == 1 {
			return nil, ctx.Err()
		}
	}
}

func (l *Life) onEnd(_ context.Context, from proto.Member, q *endRequest) (*struct{}, error) {
	if err := l.forMe(q.To); err != nil {
		return nil, err
	}
	l.rangeMu.Lock()
	s := l.ranges[q.ID]
	l.rangeMu.Unlock()
	if s == nil && plant.Is(plant.BuddyEnd) {
		return &struct{}{}, nil
	}
	if s == nil || s.to.Node != from.Node {
		return nil, errPage // given up meanwhile: what was read may have been reused
	}
	l.dropRanges(func(x *served) bool { return x == s })
	return &struct{}{}, nil
}
