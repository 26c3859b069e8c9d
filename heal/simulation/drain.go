package simulation

import (
	"context"
	"errors"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal"
)

// drain is Node.Drain, and Node.Resume after a while: the node leaves without a
// stall and has no life until then; its process goes on and votes.
func (m *machine) drain(back time.Duration) {
	p := m.p
	p.Go(func() {
		l := p.life
		if l != nil {
			l.gate.closed = true
			if !p.quiesce(l) {
				l.gate.closed = false
				p.w.count("drains given up")
				return
			}
		}
		p.drained, p.drainedFor = make(chan struct{}), back
		end := p.endsLife // not a later life's, should this one end while it leaves
		p.leave(l)
		if end != nil {
			end()
		}
	})
}

// quiesce waits until the writes that the life has taken are through. False:
// that takes too long.
func (p *process) quiesce(l *life) bool {
	if !l.entered {
		return true
	}
	for _, x := range l.core.Workers() {
		for left, tries := 1, 0; left > 0; tries++ {
			if !x.Do(func() { left = x.Replica().Outstanding() }) {
				break
			}
			if left > 0 {
				if tries == 50 {
					return false
				}
				p.Wait(200 * time.Microsecond)
			}
		}
	}
	return true
}

// leave takes the life out of the view, but not the last one.
func (p *process) leave(l *life) {
	if l == nil {
		return
	}
	if v := p.members.Current(); v.Has(l.self) && v.Live != set(p.m.id) {
		ctx, cancel := p.Timeout(p.ctx, p.w.o.Lease)
		if _, err := p.members.Leave(ctx, l.self); err == nil {
			p.w.count("left in order")
		}
		cancel()
	}
}

// rests is the end of a life by a drain: it waits until the node is resumed.
// False: that was not why the life ended.
func (p *process) rests(err error) bool {
	var f *heal.Fenced
	if p.drained == nil || !errors.As(err, &f) && !errors.Is(err, context.Canceled) {
		return false
	}
	p.w.count("drained")
	p.w.note("drained", p.m.id, 0, 0)
	resume := p.drained
	p.w.sim.At(p.drainedFor, func() {
		close(resume)
		p.poke()
	})
	p.Wait(-1, resume, p.ctx.Done())
	p.drained = nil
	return true
}

// mayDrain is Node.mayLeave.
func (m *machine) mayDrain() bool {
	if !m.up || m.p.closing || m.p.drained != nil || m.p.Paused() || m.p.life == nil || m.p.life.gate.closed {
		return false
	}
	v := m.p.members.Current()
	return v.Epoch != 0 && !v.Cold && v.Live != set(m.id) && m.w.spare(proto.NodeSet(0).With(proto.NodeID(m.id)))
}
