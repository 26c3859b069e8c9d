package heal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
)

const (
	retryPause = 10 * time.Millisecond
	// retryLeast passes between two tries even if something new is known: the
	// hellos of several that come back would set each other off without end.
	retryLeast = 2 * time.Millisecond
)

// A lease is chosen with the pace of the machines in mind: where it is long,
// calls get a share of it, or all that they do would come too late for ever.

// helloTimeout bounds a round of hellos, connections included, and other short
// calls.
func (l *Life) helloTimeout() time.Duration { return max(time.Second, l.cfg.Lease/2) }

// awaitTimeout bounds waiting for others to install a view.
func (l *Life) awaitTimeout() time.Duration { return max(2*time.Second, l.cfg.Lease) }

// updateTimeout bounds a change of the register, which may have to wait for a
// lease to run out; it is tried again.
func (l *Life) updateTimeout() time.Duration { return max(3*time.Second, l.cfg.Lease) }

// drive steps the machine of the way back until the life serves, and stays to
// answer a fence.
func (l *Life) drive(ctx context.Context) {
	defer func() {
		l.mu.Lock()
		l.driven, l.facts = true, nil
		l.mu.Unlock()
	}()
	m := rejoin.New(rejoin.Config{Self: l.self, Full: l.cfg.Full, Blank: l.cfg.Blank, Lease: int64(l.cfg.Lease), Random: l.env.Random(),
		Digests: true, Doubtful: l.cfg.Doubtful,
		Leftovers: slices.ContainsFunc(l.cfg.Leftovers, func(of []Leftover) bool { return len(of) > 0 })})
	l.recovery.begin()
	last, why := rejoin.Wait, ""
	for ctx.Err() == nil {
		l.learn(m)
		m.Now(l.env.Now())
		if l.cfg.HeldBack != nil {
			m.HeldBack(l.cfg.HeldBack())
		}
		a := m.Next()
		l.recovery.at(phases[a.Do])
		if a.Do != last || a.Why != why {
			l.log.Debug("way back", "do", a.Do.String(), "epoch", m.View().Epoch, "why", a.Why)
			if last, why = a.Do, a.Why; (a.Do == rejoin.Wait || a.Do == rejoin.Connect) && a.Why != "" {
				l.log.Error("cannot go on", "why", a.Why)
				l.cfg.Event("waiting", m.View().Epoch, a.Why)
			} else if a.Do == rejoin.Later {
				l.log.Warn("comes back later", "why", a.Why)
				l.cfg.Event("backs_off", m.View().Epoch, a.Why)
			}
		}
		switch a.Do {
		case rejoin.Serve:
			l.finished()
			return
		case rejoin.StartOver:
			l.leave(ctx)
			l.end(&Fenced{Why: a.Why, Full: true})
			return
		case rejoin.Again:
			l.end(&Fenced{Why: a.Why})
			return
		case rejoin.Wait:
			l.pause(ctx, 50*time.Millisecond)
		case rejoin.Later:
			l.pause(ctx, retryPause)
		default:
			if err := l.carryOut(ctx, m, a); err != nil {
				l.log.Debug("way back: not yet", "do", a.Do.String(), "err", err)
				if plant.Is(plant.RetryNews) || flow.Sleep(l.env, ctx, retryLeast) == nil {
					l.pause(ctx, retryPause-retryLeast)
				}
			}
		}
	}
}

// learn hands the machine what has become known: the newest view before any
// fact, which may be about that view.
func (l *Life) learn(m *rejoin.Machine) {
	l.mu.Lock()
	v, facts := l.newest, l.facts
	l.facts = nil
	l.mu.Unlock()
	if v.Epoch > m.View().Epoch {
		m.SawView(&v)
	}
	for _, f := range facts {
		f(m)
	}
}

// pause waits for something new, at most d.
func (l *Life) pause(ctx context.Context, d time.Duration) {
	l.mu.Lock()
	changed := l.changed
	l.mu.Unlock()
	l.env.Wait(d, l.told, changed, ctx.Done())
}

// tell passes a fact to the machine. Any goroutine. When the machine is
// hopelessly behind it is dropped, and whoever told it is to tell it again:
// errFacts. What is told to a machine that is finished says nothing to anybody.
func (l *Life) tell(f func(*rejoin.Machine)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.driven:
	case len(l.facts) < factsMax:
		l.facts = append(l.facts, f)
		flow.Signal(l.told)
	case !plant.Is(plant.FactDropped):
		return errFacts
	}
	return nil
}

func (l *Life) carryOut(ctx context.Context, m *rejoin.Machine, a rejoin.Action) error {
	switch a.Do {
	case rejoin.Connect:
		return l.connect(ctx, m, a.Nodes)
	case rejoin.Admit:
		return l.admit(ctx, m, a)
	case rejoin.AwaitInstalled:
		return l.awaitAll(ctx, m, a.Epoch)
	case rejoin.Transfer:
		return l.transfer(ctx, m, a)
	case rejoin.RollLeftovers:
		return l.rollLeftovers(ctx, m)
	case rejoin.Flush:
		return l.flush(m)
	case rejoin.Promote:
		l.recovery.finishing()
		return l.update(ctx, m, a.Epoch, func(v proto.View) proto.View {
			return v.Promoted(l.self.Node)
		})
	case rejoin.ColdStart:
		l.cfg.Event("cold_start", a.Epoch, "")
		cold := m.ColdView()
		return l.update(ctx, m, a.Epoch, func(proto.View) proto.View { return cold })
	case rejoin.ReportCold:
		return l.reportCold(ctx, m, a.Epoch)
	case rejoin.PromoteCold:
		return l.update(ctx, m, a.Epoch, func(v proto.View) proto.View { return v.ColdDone() })
	}
	return fmt.Errorf("heal: no way to carry out %v", a.Do)
}

var errNews = errors.New("heal: something new is known")

// errMoved: the view is another one by now.
var errMoved = errors.New("heal: the view has moved")

// update changes the register if it still has epoch e.
func (l *Life) update(ctx context.Context, m *rejoin.Machine, e proto.Epoch, next func(proto.View) proto.View) error {
	ctx, cancel := l.env.Timeout(ctx, l.updateTimeout())
	defer cancel()
	v, err := l.cfg.Register.Update(ctx, func(v *proto.View) error {
		if v.Epoch != e && !plant.Is(plant.UpdateMoved) {
			return errMoved
		}
		issued := v.Issued
		*v = next(*v)
		v.Issued = issued
		return nil
	})
	if err == nil {
		l.SawView(v)
	} else {
		l.SawView(l.cfg.Register.Current())
	}
	l.learn(m)
	return err
}

// greeting is what came of a hello.
type greeting struct {
	to    proto.NodeID
	sent  int64
	reply helloReply
	err   error
}

// greet says hello to nodes: each prepares its connection to this life, and
// this life to it. Any goroutine.
func (l *Life) greet(ctx context.Context, nodes proto.NodeSet) []greeting {
	ctx, cancel := l.env.Timeout(ctx, l.helloTimeout())
	defer cancel()
	list := nodes.Nodes(nil)
	all := make([]greeting, len(list))
	calls := flow.NewGroup(l.env)
	for i, n := range list {
		calls.Go(func() {
			g := &all[i]
			g.to, g.sent = n, l.env.Now()
			g.err = l.cfg.Control.Call(ctx, n, kindHello, helloRequest{l.self, l.cfg.Prev, l.cfg.Tails, l.cfg.Blank, l.remembers()}, &g.reply)
			if g.err == nil && g.reply.Me.Node != n {
				g.err = fmt.Errorf("heal: node %d answers as %v", n, g.reply.Me)
			}
			if g.err == nil {
				g.err = l.prepare(ctx, g.reply.Me)
			}
		})
	}
	calls.Wait()
	return all
}

// greeted hands the machine what came of hellos, and gives the last failure.
func (l *Life) greeted(m *rejoin.Machine, all []greeting) (failed error) {
	for i := range all {
		g, r := &all[i], &all[i].reply
		if g.err == nil {
			m.Connected(r.Me)
			l.heard(said{life: r.Me, prev: r.Prev, tails: r.Tails, blank: r.Blank, remembers: r.Remembers})
			l.judge(m)
			if r.Stale || outdone(l.prev(), l.cfg.Tails, r.Remembers) {
				m.Stale()
			}
			continue
		}
		failed = g.err
		if l.heardSince(g.to, g.sent) {
			continue // it has come back meanwhile, and said so itself
		}
		m.Disconnected(g.to)
		if was := m.View().Member(g.to); l.cfg.ProvenDead(was) {
			m.Died(was)
		}
	}
	return failed
}

// connect says hello to nodes. "Connect before you decide."
func (l *Life) connect(ctx context.Context, m *rejoin.Machine, nodes proto.NodeSet) error {
	failed := l.greeted(m, l.greet(ctx, nodes))
	switch {
	case failed != nil:
	case m.Next().Do == rejoin.Connect:
		failed = errView // a member answered with another life than the view's
	default:
		l.cfg.Event("connected", m.View().Epoch, "")
	}
	return failed
}

// admit asks the register to take this life in as a shadow.
func (l *Life) admit(ctx context.Context, m *rejoin.Machine, a rejoin.Action) error {
	e := m.View().Epoch
	if a.Full && m.View().Live.Has(l.self.Node) && !plant.Is(plant.AdmitLive) {
		// The view still counts the former life. Were the records discarded now
		// and all others to die, a cold start would wait for them: out of the
		// view first.
		return l.update(ctx, m, e, func(v proto.View) proto.View {
			return v.Without(proto.NodeSet(0).With(l.self.Node))
		})
	}
	l.recovery.asked(a.Full, a.Why)
	discards := a.Full && !l.in()
	if err := l.enter(a.Full); err != nil {
		l.end(err)
		return err
	}
	if discards {
		clear(l.cfg.Leftovers) // they name places in a log that has begun anew
		l.cfg.Event("discarded", e, a.Why)
	}
	l.cfg.Event("join_asked", e, a.Why)
	err := l.update(ctx, m, e, func(v proto.View) proto.View {
		return v.Admitted(l.self, a.Full && !plant.Is(plant.H17LiveUntil))
	})
	return err
}

// awaitAll waits until every member of the view has installed it.
func (l *Life) awaitAll(ctx context.Context, m *rejoin.Machine, e proto.Epoch) error {
	ctx, cancel := l.env.Timeout(ctx, l.awaitTimeout())
	defer cancel()
	defer l.cancelOnNewer(cancel, e)()
	v := m.View()
	if l.recovery.admitted(v.Cold) {
		l.cfg.Event("admitted", e, "")
	}
	members := v.Members().Nodes(nil)
	errs := make([]error, len(members))
	calls := flow.NewGroup(l.env)
	for i, n := range members {
		calls.Go(func() {
			if n == l.self.Node {
				_, errs[i] = l.awaitInstalled(ctx, e)
				return
			}
			var r awaitReply
			errs[i] = l.cfg.Control.Call(ctx, n, kindAwait, awaitRequest{v.Member(n), e}, &r)
			if errs[i] == nil && r.Installed < e {
				errs[i] = errView
			}
		})
	}
	calls.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	m.AllInstalled(e)
	l.recovery.installed()
	l.cfg.Event("all_installed", e, "")
	return nil
}

// cancelOnNewer calls cancel as soon as a view above e is known. The result
// ends the watch.
func (l *Life) cancelOnNewer(cancel func(), e proto.Epoch) (stop func()) {
	done := make(chan struct{})
	l.env.Go(func() {
		for {
			l.mu.Lock()
			changed, newer := l.changed, l.newest.Epoch > e
			l.mu.Unlock()
			if newer {
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

// rollLeftovers offers the own leftovers to every shard and waits until the
// cursors are done and what they appended is visible everywhere: after a cold
// start another node must not serve what a leftover supersedes. Each offer
// checks that nothing newer came.
func (l *Life) rollLeftovers(ctx context.Context, m *rejoin.Machine) error {
	for i, w := range l.workers {
		for list := l.cfg.Leftovers[i]; len(list) > 0; {
			part := list[:min(l.cfg.Limits.Leftovers, len(list))]
			list = list[len(part):]
			rolled := 0
			if !w.Do(func() {
				for _, x := range part {
					if w.Replica().Leftover(x.Hash, x.Pos) {
						rolled++
					}
				}
			}) {
				return errNoLife
			}
			l.recovery.rolled(rolled)
		}
		l.cfg.Leftovers[i] = nil
	}
	for _, w := range l.workers {
		for pending := 1; pending > 0; {
			if !w.Do(func() { pending = w.Replica().ForwardPending() + w.Replica().Outstanding() }) {
				return errNoLife
			}
			if plant.Is(plant.RollVisible) {
				break
			}
			if pending == 0 {
				break
			}
			told := l.told
			if plant.Is(plant.RollDeaf) {
				told = nil
			}
			switch l.env.Wait(time.Millisecond, ctx.Done(), told) {
			case 0:
				return ctx.Err()
			case 1:
				// Whom this waits for may have died: in a cold view nobody is
				// there to remove it. The machine decides; this goes on later.
				return errNews
			}
		}
	}
	m.Rolled()
	l.cfg.Event("leftovers_rolled", m.View().Epoch, "")
	return nil
}

// flush makes everything durable before the promotion (H1).
func (l *Life) flush(m *rejoin.Machine) error {
	for _, w := range l.workers {
		err := errNoLife
		if w.Do(func() { err = w.Pool().Flush() }); err != nil {
			return err
		}
	}
	m.Flushed()
	l.cfg.Event("flushed", m.View().Epoch, "")
	return nil
}

func (l *Life) reportCold(ctx context.Context, m *rejoin.Machine, e proto.Epoch) error {
	ctx, cancel := l.env.Timeout(ctx, l.helloTimeout())
	defer cancel()
	for _, n := range m.View().Shadow.Nodes(nil) {
		if n == l.self.Node {
			m.ColdDone(n, e)
			continue
		}
		if err := l.cfg.Control.Call(ctx, n, kindCold, coldRequest{l.self, e}, nil); err != nil {
			return err
		}
	}
	m.Reported()
	l.cfg.Event("cold_reported", e, "")
	return nil
}

// leave takes this shadow out of the view, so that nobody waits for it. It stays
// where nobody live would be left: a view with nobody live is a cold start's,
// and whom that one waits for must stay written there (H15).
func (l *Life) leave(ctx context.Context) {
	ctx, cancel := l.env.Timeout(ctx, l.helloTimeout())
	defer cancel()
	_, err := l.cfg.Register.Update(ctx, func(v *proto.View) error {
		if !v.Has(l.self) || v.Live.Without(l.self.Node) == 0 && !plant.Is(plant.ColdLeft) {
			return errMoved
		}
		*v = v.Without(proto.NodeSet(0).With(l.self.Node))
		return nil
	})
	if err != nil && !errors.Is(err, errMoved) {
		l.log.Warn("could not leave the view", "err", err)
	}
}

// finished is the end of the way back.
func (l *Life) finished() {
	l.recovery.finished()
	if err := l.cfg.Promoted(); err != nil {
		l.end(err)
		return
	}
	l.cfg.Event("promoted", l.newestEpoch(), l.Recovery().Kind)
}
