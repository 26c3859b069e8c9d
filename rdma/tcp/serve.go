package tcp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"healkv/dataplane/plant"
	"healkv/rdma"
	"healkv/rdma/gather"
)

// A remote read goes in pieces: a request for each, answered in order. A piece
// is as many ranges as fit, so that records far from each other cost no round
// trip each.
//
//	request: magic, codec wanted, ranges, bytes of all; then for each range
//	         its position (8 bytes) and its bytes
//	answer:  magic, codec used, bytes, bytes that follow
const (
	pieceBytes   = 128 << 10 // at most, of one request
	rangesMax    = 1024      // of one request
	requestBytes = 16        // before the ranges
	rangeBytes   = 12
	headBytes    = 16
	remoteMagic  = 0x72766b69
	serversMax   = 32 // remote reads that an endpoint serves at a time
	serverIdle   = 5 * time.Minute
	pieceTime    = 10 * time.Second // for a piece to go or come
)

type codec uint32

const (
	codecRaw   codec = 0
	codecZstd  codec = 1 // level fastest, no checksum: records have their own
	codecRange codec = 2 // in an answer: outside the exposed memory
	codecs           = 2
)

var (
	errRequest = errors.New("tcp: malformed remote read")
	errServers = errors.New("tcp: too many remote reads at a time")
)

// server answers the remote reads of one connection from the exposed memory,
// on a goroutine of its own; the worker has no part in it.
type server struct {
	e       *Endpoint
	conn    net.Conn
	exposed *rdma.Exposed // as of when the reader came
	plain   bool          // the kernel may read the memory itself
	in      *bufio.Reader
	ranges  []rdma.Range // of the present request
	scratch []byte
	packed  []byte
	encoder *zstd.Encoder
}

var servers atomic.Int64 // in this process, for tests

func (e *Endpoint) newServer(conn net.Conn) (*server, error) {
	x := e.exposed.Load()
	if x == nil {
		return nil, fmt.Errorf("%w: nothing is exposed", errRequest)
	}
	if e.serving.Add(1) > serversMax {
		e.serving.Add(-1)
		return nil, errServers
	}
	servers.Add(1)
	_, plain := conn.(*net.TCPConn)
	return &server{e: e, conn: conn, exposed: x, plain: plain, in: bufio.NewReaderSize(conn, 16<<10)}, nil
}

func (s *server) serve() {
	defer s.leave()
	for {
		s.conn.SetDeadline(time.Now().Add(serverIdle))
		if _, err := s.in.Peek(1); err != nil {
			return
		}
		s.conn.SetDeadline(time.Now().Add(pieceTime))
		want, n, err := s.request()
		if err == nil {
			err = s.answer(want, n)
		}
		if err != nil {
			s.e.log.Warn("remote read ended", "from", s.conn.RemoteAddr(), "err", err)
			return
		}
	}
}

func (s *server) leave() {
	s.e.serving.Add(-1)
	servers.Add(-1)
}

// request reads the next one; its ranges may lie anywhere.
func (s *server) request() (want codec, n int, err error) {
	var b [requestBytes]byte
	if _, err := io.ReadFull(s.in, b[:]); err != nil {
		return 0, 0, err
	}
	le := binary.LittleEndian
	want, n = codec(le.Uint32(b[4:])), int(le.Uint32(b[12:]))
	count := int(le.Uint32(b[8:]))
	if le.Uint32(b[0:]) != remoteMagic || want >= codecs || count < 1 || count > rangesMax || n < 1 || n > pieceBytes {
		return 0, 0, fmt.Errorf("%w: %d bytes in %d ranges, codec %d", errRequest, n, count, want)
	}
	s.ranges = s.ranges[:0]
	sum := 0
	for range count {
		if _, err := io.ReadFull(s.in, b[:rangeBytes]); err != nil {
			return 0, 0, err
		}
		r := rdma.Range{Off: int64(le.Uint64(b[0:])), Len: int(le.Uint32(b[8:]))}
		s.ranges = append(s.ranges, r)
		sum += r.Len // far from an overflow: at most 1024 times 4 GiB
	}
	if sum != n && !plant.Is(plant.TCPSumRanges) {
		return 0, 0, fmt.Errorf("%w: %d ranges of %d bytes, said to be %d", errRequest, count, sum, n)
	}
	return want, n, nil
}

func (s *server) answer(want codec, n int) error {
	if gather.Check(n, s.ranges, s.exposed.Size) != nil && !plant.Is(plant.TCPRange) {
		return s.send(codecRange, n, nil)
	}
	s.e.remoteReads.Add(1)
	s.e.remoteRaw.Add(uint64(n))
	if want == codecRaw && s.plain && len(s.ranges) == 1 {
		off := s.ranges[0].Off
		return s.send(codecRaw, n, s.exposed.Mem[off:off+int64(n)])
	}
	if s.scratch == nil {
		s.scratch = make([]byte, pieceBytes)
	}
	piece := s.scratch[:n]
	if err := gather.Copy(piece, s.exposed.Mem, s.ranges); err != nil {
		return fmt.Errorf("%w: %d bytes in %d ranges from %d", err, n, len(s.ranges), s.ranges[0].Off)
	}
	if want == codecZstd {
		if err := s.pack(piece); err != nil {
			return err
		}
		if len(s.packed) < len(piece) {
			return s.send(codecZstd, n, s.packed)
		}
	}
	return s.send(codecRaw, n, piece)
}

func (s *server) pack(piece []byte) (err error) {
	if s.encoder == nil {
		s.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(pieceBytes), zstd.WithEncoderCRC(false))
		if err != nil {
			return err
		}
		s.packed = make([]byte, 0, pieceBytes+pieceBytes/8)
	}
	s.packed = s.encoder.EncodeAll(piece, s.packed[:0])
	return nil
}

func (s *server) send(c codec, n int, payload []byte) error {
	head := make([]byte, headBytes)
	le := binary.LittleEndian
	le.PutUint32(head[0:], remoteMagic)
	le.PutUint32(head[4:], uint32(c))
	le.PutUint32(head[8:], uint32(n))
	le.PutUint32(head[12:], uint32(len(payload)))
	s.e.remoteWire.Add(uint64(len(payload)))
	if s.plain {
		v := net.Buffers{head, payload}
		_, err := v.WriteTo(s.conn)
		return err
	}
	if _, err := s.conn.Write(head); err != nil || len(payload) == 0 {
		return err
	}
	_, err := s.conn.Write(payload)
	return err
}
