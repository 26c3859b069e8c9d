package membership

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/membership/register"
)

// attemptWait bounds one proposal at least; a peer that does not answer in that
// time counts as unreachable.
const attemptWait = 2 * time.Second

// patience is how long something takes that peers usually answer within: where
// the lease is long because machines are slow, they get a share of it. When
// proposals of several nodes take longer than they may, all fail and get in each
// other's way again, for ever.
func (s *Service) patience(usual time.Duration, share int64) time.Duration {
	return max(usual, time.Duration(s.lease/share))
}

// Update changes the view by compare-and-swap: fn gets a copy of the newest
// one, changes it, and is called again on a newer one when somebody else was
// faster. fn runs in this goroutine, must have no effect but its result, and
// may find its own change done already (then it returns ErrNoChange).
//
// The result is the newest view: the changed one if err is nil. Errors:
// ErrChange with fn's own error if that declined; ErrNoMajority or ErrHeld if
// ctx ended first: then the change may still take effect; ErrConfig; ErrClosed.
func (s *Service) Update(ctx context.Context, fn func(*proto.View) error) (proto.View, error) {
	for try := 0; ; try++ {
		p, led, err := s.attempt(ctx, fn)
		if err != nil {
			return s.Current(), err
		}
		outcome, v := p.Outcome()
		if led && outcome == register.Lost {
			continue // somebody proposed since: from the beginning, at once
		}
		// Long enough for one of the competitors to get through, measured by
		// how long a proposal takes at present.
		wait := time.Millisecond + s.random(s.pace()*time.Duration(min(try+1, 8))/2)
		switch outcome {
		case register.Chosen:
			return v.View, nil
		case register.Unchanged:
			if errors.Is(p.Declined, ErrNoChange) {
				return v.View, nil
			}
			if errors.Is(p.Declined, ErrConfig) {
				return v.View, p.Declined
			}
			return v.View, fmt.Errorf("%w: %w", ErrChange, p.Declined)
		case register.Lost:
			err = fmt.Errorf("%w: other proposals were faster each time", ErrNoMajority)
		case register.Held:
			err = fmt.Errorf("%w: %s", ErrHeld, p.Detail)
			wait = max(10*time.Millisecond, time.Duration(s.lease)/50)
		default:
			err = fmt.Errorf("%w: %d of %d must", ErrNoMajority, s.majority, s.cfg.Configured.Count())
			wait += 10 * time.Millisecond
			if differ, all := s.seedsDiffer(); all {
				return s.Current(), differ
			} else if differ != nil {
				err, wait = fmt.Errorf("%w: %w", err, differ), max(wait, time.Duration(s.lease)/4)
			}
		}
		if perr := s.pause(ctx, wait); perr != nil {
			if errors.Is(perr, ErrClosed) {
				return s.Current(), ErrClosed
			}
			return s.Current(), fmt.Errorf("%w: %w", err, perr)
		}
	}
}

// attempt carries one proposal through, in one trip if our last one has left a
// lead.
func (s *Service) attempt(ctx context.Context, fn func(*proto.View) error) (done *register.Proposer, led bool, err error) {
	// Rounds of one node do not compete with each other.
	switch s.env.Wait(-1, s.propose, ctx.Done(), s.ctx.Done()) {
	case 0:
		defer flow.Signal(s.propose)
	case 1:
		return nil, false, fmt.Errorf("%w: %w", ErrNoMajority, ctx.Err())
	case 2:
		return nil, false, ErrClosed
	}
	p, led := s.begin(s.checked(fn))
	asking, cancel := s.env.Timeout(ctx, s.patience(attemptWait, 2))
	defer cancel()
	begin := s.env.Now()
	defer func() { s.took(time.Duration(s.env.Now() - begin)) }()
	answers := s.ask(asking, p.Request())
	for {
		outcome, v := p.Outcome()
		if outcome != register.Pending {
			s.finish(&p, outcome, v, led)
			return &p, led, nil
		}
		// The own vote has no deadline: its disk may hang.
		a, ok := answers.take(s.ctx.Done(), ctx.Done())
		switch {
		case !ok && s.ctx.Err() != nil:
			return nil, false, ErrClosed
		case !ok:
			return nil, false, fmt.Errorf("%w: %w", ErrNoMajority, ctx.Err())
		}
		if a.err != nil {
			p.Unreachable(a.node)
		} else if p.Step(&a.m) {
			answers = s.ask(asking, p.Request()) // answers of the phase before are not read any more
		}
	}
}

// begin makes the proposal. A lead is used up by it, whatever comes of it: there
// is one value to a ballot. Its rounds are its own and the one that it asks to
// be promised.
func (s *Service) begin(change register.Change) (p register.Proposer, led bool) {
	s.mu.Lock()
	lead := s.lead
	if !plant.Is(plant.LeadKept) {
		s.lead = register.Lead{}
	}
	s.counts.Proposals++
	s.mu.Unlock()
	// The change is called without the lock: it may take it.
	if lead.Ballot != (register.Ballot{}) {
		p, led = register.NewLed(s.cfg.Configured, lead, change)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if led {
		s.round = max(s.round, lead.Ballot.Round+1)
		return p, true
	}
	b := register.Ballot{Round: s.round + 1, Node: s.cfg.Node, Life: s.life}
	s.round += 2
	return register.NewProposer(s.cfg.Configured, b, s.cfg.Initial, change), false
}

// RoundsAway is how many rounds the others may have gone through while a process
// was not there, so that its first proposal is not outbid: its file knows only of
// those before. It costs nothing, as rounds may be left out.
const RoundsAway = 1 << 16

// firstRound is what the first proposal of a process goes above.
func firstRound(c *Config, st *register.State) uint64 {
	if plant.Is(plant.RoundNear) {
		return st.Promised.Round
	}
	return min(st.Promised.Round+c.RoundsAway, max(st.Promised.Round, roundMost/2))
}

// spread is about how far apart proposals of several nodes are to begin on
// machines whose long lease says that they are slow: one that is overtaken was
// in vain, and all of them take longer the more there are. 0 with usual leases.
func (s *Service) spread() time.Duration {
	return (s.patience(attemptWait, 2) - attemptWait) / 8
}

// took and pace keep how long a proposal takes, smoothed.
func (s *Service) took(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pacing += (min(d, s.patience(attemptWait, 2)/4) - s.pacing) / 4
}

func (s *Service) pace() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.pacing, s.spread(), time.Millisecond)
}

// random is a duration below d, which is above 0.
func (s *Service) random(d time.Duration) time.Duration {
	return time.Duration(s.env.Random() % uint64(d))
}

// answers collects what tasks beside ours find out; one takes them.
type answers[T any] struct {
	env  flow.Env
	mu   sync.Mutex
	got  []T
	some chan struct{} // a token: got may have some
}

func newAnswers[T any](env flow.Env) *answers[T] {
	return &answers[T]{env: env, some: make(chan struct{}, 1)}
}

func (a *answers[T]) put(x T) {
	a.mu.Lock()
	a.got = append(a.got, x)
	a.mu.Unlock()
	flow.Signal(a.some)
}

// take waits for the next one. False: one of until ended first.
func (a *answers[T]) take(until ...<-chan struct{}) (x T, ok bool) {
	for {
		a.mu.Lock()
		if len(a.got) > 0 {
			x, a.got = a.got[0], a.got[1:]
			a.mu.Unlock()
			return x, true
		}
		a.mu.Unlock()
		if a.env.Wait(-1, append([]<-chan struct{}{a.some}, until...)...) != 0 {
			return x, false
		}
	}
}

type answer struct {
	node proto.NodeID
	m    register.Message
	err  error
}

// ask sends a request to every acceptor. Each yields exactly one answer.
func (s *Service) ask(ctx context.Context, m register.Message) *answers[answer] {
	out := newAnswers[answer](s.env)
	for _, n := range s.cfg.Configured.Nodes(nil) {
		m.To = n
		req := m
		if n == s.cfg.Node {
			s.env.Go(func() { out.put(answer{n, s.vote(ctx, &req), nil}) })
			continue
		}
		s.env.Go(func() {
			var j voteJSON
			q := voteOf(req)
			q.Seed = s.seed
			if err := s.ctl.Call(ctx, n, kindVote, q, &j); err != nil {
				out.put(answer{node: n, err: err})
				return
			}
			s.mu.Lock()
			s.heardTurnLocked(n, j.Turn)
			s.mu.Unlock()
			a := j.message()
			a.From = n // whoever it says it is
			out.put(answer{node: n, m: a})
		})
	}
	return out
}

// finish notes a proposal's end and passes a chosen value on.
func (s *Service) finish(p *register.Proposer, outcome register.Outcome, v register.Value, led bool) {
	s.mu.Lock()
	s.round = max(s.round, p.Highest.Round)
	if l, ok := p.Lead(); ok && l.Value.Seq >= s.known.Seq && !s.closed {
		s.lead = l
	}
	switch outcome {
	case register.Chosen:
		s.counts.Chosen++
		if led {
			s.counts.Led++
		}
	case register.Lost:
		s.lead = register.Lead{}
		s.counts.Conflicts++
	case register.Held:
		s.counts.Held++
	}
	s.mu.Unlock()
	if (outcome == register.Chosen || outcome == register.Unchanged) && v.Seq != 0 {
		s.learn(p.ChosenAt(), v)
		if outcome == register.Chosen {
			for _, n := range s.others() {
				s.tell(n)
			}
		}
	}
}

// checked wraps a change function in what must hold of every change.
func (s *Service) checked(fn func(*proto.View) error) register.Change {
	return func(v *proto.View) error {
		old := *v
		if err := sameConfig(&s.cfg.Initial, v); err != nil {
			return err
		}
		if err := fn(v); err != nil {
			return err
		}
		if *v == old {
			return ErrNoChange
		}
		return checkChange(&old, v)
	}
}

var errView = errors.New("membership: not a view that may follow")

func checkChange(old, v *proto.View) error {
	if old.Epoch == proto.EpochMax && v.Epoch != old.Epoch {
		return fmt.Errorf("%w: the epochs are used up at %d: this cluster takes no view change any more; copy its data to a new one", errView, old.Epoch)
	}
	if err := v.Validate(); err != nil {
		return err
	}
	for n := range v.Issued {
		if v.Issued[n] < old.Issued[n] || v.Incarnation[n] > v.Issued[n] {
			return fmt.Errorf("%w: node %d has incarnation %d, issued %d, before %d", errView, n, v.Incarnation[n], v.Issued[n], old.Issued[n])
		}
	}
	same := *old
	same.Issued = v.Issued
	switch {
	case v.Epoch == old.Epoch && *v != same:
		return fmt.Errorf("%w: it changes epoch %d, which is decided", errView, v.Epoch)
	case v.Epoch != old.Epoch && v.Epoch != old.Epoch+1:
		return fmt.Errorf("%w: epoch %d after %d", errView, v.Epoch, old.Epoch)
	case v.Epoch != old.Epoch && v.ColdSet() == 0 && !plant.Is(plant.ViewOfNobody):
		return fmt.Errorf("%w: epoch %d has no live member and is no cold start's: nobody could ever start cold from it", errView, v.Epoch)
	}
	return sameConfig(old, v)
}
