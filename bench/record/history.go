package record

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"

	"healkv/bench/check"
)

// HistoryHeader says whose operations a history holds.
type HistoryHeader struct {
	Node   int    `json:"node"`
	PID    int    `json:"pid"`
	Client uint32 `json:"client"` // unique among all histories of a run
	Keys   int    `json:"keys"`
	Start  int64  `json:"start_ns"`
}

const (
	historyMagic = "HKHIS001"

	historyBytes  = 40 // of a record
	historyInvoke = 1
	historyReturn = 2
)

// History appends the operations of one client to a file: the invocation before
// the operation is submitted, the answer after it was seen, each with a write(2)
// of its own. So an operation that could have reached the node is in the file
// whenever the process is killed, and one without an answer is pending.
type History struct {
	f      *os.File
	client uint32
	buf    [historyBytes]byte
}

// CreateHistory makes the file; it must not exist.
func CreateHistory(path string, h HistoryHeader) (*History, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record: history: %w", err)
	}
	text, err := json.Marshal(h)
	if err == nil {
		_, err = f.Write(appendRecord([]byte(historyMagic), text))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("record: history: %w", err)
	}
	return &History{f: f, client: h.Client}, nil
}

// Invoke records that the client is about to submit an operation. value is the
// one a write carries.
func (h *History) Invoke(kind check.Kind, key uint32, value uint64, at int64) error {
	return h.append(historyInvoke, kind, 0, key, value, at)
}

// Return records the answer to the client's last invocation. value is the one
// written or read.
func (h *History) Return(kind check.Kind, outcome check.Outcome, key uint32, value uint64, at int64) error {
	return h.append(historyReturn, kind, outcome, key, value, at)
}

func (h *History) append(what byte, kind check.Kind, outcome check.Outcome, key uint32, value uint64, at int64) error {
	b := h.buf[:]
	b[0], b[1], b[2], b[3] = what, byte(kind), byte(outcome), 0
	binary.LittleEndian.PutUint32(b[4:], key)
	binary.LittleEndian.PutUint32(b[8:], h.client)
	binary.LittleEndian.PutUint32(b[12:], 0)
	binary.LittleEndian.PutUint64(b[16:], value)
	binary.LittleEndian.PutUint64(b[24:], uint64(at))
	binary.LittleEndian.PutUint32(b[32:], 0)
	binary.LittleEndian.PutUint32(b[36:], crc32.Checksum(b[:36], castagnoli))
	if _, err := h.f.Write(b); err != nil {
		return fmt.Errorf("record: history: %w", err)
	}
	return nil
}

// Close closes the file.
func (h *History) Close() error { return h.f.Close() }

// HistoryFile is what a history holds.
type HistoryFile struct {
	Header HistoryHeader
	Ops    []check.Op // in the order of invocation
	Torn   int        // bytes after the last whole record
}

// ReadHistory reads a history as far as it is whole; an invocation without an
// answer comes back as pending.
func ReadHistory(path string) (*HistoryFile, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("record: history: %w", err)
	}
	f, err := decodeHistory(b)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, path)
	}
	return f, nil
}

func decodeHistory(b []byte) (*HistoryFile, error) {
	rest, ok := bytes.CutPrefix(b, []byte(historyMagic))
	if !ok {
		return nil, fmt.Errorf("%w: history: no %s in front", ErrFormat, historyMagic)
	}
	head, rest, ok := nextRecord(rest)
	if !ok {
		return nil, fmt.Errorf("%w: history: no header", ErrFormat)
	}
	f := &HistoryFile{}
	if err := json.Unmarshal(head, &f.Header); err != nil {
		return nil, fmt.Errorf("%w: history: header: %w", ErrFormat, err)
	}
	open := false // the last of f.Ops has no answer yet
	for len(rest) >= historyBytes {
		r := rest[:historyBytes]
		if crc32.Checksum(r[:36], castagnoli) != binary.LittleEndian.Uint32(r[36:]) {
			break
		}
		kind, outcome := check.Kind(r[1]), check.Outcome(r[2])
		key, client := binary.LittleEndian.Uint32(r[4:]), binary.LittleEndian.Uint32(r[8:])
		value, at := binary.LittleEndian.Uint64(r[16:]), int64(binary.LittleEndian.Uint64(r[24:]))
		if kind != check.Read && kind != check.Write || outcome > check.Rejected {
			return nil, fmt.Errorf("%w: history: record %d: kind %d, outcome %d", ErrFormat, len(f.Ops), kind, outcome)
		}
		switch {
		case r[0] == historyInvoke:
			f.Ops = append(f.Ops, check.Op{Kind: kind, Key: key, Client: client, Value: value, Invoke: at})
			open = true
		case r[0] == historyReturn && open:
			o := &f.Ops[len(f.Ops)-1]
			if o.Kind != kind || o.Key != key || kind == check.Write && o.Value != value {
				return nil, fmt.Errorf("%w: history: the answer %d is not of the invocation before it", ErrFormat, len(f.Ops))
			}
			o.Outcome, o.Value, o.Return = outcome, value, at
			open = false
		default:
			return nil, fmt.Errorf("%w: history: record of kind %d without an invocation", ErrFormat, r[0])
		}
		rest = rest[historyBytes:]
	}
	f.Torn = len(rest)
	return f, nil
}
