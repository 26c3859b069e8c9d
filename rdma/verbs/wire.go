package verbs

import (
	"bytes"
	"encoding/binary"
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
const wireVersion = 2

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
	Off    int64  `json:"off,omitempty"`    // window
	Ranges []byte `json:"ranges,omitempty"` // stage: appendRange of each
	Reads  int    `json:"reads,omitempty"`  // expose: RDMA READs that the asker can have under way
}

// Ranges of exposed memory in a request: position (8 bytes) and bytes (4). All
// of them must fit into one request of the Exchange, in base64.
const (
	rangeBytes = 12
	rangesMax  = 1024
)

const _ = uint(rdma.ExchangeMax - 2*rangesMax*rangeBytes)

func appendRange(b []byte, r rdma.Range) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(b, uint64(r.Off)), uint32(r.Len))
}

// decodeRanges is the inverse for what a peer sent; n is how many bytes they
// are together. Where they lie is to be checked.
func decodeRanges(b []byte) (ranges []rdma.Range, n int, err error) {
	if len(b) == 0 || len(b)%rangeBytes != 0 || len(b) > rangesMax*rangeBytes {
		return nil, 0, fmt.Errorf("%w: %d bytes of ranges, want 1 to %d of %d each", ErrPeer, len(b), rangesMax, rangeBytes)
	}
	for ; len(b) > 0; b = b[rangeBytes:] {
		r := rdma.Range{Off: int64(binary.LittleEndian.Uint64(b)), Len: int(binary.LittleEndian.Uint32(b[8:]))}
		ranges = append(ranges, r)
		n += r.Len // far from an overflow: at most 1024 times 4 GiB
	}
	return ranges, n, nil
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
	Reads  int    `json:"reads,omitempty"`  // expose: RDMA READs that may be under way
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

// versionOf is the version of a message whose other fields this one may not
// know; 0 if it is none of ours.
func versionOf(b []byte) int {
	var v struct{ Verbs int }
	if json.Unmarshal(b, &v) != nil {
		return 0
	}
	return v.Verbs
}

// decodeRequest checks what a peer asks, as far as it needs no endpoint.
func decodeRequest(b []byte) (request, error) {
	var r request
	if v := versionOf(b); v != 0 && v != wireVersion {
		return r, fmt.Errorf("%w: speaks version %d, this node %d; run one version in a group", ErrPeer, v, wireVersion)
	}
	if err := decodeWire(b, &r); err != nil || r.Verbs == 0 {
		return r, fmt.Errorf("%w: asks something that is not of the verbs provider; all nodes must have the same provider", ErrPeer)
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
	if v := versionOf(b); v != 0 && v != wireVersion {
		return a, fmt.Errorf("%w: node %d speaks version %d, this node %d; run one version in a group", ErrPeer, peer, v, wireVersion)
	}
	if err := decodeWire(b, &a); err != nil || a.Verbs == 0 {
		return a, fmt.Errorf("%w: node %d does not answer as a verbs endpoint; all nodes must have the same provider", ErrPeer, peer)
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
