package heal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/mending"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

// Requests of a node whose record is damaged (docs/decisions/0026).
const (
	kindAlike = "heal.alike" // what do you hold of the keys with these bits in their hash?
	kindImage = "heal.image" // give me your record of this hash
	kindHurt  = "heal.hurt"  // your record at this position is damaged
)

type alikeRequest struct {
	To         proto.Member
	Epoch      proto.Epoch
	Shard      int
	Hash, Mask uint64
}

type alikeReply struct {
	Epoch   proto.Epoch
	Live    bool
	Damaged bool
	Held    []mending.Held
}

type imageRequest struct {
	To    proto.Member
	Epoch proto.Epoch
	Shard int
	Hash  uint64
	TS    uint64 // at least
}

type imageReply struct {
	Image []byte // sealed as imageSeed; none: there is no such record any more, or it is not readable
}

type hurtRequest struct {
	To    proto.Member
	Epoch proto.Epoch
	Shard int
	Pos   uint64
}

// damagedAt: a record that was read out of the buddy's log does not verify.
type damagedAt struct {
	pos   uint64
	cause error
}

func (d *damagedAt) Error() string {
	return fmt.Sprintf("heal: record at %d of the buddy: %v", d.pos, d.cause)
}

func (d *damagedAt) Unwrap() error { return d.cause }

// imageSeed seals an image on its way: it stands at no position of a log.
var imageSeed = record.Seed(0, 0)

const (
	mendAtOnce  = 16                     // damaged records looked at between two looks at what else there is
	mendPause   = 5 * time.Millisecond   // before what could not be decided is looked at again
	mendIdle    = 500 * time.Millisecond // without news
	mendRefused = 10 * time.Second       // before what no member had is asked for again, if the view stays
	// alikeMost bounds an answer. More keys than that never have a tag and a page
	// of the index in common.
	alikeMost = 4096
)

// serveMending registers the requests between lives.
func serveMending(c Control, current func() *Life) {
	c.Handle(kindAlike, handler(current, (*Life).onAlike))
	c.Handle(kindImage, handler(current, (*Life).onImage))
	c.Handle(kindHurt, handler(current, (*Life).onHurt))
}

var errMany = errors.New("heal: more records than one answer takes agree with the damaged one")

// asked checks what a request about a shard needs, on its worker: the asker is
// a member of the view that both have installed.
func (l *Life) asked(from proto.Member, to proto.Member, e proto.Epoch, shard int) (w *dataplane.Worker, live bool, err error) {
	if err := l.forMe(to); err != nil {
		return nil, false, err
	}
	if shard < 0 || shard >= len(l.workers) {
		return nil, false, fmt.Errorf("heal: shard %d of %d", shard, len(l.workers))
	}
	if !l.in() {
		return nil, false, errNoLife
	}
	w = l.workers[shard]
	if !w.Do(func() {
		v := w.Replica().View()
		if v.Epoch != e || !v.Members().Has(from.Node) {
			err = errView
		}
		live = v.Live.Has(l.self.Node)
	}) {
		return nil, false, errNoLife
	}
	return w, live, err
}

// onAlike says what this node holds of the keys a damaged record may be of.
func (l *Life) onAlike(_ context.Context, from proto.Member, q *alikeRequest) (*alikeReply, error) {
	w, live, err := l.asked(from, q.To, q.Epoch, q.Shard)
	if err != nil {
		return nil, err
	}
	r := &alikeReply{Epoch: q.Epoch, Live: live}
	r.Damaged, err = w.Pool().Store().Alike(q.Hash, q.Mask, func(locked bool, h *record.Header, _, _ []byte) bool {
		r.Held = append(r.Held, mending.Held{Hash: h.Hash, TS: h.TS, Locked: locked})
		return len(r.Held) < alikeMost
	})
	if len(r.Held) == alikeMost {
		return nil, errMany
	}
	return r, err
}

// onImage gives a record away that is readable here.
func (l *Life) onImage(_ context.Context, from proto.Member, q *imageRequest) (*imageReply, error) {
	w, live, err := l.asked(from, q.To, q.Epoch, q.Shard)
	if err != nil {
		return nil, err
	}
	r := &imageReply{}
	if !live {
		return r, nil
	}
	_, err = w.Pool().Store().Alike(q.Hash, ^uint64(0), func(locked bool, h *record.Header, key, value []byte) bool {
		if locked || h.TS < q.TS {
			return true
		}
		head := *h
		head.Flags, head.Durable = 0, 0
		r.Image = make([]byte, record.Bytes(len(key), len(value)))
		record.Encode(r.Image, &head, key, value, imageSeed)
		return false
	})
	return r, err
}

// tellHurt lets a buddy know whose record ended the transfer: it fetches that
// one from the others, and the next transfer finds it whole.
func (l *Life) tellHurt(ctx context.Context, buddy proto.Member, e proto.Epoch, shard int, err error) {
	var d *damagedAt
	if !errors.As(err, &d) {
		return
	}
	if err := l.cfg.Control.Call(ctx, buddy.Node, kindHurt, hurtRequest{buddy, e, shard, d.pos}, nil); err != nil {
		l.log.Debug("the buddy does not hear of its damaged record", "buddy", buddy, "err", err)
	}
}

// onHurt looks at a record of this node that somebody else could not read. A
// position means nothing to it unless the index leads there.
func (l *Life) onHurt(_ context.Context, from proto.Member, q *hurtRequest) (*struct{}, error) {
	w, _, err := l.asked(from, q.To, q.Epoch, q.Shard)
	if err != nil {
		return nil, err
	}
	if !w.Do(func() {
		if st := w.Pool().Store(); q.Pos < st.Tail() && q.Pos%record.Align == 0 {
			st.NoteAt(q.Pos)
		}
	}) {
		return nil, errNoLife
	}
	return &struct{}{}, nil
}

// mender fetches what is damaged here from the other members, one record after
// the other, until ctx ends. Clients wait for it; nobody else does.
func (l *Life) mender(ctx context.Context) {
	epoch, asked := proto.Epoch(0), l.env.Now()
	for ctx.Err() == nil {
		l.mu.Lock()
		changed, v := l.changed, l.installed
		l.mu.Unlock()
		pause := mendIdle
		if l.in() && v.Epoch != 0 {
			if v.Epoch != epoch || l.env.Now()-asked > int64(mendRefused) {
				epoch, asked = v.Epoch, l.env.Now()
				for _, w := range l.workers {
					w.Pool().Store().RetryRefused()
				}
			}
			for i, w := range l.workers {
				if l.mendShard(ctx, &v, i, w) {
					pause = mendPause
				}
			}
		}
		l.env.Wait(pause, l.hurt, changed, ctx.Done())
	}
}

// mendShard looks at some of a shard's damaged records. True: some of them are
// to be looked at again soon.
func (l *Life) mendShard(ctx context.Context, v *proto.View, shard int, w *dataplane.Worker) (again bool) {
	st := w.Pool().Store()
	for _, h := range st.TakeDamaged(nil, mendAtOnce) {
		verdict, err := l.mend(ctx, v, shard, w, &h)
		switch {
		case err != nil || verdict.Do == mending.Wait:
			st.Later(&h)
			again = true
		case verdict.Do == mending.Refuse:
			if st.Refuse(&h) {
				l.log.Error("a damaged record is not to be had from any member: its key is refused until it is written anew",
					"shard", shard, "record", h.String(), "why", verdict.Why)
				l.cfg.Event("damage_refused", v.Epoch, fmt.Sprintf("shard %d, %s: %s", shard, &h, verdict.Why))
			}
		default:
			l.log.Warn("damaged record repaired", "shard", shard, "record", h.String(), "fetched", len(verdict.Wanted))
			l.cfg.Event("damage_repaired", v.Epoch, fmt.Sprintf("shard %d, %s: %d records fetched", shard, &h, len(verdict.Wanted)))
		}
		if err != nil {
			l.log.Debug("damaged record: not yet", "shard", shard, "record", h.String(), "err", err)
		}
	}
	w.Mended()
	return again
}

// errUnderWay: the damaged record is not visible yet. What the members hold of
// its key may be older than what this node has acknowledged; so it is waited
// for until all have it.
var errUnderWay = errors.New("heal: the damaged record is under way")

// mend does what can be done about one damaged record.
func (l *Life) mend(ctx context.Context, v *proto.View, shard int, w *dataplane.Worker, h *store.Hurt) (r mending.Verdict, err error) {
	st := w.Pool().Store()
	if !w.Do(func() {
		switch rep := w.Replica(); {
		case rep.View().Epoch != v.Epoch:
			err = errView
		case rep.InFlight(h.Pos) && !plant.Is(plant.MendInFlight):
			err = errUnderWay
		}
		h.Bound = uint64(w.Replica().NewestBefore(h.Pos))
	}) {
		err = errNoLife
	}
	if err != nil {
		return r, err
	}
	ctx, cancel := l.env.Timeout(ctx, l.helloTimeout())
	defer cancel()
	answers, err := l.ask(ctx, v, shard, h)
	own := map[uint64]uint64{}
	if _, err := st.Alike(h.Hash, h.Mask, func(_ bool, x *record.Header, _, _ []byte) bool {
		own[x.Hash] = max(own[x.Hash], x.TS)
		return true
	}); err != nil {
		return r, err
	}
	r = mending.Decide(v, l.self.Node, answers, h.Hash, h.TS, h.Sound(), func(hash uint64) uint64 { return own[hash] })
	if r.Do == mending.Wait {
		return r, err
	}
	images := make([][]byte, len(r.Wanted))
	for i, x := range r.Wanted {
		if images[i], err = l.image(ctx, v, shard, &x); err != nil {
			return r, err
		}
	}
	if !w.Do(func() {
		if w.Replica().View().Epoch != v.Epoch {
			err = errView
			return
		}
		for _, img := range images {
			var head record.Header
			record.Decode(img, &head)
			if _, err = st.Repair(head, record.Key(img), record.Value(img)); err != nil {
				return
			}
		}
		if r.Do == mending.Settle && !st.Settle(h) {
			r.Do, r.Why = mending.Refuse, "what the members have is older"
		}
	}) {
		err = errNoLife
	}
	return r, err
}

// ask asks the other live members of the view what they hold.
func (l *Life) ask(ctx context.Context, v *proto.View, shard int, h *store.Hurt) ([]mending.Answer, error) {
	list := v.Live.Without(l.self.Node).Nodes(nil)
	answers, errs := make([]mending.Answer, len(list)), make([]error, len(list))
	calls := flow.NewGroup(l.env)
	for i, n := range list {
		calls.Go(func() {
			var r alikeReply
			m := v.Member(n)
			if errs[i] = l.cfg.Control.Call(ctx, n, kindAlike, alikeRequest{m, v.Epoch, shard, h.Hash, h.Mask}, &r); errs[i] == nil {
				answers[i] = mending.Answer{From: m, Epoch: r.Epoch, Live: r.Live, Damaged: r.Damaged, Held: r.Held}
			}
		})
	}
	calls.Wait()
	answers = slices.DeleteFunc(answers, func(a mending.Answer) bool { return a.From == proto.Member{} })
	return answers, errors.Join(errs...)
}

var errImage = errors.New("heal: a member's image of a record does not verify, or is of another one")

// image fetches a record and verifies it.
func (l *Life) image(ctx context.Context, v *proto.View, shard int, x *mending.Wanted) ([]byte, error) {
	var r imageReply
	if err := l.cfg.Control.Call(ctx, x.From.Node, kindImage, imageRequest{x.From, v.Epoch, shard, x.Hash, x.TS}, &r); err != nil {
		return nil, err
	}
	if len(r.Image) == 0 {
		return nil, errNews // it has been superseded by something that is under way
	}
	var h record.Header
	if err := record.VerifyHeader(r.Image, imageSeed, &h); err != nil {
		return nil, fmt.Errorf("%w: %w", errImage, err)
	}
	if err := record.VerifyBody(r.Image, &h); err != nil {
		return nil, fmt.Errorf("%w: %w", errImage, err)
	}
	if h.Kind != record.Put && h.Kind != record.Delete || h.Hash != x.Hash || h.TS < x.TS || proto.TS(h.TS).Epoch() > v.Epoch ||
		h.Bytes() != len(r.Image) || l.workers[shard].Pool().Store().Hash(record.Key(r.Image)) != h.Hash {
		return nil, errImage
	}
	return r.Image, nil
}
