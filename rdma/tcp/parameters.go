package tcp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"healkv/dataplane/plant"
	"healkv/rdma"
)

// token admits one connection. It travels over the exchange and, as the first
// thing, over the connection.
type token [32]byte

type purpose uint32

const (
	forStream purpose = 1
	forRemote purpose = 2
)

// What is asked over the exchange, and what is answered; little endian.
const (
	parametersVersion = 2

	questionBytes = 28
	answerBytes   = 64 // without the address
	addressMax    = 64
)

// errParameters is a question or an answer that no peer of this version gives.
var errParameters = errors.New("tcp: malformed connection parameters")

// ErrTLS is a peer whose data connections are encrypted while ours are not, or
// the other way round.
var ErrTLS = errors.New("tcp: data connections are encrypted at one end only")

// errTLS says at either end what to do.
func errTLS(peer int, here bool) error {
	own, peers := "off", "on"
	if here {
		own, peers = peers, own
	}
	return fmt.Errorf("%w: data.tls comes to %s here and to %s at node %d: set it to the same, on or off, at all nodes (auto goes by each node's data.listen)", ErrTLS, own, peers, peer)
}

// A flag in question and answer.
const flagTLS = 1

// question: this life of the asker wants a connection to that life.
type question struct {
	purpose purpose
	self    uint32 // incarnations
	peer    uint32
	ring    uint64 // bytes of the asker's
	tls     bool   // the asker encrypts its data connections
}

func (q *question) encode() []byte {
	b := make([]byte, questionBytes)
	le := binary.LittleEndian
	le.PutUint32(b[0:], parametersVersion)
	le.PutUint32(b[4:], uint32(q.purpose))
	le.PutUint32(b[8:], q.self)
	le.PutUint32(b[12:], q.peer)
	le.PutUint64(b[16:], q.ring)
	if q.tls {
		le.PutUint32(b[24:], flagTLS)
	}
	return b
}

func (q *question) decode(b []byte) error {
	le := binary.LittleEndian
	if len(b) != questionBytes || le.Uint32(b) != parametersVersion {
		return fmt.Errorf("%w: question of %d bytes, want version %d: all nodes must have the same provider and run the same release", errParameters, len(b), parametersVersion)
	}
	q.purpose, q.self, q.peer, q.ring = purpose(le.Uint32(b[4:])), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint64(b[16:])
	flags := le.Uint32(b[24:])
	q.tls = flags == flagTLS
	if q.purpose != forStream && q.purpose != forRemote || q.self == 0 || flags&^flagTLS != 0 {
		return fmt.Errorf("%w: purpose %d, incarnation %d, flags %#x", errParameters, q.purpose, q.self, flags)
	}
	return nil
}

type verdict uint32

const (
	verdictYes       verdict = 1
	verdictOtherLife verdict = 2 // the endpoint is another life's
	verdictNothing   verdict = 3 // nothing is exposed
	verdictTLS       verdict = 4 // one end encrypts, the other does not
)

type answer struct {
	verdict verdict
	self    uint32 // incarnation of who answers
	ring    uint64 // bytes, of who answers
	size    int64  // exposed
	token   token
	address string // IP address and port
}

func (a *answer) encode() []byte {
	b := make([]byte, answerBytes, answerBytes+len(a.address))
	le := binary.LittleEndian
	le.PutUint32(b[0:], parametersVersion)
	le.PutUint32(b[4:], uint32(a.verdict))
	le.PutUint32(b[8:], a.self)
	le.PutUint64(b[16:], a.ring)
	le.PutUint64(b[24:], uint64(a.size))
	copy(b[32:], a.token[:])
	return append(b, a.address...)
}

func (a *answer) decode(b []byte) error {
	le := binary.LittleEndian
	if len(b) < answerBytes || len(b) > answerBytes+addressMax || le.Uint32(b) != parametersVersion {
		return fmt.Errorf("%w: answer of %d bytes, want version %d: all nodes must have the same provider and run the same release", errParameters, len(b), parametersVersion)
	}
	a.verdict, a.self, a.ring, a.size = verdict(le.Uint32(b[4:])), le.Uint32(b[8:]), le.Uint64(b[16:]), int64(le.Uint64(b[24:]))
	copy(a.token[:], b[32:])
	a.address = string(b[answerBytes:])
	if a.verdict != verdictYes {
		return nil
	}
	if a.size < 0 || checkRingBytes(int64(a.ring)) != nil {
		return fmt.Errorf("%w: ring of %d bytes, %d exposed", errParameters, a.ring, a.size)
	}
	if _, err := netip.ParseAddrPort(a.address); err != nil {
		return fmt.Errorf("%w: address: %w", errParameters, err)
	}
	return nil
}

// ask gets the parameters of a connection to one life of a peer.
func (e *Endpoint) ask(ctx context.Context, peer int, incarnation uint32, p purpose) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.callTime())
	defer cancel()
	q := question{purpose: p, self: e.cfg.Incarnation, peer: incarnation, ring: uint64(e.cfg.RingBytes), tls: e.cfg.TLS != nil}
	reply, err := e.cfg.Exchange.Call(ctx, peer, q.encode())
	if err != nil {
		return a, fmt.Errorf("tcp: parameters of node %d, incarnation %d: %w", peer, incarnation, err)
	}
	if err := a.decode(reply); err != nil {
		return a, fmt.Errorf("node %d, incarnation %d: %w", peer, incarnation, err)
	}
	switch a.verdict {
	case verdictYes:
		return a, nil
	case verdictOtherLife:
		return a, fmt.Errorf("%w: node %d has incarnation %d now, asked for %d", rdma.ErrNoPeer, peer, a.self, incarnation)
	case verdictNothing:
		return a, fmt.Errorf("%w: node %d, incarnation %d exposes nothing", rdma.ErrNoPeer, peer, incarnation)
	case verdictTLS:
		return a, errTLS(peer, e.cfg.TLS != nil)
	}
	return a, fmt.Errorf("%w: verdict %d of node %d", errParameters, a.verdict, peer)
}

// reply is what the exchange serves. from was authenticated by it.
func (e *Endpoint) reply(_ context.Context, from int, request []byte) ([]byte, error) {
	var q question
	if from < 0 || from >= e.cfg.Nodes || from == e.self {
		return nil, fmt.Errorf("%w: asked by node %d of %d", errParameters, from, e.cfg.Nodes)
	}
	if err := q.decode(request); err != nil {
		e.complain(from, 0, err)
		return nil, err
	}
	a := answer{verdict: verdictYes, self: e.cfg.Incarnation, ring: uint64(e.cfg.RingBytes), address: e.gate.address}
	exposed := e.exposed.Load()
	switch {
	case q.peer != e.cfg.Incarnation && !plant.Is(plant.TCPAsked):
		a.verdict = verdictOtherLife
	case q.tls != (e.cfg.TLS != nil) && !plant.Is(plant.TCPAlone):
		a.verdict = verdictTLS
		e.complain(from, q.self, errTLS(from, e.cfg.TLS != nil))
	case q.purpose == forRemote && exposed == nil:
		a.verdict = verdictNothing
	default:
		if exposed != nil {
			a.size = exposed.Size
		}
		if _, err := rand.Read(a.token[:]); err != nil {
			return nil, err
		}
		e.gate.expect(permit{token: a.token, purpose: q.purpose, node: from, incarnation: q.self, until: time.Now().Add(e.cfg.tokenTime())})
	}
	return a.encode(), nil
}

// complain logs what is wrong with a peer that asks for connections, once for
// each of its lives: it asks again and again.
func (e *Endpoint) complain(peer int, incarnation uint32, err error) {
	if e.complained[peer].Swap(uint64(incarnation)+1) != uint64(incarnation)+1 {
		e.log.Error("cannot connect with a peer", "peer", peer, "incarnation", incarnation, "err", err)
	}
}
