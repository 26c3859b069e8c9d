package record

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// WindowNanos is the length of a window. Window i covers the nanoseconds
// [i*WindowNanos, (i+1)*WindowNanos) of CLOCK_MONOTONIC, so the windows of all
// processes of a host line up.
const WindowNanos = 10_000_000

// ErrFormat: a file is not what it should be. A torn tail is not an error.
var ErrFormat = errors.New("record: bad file")

// ErrorKind is why an attempt did not succeed.
type ErrorKind uint8

const (
	ErrTryAgain ErrorKind = iota // rejected: not serving; tried again later
	ErrOverload                  // rejected: queues full; tried again later
	ErrDeadline                  // deadline passed, not applied; tried again later
	ErrNoRoom                    // rejected: pool full; given up
	ErrUnknown                   // outcome unknown; given up
	ErrOther                     // closed, failed or anything else; given up

	ErrorKinds = 6
)

// ErrorNames are the kinds as reports show them.
var ErrorNames = [ErrorKinds]string{"try_again", "overload", "deadline", "no_room", "unknown", "other"}

// Window is what one generator did in one window.
type Window struct {
	Index    int64  // covers [Index*WindowNanos, (Index+1)*WindowNanos)
	Reads    uint64 // completed, also those that found nothing
	Writes   uint64 // acknowledged
	Requests uint64 // completed whose first access is counted here
	NotFound uint64 // of the reads
	Backlog  uint32 // operations due and not completed at the end
	Errors   [ErrorKinds]uint32
	// FirstWrite and LastWrite are when in the window the first and last write was
	// acknowledged, ns from its start; -1 if none was.
	FirstWrite, LastWrite int32
	// WriteGap is the longest time in ns between two acknowledged writes in a row of
	// which the second came in this window.
	WriteGap int64

	Read, Write         Latency
	ReadHist, WriteHist []byte // for Merged.Add
}

// Ops is the completed operations.
func (w *Window) Ops() uint64 { return w.Reads + w.Writes }

// Start of the window, ns.
func (w *Window) Start() int64 { return w.Index * WindowNanos }

// WindowHeader says who wrote a file of windows.
type WindowHeader struct {
	Node      int     `json:"node"`
	PID       int     `json:"pid"`
	Workload  string  `json:"workload"`
	Rate      float64 `json:"rate_per_s"`     // accesses offered; 0 for a closed loop
	Window    int     `json:"window"`         // operations in flight at most
	Fine      bool    `json:"fine,omitempty"` // latencies are in ns, up to 60 ms, not in µs
	Start     int64   `json:"start_ns"`       // CLOCK_MONOTONIC
	StartWall int64   `json:"start_unix_ns"`
}

const windowMagic = "HKWIN001"

// A record is its length and checksum, 4 bytes each, and the payload.
const (
	recordHead     = 8
	recordBytesMax = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WindowWriter appends windows to a file, one write(2) each.
type WindowWriter struct {
	f   *os.File
	buf []byte
}

// CreateWindows makes the file; it must not exist, since a file is one life of
// one generator.
func CreateWindows(path string, h WindowHeader) (*WindowWriter, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record: windows: %w", err)
	}
	w := &WindowWriter{f: f, buf: make([]byte, 0, 64<<10)}
	text, err := json.Marshal(h)
	if err == nil {
		_, err = f.Write(appendRecord([]byte(windowMagic), text))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("record: windows: %w", err)
	}
	return w, nil
}

func appendRecord(dst, payload []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(payload, castagnoli))
	return append(dst, payload...)
}

// Append writes one window. w.Read and w.Write, and the histograms, are taken
// from the two given ones. It allocates only to grow its buffer.
func (ww *WindowWriter) Append(w *Window, reads, writes *Hist) error {
	b := append(ww.buf[:0], make([]byte, recordHead)...)
	b = binary.AppendVarint(b, w.Index)
	for _, v := range [...]uint64{w.Reads, w.Writes, w.Requests, w.NotFound, uint64(w.Backlog)} {
		b = binary.AppendUvarint(b, v)
	}
	for _, v := range w.Errors {
		b = binary.AppendUvarint(b, uint64(v))
	}
	b = binary.AppendVarint(b, int64(w.FirstWrite))
	b = binary.AppendVarint(b, int64(w.LastWrite))
	b = binary.AppendVarint(b, w.WriteGap)
	for _, h := range [...]*Hist{reads, writes} {
		l := h.Latency()
		for _, v := range [...]uint32{l.P50, l.P99, l.P999, l.Max} {
			b = binary.AppendUvarint(b, uint64(v))
		}
		// The length in front of the cells is not known yet: four bytes for it.
		at := len(b)
		b = append(b, 0, 0, 0, 0)
		b = h.appendSparse(b)
		binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-recordHead))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[recordHead:], castagnoli))
	ww.buf = b
	if _, err := ww.f.Write(b); err != nil {
		return fmt.Errorf("record: windows: %w", err)
	}
	return nil
}

// Close closes the file.
func (ww *WindowWriter) Close() error { return ww.f.Close() }

// WindowFile is what a file of windows holds.
type WindowFile struct {
	Header  WindowHeader
	Windows []Window // in the order written, Index rising
	Torn    int      // bytes after the last whole record
}

// ReadWindows reads a file as far as it is whole.
func ReadWindows(path string) (*WindowFile, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("record: windows: %w", err)
	}
	f, err := decodeWindows(b)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, path)
	}
	return f, nil
}

func decodeWindows(b []byte) (*WindowFile, error) {
	rest, ok := bytes.CutPrefix(b, []byte(windowMagic))
	if !ok {
		return nil, fmt.Errorf("%w: windows: no %s in front", ErrFormat, windowMagic)
	}
	head, rest, ok := nextRecord(rest)
	if !ok {
		return nil, fmt.Errorf("%w: windows: no header", ErrFormat)
	}
	f := &WindowFile{}
	if err := json.Unmarshal(head, &f.Header); err != nil {
		return nil, fmt.Errorf("%w: windows: header: %w", ErrFormat, err)
	}
	for {
		payload, after, ok := nextRecord(rest)
		if !ok {
			f.Torn = len(rest)
			return f, nil
		}
		w, err := decodeWindow(payload)
		if err != nil {
			return nil, err
		}
		if n := len(f.Windows); n > 0 && w.Index <= f.Windows[n-1].Index {
			return nil, fmt.Errorf("%w: window %d after %d", ErrFormat, w.Index, f.Windows[n-1].Index)
		}
		f.Windows = append(f.Windows, w)
		rest = after
	}
}

// nextRecord cuts one record off; ok is false if there is no whole one.
func nextRecord(b []byte) (payload, rest []byte, ok bool) {
	if len(b) < recordHead {
		return nil, b, false
	}
	n := binary.LittleEndian.Uint32(b)
	if n > recordBytesMax || int(n) > len(b)-recordHead {
		return nil, b, false
	}
	payload = b[recordHead : recordHead+int(n)]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, b, false
	}
	return payload, b[recordHead+int(n):], true
}

type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail() uint64 {
	if c.err == nil {
		c.err = fmt.Errorf("%w: window: %w", ErrFormat, io.ErrUnexpectedEOF)
	}
	return 0
}

func (c *cursor) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 || v > limit {
		return c.fail()
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		return int64(c.fail())
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) bytes() []byte {
	if len(c.b) < 4 {
		c.fail()
		return nil
	}
	n := binary.LittleEndian.Uint32(c.b)
	if int64(n) > int64(len(c.b)-4) {
		c.fail()
		return nil
	}
	v := c.b[4 : 4+n]
	c.b = c.b[4+n:]
	return v
}

func decodeWindow(payload []byte) (w Window, err error) {
	const any64, any32 = 1<<64 - 1, 1<<32 - 1
	c := cursor{b: payload}
	w.Index = c.varint()
	w.Reads, w.Writes, w.Requests, w.NotFound = c.uvarint(any64), c.uvarint(any64), c.uvarint(any64), c.uvarint(any64)
	w.Backlog = uint32(c.uvarint(any32))
	for i := range w.Errors {
		w.Errors[i] = uint32(c.uvarint(any32))
	}
	first, last := c.varint(), c.varint()
	if first < -1 || first >= WindowNanos || last < -1 || last >= WindowNanos {
		c.fail()
	}
	w.FirstWrite, w.LastWrite = int32(first), int32(last)
	w.WriteGap = c.varint()
	latency := func() (l Latency) {
		return Latency{uint32(c.uvarint(any32)), uint32(c.uvarint(any32)), uint32(c.uvarint(any32)), uint32(c.uvarint(any32))}
	}
	w.Read = latency()
	w.ReadHist = c.bytes()
	w.Write = latency()
	w.WriteHist = c.bytes()
	if c.err == nil && len(c.b) > 0 {
		c.err = fmt.Errorf("%w: window: %d bytes too many", ErrFormat, len(c.b))
	}
	for _, h := range [...][]byte{w.ReadHist, w.WriteHist} {
		if c.err == nil {
			c.err = walkSparse(h, func(int, uint64) {})
		}
	}
	return w, c.err
}

// Join adds b, of the same index, to w: for a node with two generators. Both
// histograms are decoded and packed again; the four numbers are read anew.
//
// Preconditions: both windows came from ReadWindows, so their histograms parse.
func (w Window) Join(b Window) Window {
	w.Reads, w.Writes, w.Requests, w.NotFound = w.Reads+b.Reads, w.Writes+b.Writes, w.Requests+b.Requests, w.NotFound+b.NotFound
	w.Backlog += b.Backlog
	for i, n := range b.Errors {
		w.Errors[i] += n
	}
	switch { // the gap of both together is at most the smaller one
	case w.FirstWrite < 0:
		w.FirstWrite, w.LastWrite, w.WriteGap = b.FirstWrite, b.LastWrite, b.WriteGap
	case b.FirstWrite >= 0:
		w.FirstWrite, w.LastWrite, w.WriteGap = min(w.FirstWrite, b.FirstWrite), max(w.LastWrite, b.LastWrite), min(w.WriteGap, b.WriteGap)
	}
	w.ReadHist, w.Read = joinHist(w.ReadHist, w.Read, b.ReadHist, b.Read)
	w.WriteHist, w.Write = joinHist(w.WriteHist, w.Write, b.WriteHist, b.Write)
	return w
}

func joinHist(a []byte, la Latency, b []byte, lb Latency) ([]byte, Latency) {
	var m Merged
	if err := errors.Join(m.Add(a, la.Max), m.Add(b, lb.Max)); err != nil {
		panic("record: joining histograms that do not parse: " + err.Error())
	}
	return m.appendSparse(nil), Latency{uint32(m.Quantile(0.5)), uint32(m.Quantile(0.99)), uint32(m.Quantile(0.999)), uint32(m.Max())}
}

func (m *Merged) appendSparse(dst []byte) []byte {
	last := 0
	for c := m.lo; c < m.hi; c++ {
		if n := m.counts[c]; n != 0 {
			dst = binary.AppendUvarint(dst, uint64(c-last))
			dst = binary.AppendUvarint(dst, uint64(n))
			last = c
		}
	}
	return dst
}
