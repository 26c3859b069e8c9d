//go:build verbs

package verbs

import (
	"errors"
	"fmt"

	"healkv/rdma"
	"healkv/rdma/ring"
)

// linkState is who owns a link: its maker, the endpoint, nobody.
type linkState uint8

const (
	linkPrepared linkState = iota
	linkAttached
	linkClosed
)

// link is one life of a peer.
type link struct {
	owner       *Endpoint
	peer        int
	incarnation uint32

	// Under the endpoint's lock.
	state   linkState
	next    *outLane // opened, and not in use yet
	reopen  bool     // the lane to the peer is broken or missing
	want    bool     // there is no lane from the peer
	sore    bool     // lanes to the peer broke localFaultsMax times in a row by this node's fault
	gone    bool     // the peer's life has ended
	ourTag  uint64   // of the attachment; 0: none
	rubbish []interface{ close() error }

	detached bool // after an attachment, and not attached since

	// The worker's, from Attach to Detach. To the peer:
	out    *outLane
	fed    bool
	feed   uint64 // position
	sent   uint64 // position: the bytes below are posted
	marks  rdma.Marks
	faults int    // of this node in a row
	lined  uint64 // version of the newest line posted

	// From the peer:
	in         *inLane
	candidates []*inLane // others of the same life, not fenced
	tag        uint64    // the tag we go by; 0: the peer has not attached us
	mirror     *ring.Mirror
	seen       uint64 // the last tail taken in; the peer never steps below it
	polled     uint64 // version of the line at the last Poll
	malformed  bool
	resume     rewind
	last       rdma.Marks

	// Sleep:
	armed   bool   // the peer will ring for the next thing it posts
	reading bool   // the read that shows it is under way
	number  uint64 // of the sleep that our line names
	rang    bool   // the peer has rung for that number
	rungFor uint64 // number of the peer's sleep that we rang for
}

// rewind is where the last link to a node stood when it was detached, as in
// shm: a new link to the same life that finds the peer's attachment unchanged
// goes on there.
type rewind struct {
	incarnation uint32
	tag         uint64 // 0: nothing to go on with
	cursor      uint64
}

func (l *link) Peer() int           { return l.peer }
func (l *link) Incarnation() uint32 { return l.incarnation }

// Close gives queue pairs and memory of the link back. It must not be attached,
// and nobody may hold a mirror of it.
func (l *link) Close() error {
	e := l.owner
	e.mu.Lock()
	switch l.state {
	case linkAttached:
		e.mu.Unlock()
		return fmt.Errorf("verbs: link to node %d, incarnation %d is attached; detach it first", l.peer, l.incarnation)
	case linkClosed:
		e.mu.Unlock()
		return nil
	}
	l.state = linkClosed
	for i, x := range e.links[l.peer] {
		if x == l {
			e.links[l.peer] = append(e.links[l.peer][:i:i], e.links[l.peer][i+1:]...)
			break
		}
	}
	if l.detached {
		e.takeLanes(l)
	}
	closing := e.closing
	if !closing {
		e.tasks.Add(1) // the endpoint's Close waits
	}
	e.mu.Unlock()
	if closing {
		return l.free()
	}
	defer e.tasks.Done()
	return l.free()
}

// takeLanes takes the lanes along that the link's life has opened to us since
// Detach, unless another link is to the same life. A life that has ended opens
// no others; one that goes on does when it has something to say, or is asked.
// The lock is held.
func (e *Endpoint) takeLanes(l *link) {
	for _, x := range e.links[l.peer] {
		if x.incarnation == l.incarnation {
			return
		}
	}
	kept := e.in[l.peer][:0]
	for _, n := range e.in[l.peer] {
		if n.incarnation != l.incarnation {
			kept = append(kept, n)
			continue
		}
		e.noted(n.fence())
		l.rubbish = append(l.rubbish, n)
	}
	clear(e.in[l.peer][len(kept):])
	e.in[l.peer] = kept
}

// free closes what the link has. Nobody else uses it.
func (l *link) free() error {
	var errs []error
	if l.out != nil {
		errs = append(errs, l.out.close())
	}
	if l.next != nil {
		errs = append(errs, l.next.close())
	}
	for _, x := range l.rubbish {
		errs = append(errs, x.close())
	}
	l.out, l.next, l.rubbish = nil, nil, nil
	return errors.Join(errs...)
}

// Attach starts using a link. An older one to the same node is detached, and
// closed in the background.
func (e *Endpoint) Attach(x rdma.Link) {
	l, ok := x.(*link)
	if !ok || l.owner != e {
		panic("verbs: Attach of another endpoint's link")
	}
	if old := e.Detach(l.peer); old != nil {
		e.inBackground(func() { e.kept(old.Peer(), old.Close()) })
	}
	e.attaches++
	tag := e.attaches<<32 | uint64(l.incarnation)
	e.mu.Lock()
	if l.state != linkPrepared {
		e.mu.Unlock()
		panic("verbs: Attach of a link that is attached or closed")
	}
	out, next, rubbish := l.out, l.next, l.rubbish
	*l = link{owner: e, peer: l.peer, incarnation: l.incarnation, state: linkAttached, out: out, next: next, rubbish: rubbish, ourTag: tag}
	if r := e.left[l.peer]; r.incarnation == l.incarnation {
		l.resume = r
	}
	l.reopen = out == nil && next == nil
	l.want = !e.hasLane(l)
	mend := l.reopen || l.want
	e.mu.Unlock()
	e.peers[l.peer] = l
	e.attached |= 1 << l.peer
	e.dirty |= 1 << l.peer
	e.news.Store(true)
	if mend {
		e.mend(l.peer)
	}
}

// hasLane tells whether the link's life has a lane to us. The lock is held.
func (e *Endpoint) hasLane(l *link) bool {
	for _, n := range e.in[l.peer] {
		if n.incarnation == l.incarnation && !n.fenced {
			return true
		}
	}
	return false
}

// Detach stops using a peer: both directions are in ERR when it returns (V2).
func (e *Endpoint) Detach(peer int) rdma.Link {
	if peer < 0 || peer >= nodesMax || e.peers[peer] == nil {
		return nil
	}
	l := e.peers[peer]
	e.farewell(l)
	e.mu.Lock()
	e.peers[peer] = nil
	e.attached &^= 1 << peer
	e.dirty &^= 1 << peer
	kept := e.in[peer][:0]
	for _, n := range e.in[peer] {
		if n.incarnation != l.incarnation {
			kept = append(kept, n)
			continue
		}
		e.noted(n.fence())
		e.forget(n)
		l.rubbish = append(l.rubbish, n)
	}
	clear(e.in[peer][len(kept):])
	e.in[peer] = kept
	for _, o := range []*outLane{l.out, l.next} {
		if o != nil {
			e.noted(o.fence())
			l.rubbish = append(l.rubbish, o)
		}
	}
	e.left[peer] = l.resume
	e.left[peer].incarnation = l.incarnation
	if l.mirror != nil {
		e.left[peer].tag, e.left[peer].cursor = l.tag, l.mirror.Cursor()
	}
	l.out, l.next, l.in, l.candidates, l.mirror = nil, nil, nil, nil, nil
	l.state, l.ourTag, l.reopen, l.want = linkPrepared, 0, false, false
	for _, r := range e.exposed.take(peer, l.incarnation) {
		e.noted(r.qp.Err()) // it reads nothing more either
		if r.closing = r.busy; !r.busy {
			l.rubbish = append(l.rubbish, r)
		}
	}
	l.detached = true
	e.mu.Unlock()
	return l
}

// noted logs an error of fencing: a queue pair that cannot be put into ERR is
// destroyed soon, with the same effect.
func (e *Endpoint) noted(err error) {
	if err != nil {
		e.log.Error("cannot put a queue pair into ERR", "err", err)
	}
}

// kept logs an error of giving back what was made for a peer.
func (e *Endpoint) kept(peer int, err error) {
	if err != nil {
		e.log.Error("cannot give a lane back: its queue pair or its memory stays in use", "peer", peer, "err", err)
	}
}

// inBackground runs what is too slow for the worker; Close waits for it. After
// Close has begun it runs at once.
func (e *Endpoint) inBackground(f func()) {
	e.mu.Lock()
	if e.closing {
		e.mu.Unlock()
		f()
		return
	}
	e.tasks.Add(1)
	e.mu.Unlock()
	go func() {
		defer e.tasks.Done()
		f()
	}()
}
