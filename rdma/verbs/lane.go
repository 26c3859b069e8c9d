//go:build verbs

package verbs

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"healkv/cgo/ibverbs"
)

// lanes counts queue pairs, for tests.
var lanes atomic.Int64

// outLane is the writing end. The worker's once its link uses it.
type outLane struct {
	id uint32 // count<<4 | peer: never the same again within a life
	qp *ibverbs.QP

	slots    []byte // lines on their way, by sequence number modulo sendDepth
	slotsMR  *ibverbs.MR
	slotsKey uint32
	slotsAt  uint64

	ringAt, lineAt   uint64 // the reader's
	ringKey, lineKey uint32
	known            bool   // pos is the reader's, of the attachment that goes on
	pos              uint64 // where it stands

	broken    bool
	posted    uint16 // sequence number of the newest request
	completed uint16 // of the newest one known complete
	signalled uint16 // of the newest signalled one
}

// inLane is the reading end.
type inLane struct {
	id          uint32
	peer        int
	incarnation uint32
	qp          *ibverbs.QP

	ring, words     []byte
	ringMR, wordsMR *ibverbs.MR
	memory          *lineMemory

	// Under the endpoint's lock.
	fenced bool // V2
	used   bool // the worker reads it

	// The worker's.
	line    line
	checked uint64 // check value of line
	newest  uint64 // the last tag that was not 0

	tag  atomic.Uint64 // as newest, for the answer to the writer
	took atomic.Uint64 // the mirror's cursor, at the last Poll
}

// psn is a random first packet number: a peer of another connection cannot
// guess it.
func psn() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint32(b[:]) & 0xffffff
}

// newQP makes a queue pair in INIT.
func (e *Endpoint) newQP(sends, receives, inline, access int) (*ibverbs.QP, error) {
	qp, err := e.dev.pd.CreateQP(e.dev.cq, sends, receives, inline)
	if err != nil {
		return nil, err
	}
	if err := qp.Init(e.dev.port, access); err != nil {
		qp.Close()
		return nil, err
	}
	lanes.Add(1)
	return qp, nil
}

func closeQP(qp *ibverbs.QP) error {
	lanes.Add(-1)
	return qp.Close()
}

// newOutLane makes a writing end that is not connected yet.
func (e *Endpoint) newOutLane(id uint32) (o *outLane, err error) {
	o = &outLane{id: id}
	defer func(made *outLane) { // o is nil by then
		if err != nil {
			made.close()
		}
	}(o)
	if o.slots, err = mapMemory(slotsBytes); err != nil {
		return nil, err
	}
	if o.slotsMR, err = e.dev.register(o.slots, ibverbs.AccessLocalWrite); err != nil {
		return nil, err
	}
	o.slotsKey, o.slotsAt = o.slotsMR.LKey, ibverbs.Address(o.slots)
	if o.qp, err = e.newQP(sendDepth, 1, lineBytes, 0); err != nil {
		return nil, err
	}
	return o, nil
}

// connect makes the lane ready to send to the reader's end.
func (e *Endpoint) connect(o *outLane, own uint32, s *side) error {
	if err := o.qp.RTR(e.dev.path(s)); err != nil {
		return err
	}
	o.ringAt, o.ringKey, o.lineAt, o.lineKey = s.RingAddr, s.RingKey, s.LineAddr, s.LineKey
	return o.qp.RTS(own, readsMax, ackTimeout, ackRetries)
}

// fence: nothing more is sent.
func (o *outLane) fence() error {
	o.broken = true
	return o.qp.Err()
}

// close gives everything back; whatever the lane had posted is cut off.
func (o *outLane) close() error {
	var errs []error
	if o.qp != nil {
		errs = append(errs, o.qp.Err(), closeQP(o.qp))
	}
	if o.slotsMR != nil {
		errs = append(errs, o.slotsMR.Close())
	}
	if o.slots != nil {
		errs = append(errs, unmapMemory(o.slots))
	}
	return errors.Join(errs...)
}

// newInLane makes a reading end connected to the writer's: it takes what comes
// as soon as the writer knows it.
func (e *Endpoint) newInLane(id uint32, peer int, r *request) (i *inLane, own side, err error) {
	i = &inLane{id: id, peer: peer, incarnation: r.From}
	defer func(made *inLane) { // i is nil by then
		if err != nil {
			made.close()
		}
	}(i)
	if i.ring, err = mapMemory(int(r.Ring)); err != nil {
		return nil, own, err
	}
	if i.words, err = mapMemory(4096); err != nil {
		return nil, own, err
	}
	i.memory = lineMemoryOf(i.words)
	i.memory.version.Store(^uint64(0)) // until the worker reads the lane
	if i.ringMR, err = e.dev.register(i.ring, ibverbs.AccessLocalWrite|ibverbs.AccessRemoteWrite); err != nil {
		return nil, own, err
	}
	if i.wordsMR, err = e.dev.register(i.words[:lineMemoryBytes], ibverbs.AccessLocalWrite|ibverbs.AccessRemoteWrite|ibverbs.AccessRemoteRead); err != nil {
		return nil, own, err
	}
	if i.qp, err = e.newQP(1, receiveDepth, 0, ibverbs.AccessRemoteWrite|ibverbs.AccessRemoteRead); err != nil {
		return nil, own, err
	}
	var receives [receiveDepth]ibverbs.Request
	for k := range receives {
		receives[k] = i.receive()
	}
	// Its own queue pair's receive queue; completions of others stay where they
	// are.
	if _, _, err = ibverbs.Burst(e.dev.cq, receives[:], nil); err != nil {
		return nil, own, err
	}
	if err = postedAll(receives[:]); err != nil {
		return nil, own, err
	}
	if err = i.qp.RTR(e.dev.path(&r.Side)); err != nil {
		return nil, own, err
	}
	own = e.dev.side(i.qp, psn())
	own.RingAddr, own.RingKey = ibverbs.Address(i.ring), i.ringMR.RKey
	own.LineAddr, own.LineKey = ibverbs.Address(i.words), i.wordsMR.RKey
	return i, own, nil
}

// postedAll is the error of the first request that the device did not take.
func postedAll(requests []ibverbs.Request) error {
	for k := range requests {
		if x := requests[k].Err; x != 0 {
			return fmt.Errorf("verbs: request %d of %d refused: %w", k, len(requests), unix.Errno(x))
		}
	}
	return nil
}

// receive is the request for one more of the peer's immediate data.
func (i *inLane) receive() ibverbs.Request {
	return ibverbs.Request{QP: i.qp.Handle(), ID: requestID(i.id, kindReceive, 0), Op: ibverbs.OpReceive}
}

// fence: nothing of the writer arrives any more (V2). The endpoint's lock is
// held.
func (i *inLane) fence() error {
	if i.fenced {
		return nil
	}
	i.fenced = true
	return i.qp.Err()
}

func (i *inLane) close() error {
	var errs []error
	if i.qp != nil {
		errs = append(errs, i.qp.Err(), closeQP(i.qp))
	}
	for _, mr := range []*ibverbs.MR{i.ringMR, i.wordsMR} {
		if mr != nil {
			errs = append(errs, mr.Close())
		}
	}
	for _, mem := range [][]byte{i.ring, i.words} {
		if mem != nil {
			errs = append(errs, unmapMemory(mem))
		}
	}
	return errors.Join(errs...)
}

// Kinds of work requests, in their identity: lane<<32 | kind<<16 | sequence.
const (
	kindWrite = iota
	kindRead
	kindReceive
)

func requestID(lane uint32, kind, seq uint16) uint64 {
	return uint64(lane)<<32 | uint64(kind)<<16 | uint64(seq)
}

// look takes in the line if there is a new one that counts (V1), and tells
// whether there is. Worker.
func (i *inLane) look() bool {
	if i.memory.words[checkWord].Load() == i.checked {
		return false
	}
	var w [lineWords]uint64
	for k := range w {
		w[k] = i.memory.words[k].Load()
	}
	var l line
	if !l.decode(&w) || l.version <= i.line.version {
		return false
	}
	i.line, i.checked = l, w[checkWord]
	if l.tag != 0 {
		i.newest = l.tag
		i.tag.Store(l.tag)
	}
	return true
}
