package verbs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"healkv/rdma"
)

// Bytes of a ring.
const (
	ringBytesMin = 4096
	ringBytesMax = 1 << 30
)

// wireVersion is of the requests over rdma.Exchange; both ends must have the
// same.
const wireVersion = 1

// Operations of a request.
const (
	opOpen    = "open"    // the asker wants to write: make a lane for it
	opWant    = "want"    // the asker has no lane from us: open one if we use it
	opExpose  = "expose"  // the asker wants to read our exposed memory
	opWindow  = "window"  // register this part of it
	opStage   = "stage"   // copy this part of it into the staging area
	opRelease = "release" // the asker has read enough
)

// request is one message over the Exchange, as JSON. From and To are
// incarnations: of the asker, and of whom it means.
type request struct {
	Verbs  int    `json:"verbs"`
	Op     string `json:"op"`
	From   uint32 `json:"from"`
	To     uint32 `json:"to"`
	Side   side   `json:"side,omitzero"`
	Ring   uint64 `json:"ring,omitempty"`   // open: bytes of the asker's ring
	Tag    uint64 `json:"tag,omitempty"`    // open: the attachment that goes on; 0: a new one
	Reader uint64 `json:"reader,omitempty"` // window, stage, release: as expose answered
	Off    int64  `json:"off,omitempty"`
	Len    int64  `json:"len,omitempty"`
}

// side is one end of a connection.
type side struct {
	QPN uint32 `json:"qpn"`
	PSN uint32 `json:"psn"`
	GID []byte `json:"gid,omitempty"`
	LID uint16 `json:"lid,omitempty"`
	MTU int    `json:"mtu"` // bytes

	RingAddr uint64 `json:"ring_addr,omitempty"`
	RingKey  uint32 `json:"ring_key,omitempty"`
	LineAddr uint64 `json:"line_addr,omitempty"`
	LineKey  uint32 `json:"line_key,omitempty"`
}

// Statuses of an answer: errors of an answer would arrive as text only.
const (
	statusOK      = ""
	statusNoLife  = "no such life"
	statusNothing = "nothing exposed"
	statusMTU     = "mtu"
	statusRange   = "range"
	statusRefused = "refused"
)

type answer struct {
	Verbs  int    `json:"verbs"`
	Status string `json:"status,omitempty"`
	Text   string `json:"text,omitempty"`
	Side   side   `json:"side,omitzero"`
	Known  bool   `json:"known,omitempty"`  // open: the position is of the asker's tag
	Pos    uint64 `json:"pos,omitempty"`    // open: where the reader stands
	Linked bool   `json:"linked,omitempty"` // want: a lane will come
	Reader uint64 `json:"reader,omitempty"`
	Size   int64  `json:"size,omitempty"`
	Addr   uint64 `json:"addr,omitempty"` // window, staging area
	Key    uint32 `json:"key,omitempty"`
	Staged string `json:"staged,omitempty"` // expose: why the memory cannot be registered
}

// ErrPeer is a peer that does not speak as this provider does.
var ErrPeer = errors.New("verbs: peer")

// ErrMTU is a path MTU that differs between the ends.
var ErrMTU = errors.New("verbs: path MTU")

func encodeWire(x any) []byte {
	b, err := json.Marshal(x)
	if err != nil {
		panic("verbs: " + err.Error()) // the types above always marshal
	}
	return b
}

func decodeWire(b []byte, x any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(x)
}

// decodeRequest checks what a peer asks, as far as it needs no endpoint.
func decodeRequest(b []byte) (request, error) {
	var r request
	if err := decodeWire(b, &r); err != nil || r.Verbs == 0 {
		return r, fmt.Errorf("%w: asks something that is not of the verbs provider; all nodes must have the same provider", ErrPeer)
	}
	if r.Verbs != wireVersion {
		return r, fmt.Errorf("%w: speaks version %d, this node %d; run one version in a group", ErrPeer, r.Verbs, wireVersion)
	}
	if len(r.Side.GID) != 0 && len(r.Side.GID) != 16 {
		return r, fmt.Errorf("%w: GID of %d bytes", ErrPeer, len(r.Side.GID))
	}
	if r.Op == opOpen && (r.Ring < ringBytesMin || r.Ring > ringBytesMax || r.Ring&(r.Ring-1) != 0) {
		return r, fmt.Errorf("%w: ring of %d bytes: want a power of two from %d to %d", ErrPeer, r.Ring, ringBytesMin, ringBytesMax)
	}
	return r, nil
}

func decodeAnswer(peer int, b []byte) (answer, error) {
	var a answer
	if err := decodeWire(b, &a); err != nil || a.Verbs == 0 {
		return a, fmt.Errorf("%w: node %d does not answer as a verbs endpoint; all nodes must have the same provider", ErrPeer, peer)
	}
	if a.Verbs != wireVersion {
		return a, fmt.Errorf("%w: node %d speaks version %d, this node %d; run one version in a group", ErrPeer, peer, a.Verbs, wireVersion)
	}
	if len(a.Side.GID) != 0 && len(a.Side.GID) != 16 {
		return a, fmt.Errorf("%w: node %d has a GID of %d bytes", ErrPeer, peer, len(a.Side.GID))
	}
	return a, a.err(peer)
}

// err turns a status into what the interface names.
func (a *answer) err(peer int) error {
	switch a.Status {
	case statusOK:
		return nil
	case statusNoLife, statusNothing:
		return fmt.Errorf("%w: node %d says: %s %s", rdma.ErrNoPeer, peer, a.Status, a.Text)
	case statusRange:
		return fmt.Errorf("%w: node %d says: %s", rdma.ErrRange, peer, a.Text)
	case statusMTU:
		return fmt.Errorf("%w: node %d says: %s", ErrMTU, peer, a.Text)
	}
	return fmt.Errorf("%w: node %d says: %s: %s", ErrPeer, peer, a.Status, a.Text)
}

// checkMTU compares the path MTUs of both ends.
func checkMTU(own, peers, peer int) error {
	if own == peers {
		return nil
	}
	return fmt.Errorf("%w: %d bytes here, %d at node %d; give all nodes the same (MTU of the interface, or the option for the path MTU)",
		ErrMTU, own, peers, peer)
}
