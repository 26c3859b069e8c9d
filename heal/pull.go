package heal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
	"healkv/pmem/record"
	"healkv/rdma"
)

// transfer fetches the buddy's range into all shards, shard by shard side by
// side, and tells the machine how it went.
func (l *Life) transfer(ctx context.Context, m *rejoin.Machine, a rejoin.Action) error {
	e := m.View().Epoch
	l.recovery.transferring(a.Buddy.Node, a.Full, a.Digest)
	l.cfg.Event("transfer_begun", e, fmt.Sprintf("buddy %d", a.Buddy.Node))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A buddy that is gone from the view ends the transfer at once; any other
	// change of the view does not disturb it.
	defer l.cancelWithout(cancel, a.Buddy)()
	errs := make([]error, len(l.workers))
	pulls := flow.NewGroup(l.env)
	for i := range l.workers {
		pulls.Go(func() {
			pull := l.pull
			if a.Digest {
				pull = l.pullDigest
			}
			if errs[i] = pull(ctx, e, a, i); errs[i] != nil {
				cancel()
			}
		})
	}
	pulls.Wait()
	err := errors.Join(errs...)
	m.Transferred(a.Buddy, err == nil, errors.Is(err, errNoRange))
	switch {
	case errors.Is(err, errFull):
		m.NoRoom()
	case errors.Is(err, errSeed):
		l.end(err) // no other life of this node would do better
	}
	if err == nil {
		l.recovery.transferred()
		r := l.Recovery()
		l.cfg.Event("transfer_done", e, fmt.Sprintf("%d bytes, %d records", r.Bytes, r.Records))
	} else {
		l.log.Warn("transfer failed", "buddy", a.Buddy, "err", err)
	}
	return err
}

// cancelWithout calls cancel once a view without the member is known.
func (l *Life) cancelWithout(cancel func(), who proto.Member) (stop func()) {
	done := make(chan struct{})
	l.env.Go(func() {
		for {
			l.mu.Lock()
			changed, has := l.changed, l.newest.Has(who) && l.newest.Has(l.self)
			l.mu.Unlock()
			if !has {
				cancel()
				return
			}
			if l.env.Wait(-1, changed, done) == 1 {
				return
			}
		}
	})
	return func() { close(done) }
}

// pull is the recovery goroutine of one shard: locked to its thread, on a core
// of its own where there is one. It reads the listed records out of the
// buddy's exposed pool, a batch of them with one call, checks each, and hands
// the batch to the worker.
func (l *Life) pull(ctx context.Context, e proto.Epoch, a rejoin.Action, shard int) error {
	l.ownThread()
	b, w := a.Buddy, l.workers[shard]
	var r rangeReply
	if err := l.cfg.Control.Call(ctx, b.Node, kindRange, rangeRequest{b, l.self, e, shard, a.Full}, &r); err != nil {
		return err
	}
	if r.NoRange {
		return errNoRange
	}
	remote, err := w.Endpoint().Remote(int(b.Node), uint32(b.Incarnation))
	if err != nil {
		return err
	}
	defer remote.Close()
	upper := r.RangeBytes
	if a.Full {
		upper = r.StoreBytes
	}
	p := l.newPuller(w, remote, l.floor(upper))
	p.upper = upper
	p.expect(p.upper)
	err = p.pages(ctx, b, &r)
	err = errors.Join(err, p.finish())
	l.tellHurt(ctx, b, e, shard, err)
	if err == nil {
		err = l.endRange(ctx, b, r.ID)
	}
	l.recovery.add(p.listBytes+remote.BytesRead(), p.records, p.adopted, p.missed, r.RangeBytes, r.StoreBytes)
	return err
}

// endRange asks whether what was read counts (J2): the buddy was the same life
// to the end, and kept the range to the end.
func (l *Life) endRange(ctx context.Context, b proto.Member, id uint64) error {
	if plant.Is(plant.PullEnd) {
		return nil
	}
	return l.cfg.Control.Call(ctx, b.Node, kindEnd, endRequest{b, id}, nil)
}

// newPuller is on the recovery goroutine, which has a thread of its own.
func (l *Life) newPuller(w *dataplane.Worker, remote rdma.Remote, floor int) *puller {
	return &puller{account: l.newAccount(floor), w: w, remote: remote}
}

// puller moves one shard's range. Recovery goroutine only.
type puller struct {
	account
	w      *dataplane.Worker
	remote rdma.Remote
	idle   []*dataplane.Batch
	made   int // batches there are
	out    int // of them at the worker
	cur    *dataplane.Batch
	used   int // bytes of cur that hold records
	// What is read next, with one call, to behind used. Runs are short where
	// much was superseded, and a round trip for each would be all that counts.
	plan      []run
	ranges    []rdma.Range
	planned   int    // bytes
	listed    uint64 // behind the last run that was planned
	listBytes uint64
	records   uint64
	adopted   uint64
	missed    uint64 // bytes listed
	upper     uint64 // bytes the list cannot exceed by much
	expected  uint64 // told to the recorder
	refused   error  // the worker had no room for some, or they are not for it
	paced     uint64 // bytes read that the account was told of
}

// batch is an idle one, or a new one while there may be more: a range of a few
// records takes one, and the pages of all of them are milliseconds. nil: all are
// at the worker.
func (p *puller) batch() *dataplane.Batch {
	if k := len(p.idle); k > 0 {
		b := p.idle[k-1]
		p.idle = p.idle[:k-1]
		return b
	}
	if p.made == p.l.cfg.Limits.Batches {
		return nil
	}
	p.made++
	bytes := p.l.cfg.Limits.BatchBytes
	return &dataplane.Batch{Buf: make([]byte, bytes), Items: make([]dataplane.BatchItem, 0, bytes/64)}
}

func (p *puller) pages(ctx context.Context, b proto.Member, r *rangeReply) error {
	for off, more := 0, true; more; {
		var page pageReply
		err := p.elsewhere(func() error {
			return p.l.cfg.Control.Call(ctx, b.Node, kindPage, pageRequest{b, r.ID, off, p.read()}, &page)
		})
		if err != nil {
			return err
		}
		p.pace.hurried = page.Short
		off += len(page.Data)
		if more, p.missed = page.More, page.Records; more {
			p.expect(max(p.missed, p.upper))
		} else {
			p.expect(p.missed)
		}
		p.listBytes += uint64(len(page.Data))
		var last run
		for rest := page.Data; len(rest) > 0; {
			next, left, err := decodeRun(rest, &last)
			if err != nil {
				return err
			}
			rest, last = left, next
			if err := p.run(ctx, next); err != nil {
				return err
			}
			p.listed = next.pos + uint64(next.bytes)
		}
	}
	_, _, err := p.fetch(false)
	return err
}

// read is the position below which every record listed so far has been read.
func (p *puller) read() uint64 {
	if len(p.plan) > 0 {
		return p.plan[0].pos
	}
	return p.listed
}

// expect tells how much this shard's part is.
func (p *puller) expect(bytes uint64) {
	p.l.recovery.expect(int64(bytes) - int64(p.expected))
	p.expected = bytes
}

// run plans to read one stretch of records, in pieces of what a batch has left.
func (p *puller) run(ctx context.Context, r run) error {
	for {
		if err := p.space(ctx, min(r.bytes, 4096)); err != nil {
			return err
		}
		piece := r
		piece.bytes = min(r.bytes, len(p.cur.Buf)-p.used-p.planned)
		p.plan = append(p.plan, piece)
		p.ranges = append(p.ranges, rdma.Range{Off: piece.off, Len: piece.bytes})
		p.planned += piece.bytes
		if piece.bytes == r.bytes {
			return nil
		}
		done, need, err := p.fetch(true)
		if err != nil {
			return err
		}
		if done == 0 {
			// The first record is longer than what the batch has left.
			if need > r.bytes {
				return fmt.Errorf("%w: a record of %d bytes in a run of %d", errPage, need, r.bytes)
			}
			if err := p.flushBatch(ctx); err != nil {
				return err
			}
			if need > len(p.cur.Buf) {
				p.cur.Buf = make([]byte, record.BytesMax)
			}
			continue
		}
		r.pos, r.off, r.bytes = r.pos+uint64(done), r.off+int64(done), r.bytes-done
	}
}

// fetch reads what is planned and checks it. A run ends where a record does,
// but the last one's piece may be cut: done is how much of it was whole
// records, and need what its first record needs if there was none.
func (p *puller) fetch(cut bool) (done, need int, err error) {
	if len(p.plan) == 0 {
		return 0, 0, nil
	}
	rest := p.cur.Buf[p.used : p.used+p.planned]
	// Over a network that is a round trip, and of a pool on a disk it may be a read.
	if err := p.elsewhere(func() error { return p.remote.Gather(rest, p.ranges) }); err != nil {
		return 0, 0, err
	}
	before := p.used
	for i := range p.plan {
		r := &p.plan[i]
		if done, need, err = p.parse(rest[:r.bytes], r); err != nil {
			return 0, 0, err
		}
		if done != r.bytes && !(cut && i == len(p.plan)-1) && !plant.Is(plant.PullCut) {
			return 0, 0, fmt.Errorf("%w: a run of %d bytes ends %d bytes into a record", errPage, r.bytes, r.bytes-done)
		}
		p.used += done
		rest = rest[r.bytes:]
	}
	p.l.recovery.moved(p.used - before)
	p.plan, p.ranges, p.planned = p.plan[:0], p.ranges[:0], 0
	return done, need, nil
}

// parse checks the records of a piece: each one's header is sealed with its
// position and writer, so nothing else can pass for it (H14), and the body has
// its own checksum. It returns the bytes of whole records, or what the first
// one needs.
func (p *puller) parse(piece []byte, r *run) (done, need int, err error) {
	var h record.Header
	for len(piece)-done >= record.HeaderBytes {
		img := piece[done:]
		err := record.VerifyHeader(img, record.Seed(r.pos+uint64(done), r.incarnation), &h)
		n := h.Bytes()
		if err == record.ErrShort { // the header stands, the rest comes with the next piece
			need = n
			break
		}
		if err != nil {
			return done, 0, fmt.Errorf("heal: record at %d of the buddy: %w", r.pos+uint64(done), err)
		}
		if err := record.VerifyBody(img, &h); err != nil && !plant.Is(plant.PullUnverified) {
			return done, 0, &damagedAt{r.pos + uint64(done), err}
		}
		p.cur.Items = append(p.cur.Items, dataplane.BatchItem{Off: int32(p.used + done), Len: int32(n), Locked: r.locked && !plant.Is(plant.PullLock)})
		p.records++
		done += n
	}
	if done == 0 && need == 0 {
		need = record.HeaderBytes
	}
	return done, need, nil
}

// space makes sure that the current batch can take n bytes.
func (p *puller) space(ctx context.Context, n int) error {
	if p.cur != nil && len(p.cur.Buf)-p.used-p.planned >= n {
		return nil
	}
	if _, _, err := p.fetch(false); err != nil {
		return err
	}
	return p.flushBatch(ctx)
}

// flushBatch hands the current batch over and takes an idle one.
func (p *puller) flushBatch(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.cur != nil && len(p.cur.Items) > 0 {
		if !p.w.AdoptOffer(p.cur) {
			return errors.New("heal: the worker's ring of batches is full") // batches < its length
		}
		p.cur = nil
		p.out++
	}
	if err := p.yield(ctx); err != nil {
		return err
	}
	for p.cur == nil {
		p.collect()
		if p.refused != nil {
			return p.refused
		}
		if p.cur = p.batch(); p.cur != nil {
			break
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
	p.cur.Items, p.used = p.cur.Items[:0], 0
	return nil
}

func (p *puller) collect() {
	for b := p.w.AdoptTaken(); b != nil; b = p.w.AdoptTaken() {
		p.adopted += uint64(b.Adopted)
		p.heard(b.Waited)
		switch {
		case b.OtherSeed:
			p.refused = errSeed
		case b.NoRoom && p.refused == nil:
			p.refused = errFull
		}
		p.idle = append(p.idle, b)
		p.out--
	}
}

// wait gives the worker time. A recovery is not in a hurry to the microsecond.
func (p *puller) wait(ctx context.Context) error {
	return p.elsewhere(func() error { return flow.Sleep(p.l.env, ctx, 20*time.Microsecond) })
}

// yield keeps the pace: it never lowers a priority, it just stops.
func (p *puller) yield(ctx context.Context) error {
	read := p.remote.BytesRead()
	rest := p.tell(int(read - p.paced))
	p.paced = read
	if rest > 0 {
		p.l.rest(rest, ctx.Done())
	}
	return ctx.Err()
}

// finish hands the last batch over and waits until the worker is done with
// all of them, whatever became of the rest.
func (p *puller) finish() error {
	if p.cur != nil && len(p.cur.Items) > 0 {
		if !p.w.AdoptOffer(p.cur) {
			return errors.New("heal: the worker's ring of batches is full")
		}
		p.out++
	}
	for p.out > 0 && !plant.Is(plant.PullLast) {
		if !p.w.Do(func() {}) {
			return errNoLife
		}
		if p.collect(); p.out > 0 {
			p.l.env.Wait(20 * time.Microsecond)
		}
	}
	return p.refused
}
