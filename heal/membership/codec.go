package membership

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"healkv/dataplane/proto"
	"healkv/heal/membership/register"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errValueDamaged = errors.New("membership: register value damaged")

// value is a register.Value on the wire and in the file: the view's JSON with
// a CRC-32C, so that neither a damaged file nor a defective peer plants a
// view.
type value register.Value

type valueJSON struct {
	Seq  uint64          `json:"seq"`
	CRC  uint32          `json:"crc"`
	View json.RawMessage `json:"view"`
}

func (v value) MarshalJSON() ([]byte, error) {
	if v.Seq == 0 {
		return []byte("null"), nil
	}
	b, err := json.Marshal(&v.View)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `{"seq":%d,"crc":%d,"view":%s}`, v.Seq, valueCRC(v.Seq, b), b), nil
}

func (v *value) UnmarshalJSON(b []byte) error {
	*v = value{}
	if string(b) == "null" {
		return nil
	}
	var j valueJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("%w: %v", errValueDamaged, err)
	}
	switch {
	case j.Seq == 0:
		return fmt.Errorf("%w: sequence number 0", errValueDamaged)
	case j.CRC != valueCRC(j.Seq, j.View):
		return fmt.Errorf("%w: checksum %08x, computed %08x", errValueDamaged, j.CRC, valueCRC(j.Seq, j.View))
	}
	var w proto.View
	if err := json.Unmarshal(j.View, &w); err != nil {
		return fmt.Errorf("%w: %v", errValueDamaged, err)
	}
	if err := w.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errValueDamaged, err)
	}
	v.Seq, v.View = j.Seq, w
	return nil
}

func valueCRC(seq uint64, view []byte) uint32 {
	var s [8]byte
	for i := range s {
		s[i] = byte(seq >> (8 * i))
	}
	return crc32.Update(crc32.Checksum(s[:], castagnoli), castagnoli, view)
}

// stateJSON is a register.State on the wire and in the file.
type stateJSON struct {
	Promised register.Ballot `json:"promised"`
	At       register.Ballot `json:"at"`
	Value    value           `json:"value"`
}

func toJSON(s register.State) stateJSON { return stateJSON{s.Promised, s.At, value(s.Value)} }

func (s stateJSON) state() (register.State, error) {
	st := register.State{Promised: s.Promised, At: s.At, Value: register.Value(s.Value)}
	if (st.At == register.Ballot{}) != (st.Value.Seq == 0) || st.Promised.Compare(st.At) < 0 {
		return register.State{}, fmt.Errorf("%w: promised %v, accepted %v with sequence number %d", errValueDamaged, st.Promised, st.At, st.Value.Seq)
	}
	return st, nil
}

// voteJSON is a register.Message on the wire.
type voteJSON struct {
	Kind     register.Kind   `json:"kind"`
	From     proto.NodeID    `json:"from"`
	To       proto.NodeID    `json:"to"`
	Ballot   register.Ballot `json:"ballot"`
	Value    value           `json:"value"`
	Next     register.Ballot `json:"next,omitzero"`
	At       register.Ballot `json:"at"`
	Promised register.Ballot `json:"promised"`
	Why      register.Why    `json:"why,omitempty"`
	Detail   string          `json:"detail,omitempty"`
	Turn     uint64          `json:"turn,omitempty"` // of the acceptor's file, in answers
	Seed     string          `json:"seed,omitempty"` // digest of the proposer's hash seed, in requests
}

func voteOf(m register.Message) voteJSON {
	return voteJSON{
		Kind: m.Kind, From: m.From, To: m.To, Ballot: m.Ballot, Value: value(m.Value),
		Next: m.Next, At: m.At, Promised: m.Promised, Why: m.Why, Detail: m.Detail,
	}
}

func (j *voteJSON) message() register.Message {
	return register.Message{
		Kind: j.Kind, From: j.From, To: j.To, Ballot: j.Ballot, Value: register.Value(j.Value),
		Next: j.Next, At: j.At, Promised: j.Promised, Why: j.Why, Detail: j.Detail,
	}
}

// chosenJSON passes a chosen value on.
type chosenJSON struct {
	Ballot register.Ballot `json:"ballot"`
	Value  value           `json:"value"`
}
