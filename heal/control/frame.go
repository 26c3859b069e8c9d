package control

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

const (
	// FrameBytesMax bounds one message, its envelope included.
	FrameBytesMax = 4 << 20
	kindBytesMax  = 64
	headBytes     = 4
)

var (
	ErrTooLarge     = errors.New("control: message too large")
	ErrGarbage      = errors.New("control: not a message of this protocol")
	ErrWrongCluster = errors.New("control: message of another cluster")
	ErrWrongNode    = errors.New("control: message for another node")
	ErrUnknownKind  = errors.New("control: unknown kind of message")
	ErrBusy         = errors.New("control: too many requests of this peer under way; try again")
	ErrUnreachable  = errors.New("control: node not connected")
	ErrRemote       = errors.New("control: refused by the peer")
	ErrClosed       = errors.New("control: closed")
)

// codes spell the sentinels on the wire, so that errors.Is works on both
// sides of a call. The first that matches counts, the last is for the rest.
var codes = []struct {
	code string
	err  error
}{
	{"too_large", ErrTooLarge},
	{"garbage", ErrGarbage},
	{"version", ErrVersion},
	{"wrong_cluster", ErrWrongCluster},
	{"wrong_node", ErrWrongNode},
	{"unknown_kind", ErrUnknownKind},
	{"busy", ErrBusy},
	{"deadline", context.DeadlineExceeded}, // the handler noticed before the caller did
	{"failed", ErrRemote},
}

func codeOf(err error) string {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return codes[len(codes)-1].code
}

func sentinelOf(code string) error {
	for _, c := range codes {
		if c.code == code {
			return c.err
		}
	}
	return ErrRemote
}

// envelope is what a frame holds.
type envelope struct {
	Version     int               `json:"version"` // 0: before there was one
	Cluster     string            `json:"cluster"`
	From        proto.NodeID      `json:"from"`
	Incarnation proto.Incarnation `json:"incarnation"` // 0: the sender has none yet
	To          proto.NodeID      `json:"to"`
	Kind        string            `json:"kind"`
	ID          uint64            `json:"id,omitempty"` // of a request; 0: nobody waits
	Reply       bool              `json:"reply,omitempty"`
	// TimeoutMicros is how long the caller still waits, 0 for no limit.
	TimeoutMicros int64           `json:"timeout_us,omitempty"`
	Code          string          `json:"code,omitempty"` // of an error answer
	Error         string          `json:"error,omitempty"`
	Body          json.RawMessage `json:"body,omitempty"`
}

// ofOurVersion reports whether the sender means by it what we do.
func (e *envelope) ofOurVersion() bool {
	return e.Version == version || plant.Is(plant.CtlFrameVersion)
}

func (e *envelope) member() proto.Member {
	return proto.Member{Node: e.From, Incarnation: e.Incarnation}
}

// encode makes the frame of e.
func (e *envelope) encode() ([]byte, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("control: encode %s: %w", e.Kind, err)
	}
	if len(b) > FrameBytesMax {
		return nil, fmt.Errorf("%w: %s of %d bytes, limit %d; send it in parts", ErrTooLarge, e.Kind, len(b), FrameBytesMax)
	}
	frame := make([]byte, headBytes+len(b))
	binary.BigEndian.PutUint32(frame, uint32(len(b)))
	copy(frame[headBytes:], b)
	return frame, nil
}

// readFrame returns the JSON of the next frame. Errors: those of r, io.EOF
// only between frames, ErrTooLarge and ErrGarbage for a bad length.
func readFrame(r *bufio.Reader) ([]byte, error) {
	var head [headBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	switch {
	case n > FrameBytesMax && !plant.Is(plant.CtlFrame):
		return nil, fmt.Errorf("%w: %d bytes announced, limit %d", ErrTooLarge, n, FrameBytesMax)
	case n < 2:
		return nil, fmt.Errorf("%w: %d bytes announced", ErrGarbage, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return b, nil
}

// decode checks everything about a message that does not depend on who we are.
func decode(b []byte) (envelope, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return envelope{}, fmt.Errorf("%w: %v", ErrGarbage, err)
	}
	switch {
	case e.Kind == "" || len(e.Kind) > kindBytesMax:
		return envelope{}, fmt.Errorf("%w: kind of %d bytes, want 1..%d", ErrGarbage, len(e.Kind), kindBytesMax)
	case e.From >= proto.NodesMax || e.To >= proto.NodesMax:
		return envelope{}, fmt.Errorf("%w: from node %d to %d, want below %d", ErrGarbage, e.From, e.To, proto.NodesMax)
	case e.TimeoutMicros < 0:
		return envelope{}, fmt.Errorf("%w: timeout of %d µs", ErrGarbage, e.TimeoutMicros)
	case e.Reply && e.ID == 0 && e.Code == "":
		return envelope{}, fmt.Errorf("%w: answer to nothing", ErrGarbage)
	}
	return e, nil
}
