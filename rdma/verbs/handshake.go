//go:build verbs

package verbs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"healkv/rdma"
)

// call asks the peer's endpoint of this shard.
func (e *Endpoint) call(peer int, r *request) (answer, error) {
	r.Verbs, r.From = wireVersion, e.cfg.Incarnation
	ctx, cancel := context.WithTimeout(e.ctx, max(callTime, e.cfg.Patience))
	defer cancel()
	b, err := e.cfg.Exchange.Call(ctx, peer, encodeWire(r))
	if err != nil {
		if e.ctx.Err() != nil {
			return answer{}, rdma.ErrClosed
		}
		return answer{}, fmt.Errorf("verbs: ask node %d to %s: %w", peer, r.Op, err)
	}
	return decodeAnswer(peer, b)
}

func (e *Endpoint) checkPeer(peer int, incarnation uint32) error {
	if e.ctx.Err() != nil {
		return rdma.ErrClosed
	}
	if peer < 0 || peer >= e.cfg.Nodes || peer == e.self || incarnation == 0 {
		return fmt.Errorf("%w: node %d, incarnation %d, asked by node %d of %d", rdma.ErrNoPeer, peer, incarnation, e.self, e.cfg.Nodes)
	}
	return nil
}

// Prepare opens a lane to one life of a peer. ErrNoPeer, ErrMTU, ErrPeer, or
// what device and control plane say. Any goroutine.
func (e *Endpoint) Prepare(peer int, incarnation uint32) (rdma.Link, error) {
	if err := e.checkPeer(peer, incarnation); err != nil {
		return nil, err
	}
	o, err := e.openLane(peer, incarnation, 0)
	if err != nil {
		// Who asks tries again at once, and each try costs a queue pair.
		select {
		case <-time.After(preparePause):
		case <-e.ctx.Done():
		}
		return nil, err
	}
	l := &link{owner: e, peer: peer, incarnation: incarnation, next: o}
	e.mu.Lock()
	closing := e.closing
	if !closing {
		e.links[peer] = append(e.links[peer], l)
	}
	e.mu.Unlock()
	if closing {
		e.kept(peer, o.close())
		return nil, rdma.ErrClosed
	}
	return l, nil
}

// openLane makes a lane to the peer with one call. tag names the attachment
// that goes on, if one does.
func (e *Endpoint) openLane(peer int, incarnation uint32, tag uint64) (*outLane, error) {
	e.mu.Lock()
	if e.closing {
		e.mu.Unlock()
		return nil, rdma.ErrClosed
	}
	id := e.laneID(peer)
	e.tasks.Add(1)
	e.mu.Unlock()
	defer e.tasks.Done()
	o, err := e.newOutLane(id)
	if err != nil {
		return nil, err
	}
	own := psn()
	a, err := e.call(peer, &request{Op: opOpen, To: incarnation, Side: e.dev.side(o.qp, own), Ring: e.out.Size(), Tag: tag})
	if err == nil {
		err = checkMTU(e.dev.mtu, a.Side.MTU, peer)
	}
	if err == nil {
		o.known, o.pos = a.Known, a.Pos
		err = e.connect(o, own, &a.Side)
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

// answer serves the requests of peers.
func (e *Endpoint) answer(_ context.Context, from int, b []byte) ([]byte, error) {
	r, err := decodeRequest(b)
	if err != nil {
		e.complain(from, 0, err)
		return nil, err
	}
	a := answer{Status: statusNoLife, Text: fmt.Sprintf("incarnation %d is asked for, %d runs", r.To, e.cfg.Incarnation)}
	if from >= 0 && from < e.cfg.Nodes && from != e.self && r.To == e.cfg.Incarnation && r.From != 0 {
		e.answered.Add(1)
		switch r.Op {
		case opOpen:
			a = e.answerOpen(from, &r)
		case opWant:
			a = e.answerWant(from, &r)
		case opExpose, opWindow, opStage, opRelease:
			a = e.answerRead(from, &r)
		default:
			a = answer{Status: statusRefused, Text: "unknown request " + r.Op}
		}
	}
	if a.Status == statusMTU {
		e.complain(from, r.From, errors.New(a.Text))
	}
	a.Verbs = wireVersion
	return encodeWire(&a), nil
}

// complain logs what is wrong with a peer that asks for connections, once for
// each of its lives: it asks again and again.
func (e *Endpoint) complain(peer int, incarnation uint32, err error) {
	if peer >= 0 && peer < nodesMax && e.complained[peer].Swap(uint64(incarnation)+1) != uint64(incarnation)+1 {
		e.log.Error("cannot connect with a peer", "peer", peer, "incarnation", incarnation, "err", err)
	}
}

// answerOpen makes the reading end of a lane. If the writer's attachment goes
// on, the old end is put into ERR before the position is named.
func (e *Endpoint) answerOpen(from int, r *request) answer {
	if err := checkMTU(e.dev.mtu, r.Side.MTU, from); err != nil {
		return answer{Status: statusMTU, Text: err.Error()}
	}
	var a answer
	e.mu.Lock()
	if e.closing {
		e.mu.Unlock()
		return answer{Status: statusNoLife, Text: "it is being closed"}
	}
	id := e.laneID(from)
	if r.Tag != 0 {
		if left := e.left[from]; left.incarnation == r.From && left.tag == r.Tag {
			a.Known, a.Pos = true, left.cursor
		}
		for _, n := range e.in[from] {
			if n.incarnation == r.From && n.tag.Load() == r.Tag {
				e.noted(n.fence())
				a.Known, a.Pos = true, max(a.Pos, n.took.Load())
			}
		}
	}
	e.mu.Unlock()
	n, own, err := e.newInLane(id, from, r)
	if err != nil {
		e.log.Error("cannot make a lane for a peer", "peer", from, "err", err)
		return answer{Status: statusRefused, Text: err.Error()}
	}
	a.Side = own
	e.mu.Lock()
	closing := e.closing
	if !closing {
		e.evict(from, r.From)
		e.in[from] = append(e.in[from], n)
	}
	e.mu.Unlock()
	if closing {
		e.kept(from, n.close())
		return answer{Status: statusNoLife, Text: "it is being closed"}
	}
	e.tell()
	return a
}

// evict makes room for one more lane of a peer: the oldest one that nobody
// reads goes, those of older lives first. The worker may be looking at it, and
// gives it up. The lock is held.
func (e *Endpoint) evict(peer int, incarnation uint32) {
	if len(e.in[peer]) < lanesMax {
		return
	}
	victim := -1
	for i, n := range e.in[peer] {
		if n.used {
			continue
		}
		if victim < 0 || n.incarnation != incarnation && e.in[peer][victim].incarnation == incarnation {
			victim = i
		}
	}
	if victim < 0 {
		return
	}
	n := e.in[peer][victim]
	e.noted(n.fence())
	e.in[peer] = append(e.in[peer][:victim:victim], e.in[peer][victim+1:]...)
	e.evicted = append(e.evicted, n)
}

// answerWant: the peer uses us and has no lane from us. If we use it, one is
// opened.
func (e *Endpoint) answerWant(from int, r *request) answer {
	e.mu.Lock()
	linked := false
	for _, l := range e.links[from] {
		if l.incarnation == r.From && l.state != linkClosed {
			l.reopen, linked = true, true
		}
	}
	e.mu.Unlock()
	if linked {
		e.mend(from)
	}
	return answer{Linked: linked}
}

// mend starts what the links to a peer lack, unless that is under way: lanes
// that are opened anew, and lanes the peer is asked for. Any goroutine; the
// lock is not held.
func (e *Endpoint) mend(peer int) {
	e.mu.Lock()
	if e.mending[peer] || e.closing {
		e.mu.Unlock()
		return
	}
	e.mending[peer] = true
	e.tasks.Add(1)
	e.mu.Unlock()
	go func() {
		defer e.tasks.Done()
		pause := mendPause
		if e.sore(peer) {
			pause = mendPauseMax
			e.rest(pause)
		}
		for e.mendOnce(peer) {
			e.rest(pause)
			pause = min(2*pause, mendPauseMax)
		}
	}()
}

// sore tells whether lanes to the peer keep breaking by this node's own fault:
// the next one is not opened at once.
func (e *Endpoint) sore(peer int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.links[peer] {
		if l.reopen && l.sore && !l.gone {
			return true
		}
	}
	return false
}

// rest waits, less when the endpoint is closed.
func (e *Endpoint) rest(pause time.Duration) {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.ctx.Done():
	}
}

// mendOnce does what can be done now; false: nothing is left, and mending has
// ended.
func (e *Endpoint) mendOnce(peer int) (again bool) {
	e.mu.Lock()
	var l *link
	for _, x := range e.links[peer] {
		if (x.reopen || x.want) && !x.gone {
			l = x
		}
	}
	if l == nil || e.closing {
		e.mending[peer] = false
		e.mu.Unlock()
		return false
	}
	reopen, want, tag := l.reopen, l.want, l.ourTag
	l.reopen, l.want = false, false
	e.mu.Unlock()

	var err error
	if reopen {
		if err = e.remake(l, tag); err == nil {
			reopen = false
		}
	}
	if want && err == nil {
		if _, err = e.call(peer, &request{Op: opWant, To: l.incarnation}); err == nil {
			want = false
		}
	}
	if err == nil {
		return true // perhaps there is more
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(err, rdma.ErrNoPeer) {
		l.gone = true
		return true
	}
	e.log.Debug("lane cannot be opened anew yet", "peer", peer, "err", err)
	l.reopen, l.want = l.reopen || reopen, l.want || want
	return true
}

// remake opens a lane for a link that has one no more.
func (e *Endpoint) remake(l *link, tag uint64) error {
	o, err := e.openLane(l.peer, l.incarnation, tag)
	if err != nil {
		return err
	}
	e.mu.Lock()
	if l.state == linkClosed || l.ourTag != tag { // the attachment it was for has ended
		l.reopen = l.state == linkAttached
		e.mu.Unlock()
		e.kept(l.peer, o.close())
		return nil
	}
	old := l.next
	l.next = o
	e.mu.Unlock()
	if old != nil {
		e.kept(l.peer, old.close())
	}
	e.remade.Add(1)
	e.tell()
	return nil
}
