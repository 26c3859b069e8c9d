package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"healkv/dataplane/plant"
	"healkv/rdma"
)

// A remote read goes in pieces: a request for each, answered in order.
//
//	request: magic, codec wanted, position (8 bytes), bytes, 4 bytes of nothing
//	answer:  magic, codec used, bytes, bytes that follow
const (
	pieceBytes   = 128 << 10 // at most, of one request
	requestBytes = 24
	headBytes    = 16
	remoteMagic  = 0x72766b68
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
	errFault   = errors.New("tcp: fault in exposed memory")
)

// server answers the remote reads of one connection from the exposed memory,
// on a goroutine of its own; the worker has no part in it.
type server struct {
	e       *Endpoint
	conn    net.Conn
	exposed *rdma.Exposed // as of when the reader came
	plain   bool          // the kernel may read the memory itself
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
	return &server{e: e, conn: conn, exposed: x, plain: plain}, nil
}

func (s *server) serve() {
	defer s.leave()
	var request [requestBytes]byte
	for {
		s.conn.SetDeadline(time.Now().Add(serverIdle))
		if _, err := io.ReadFull(s.conn, request[:]); err != nil {
			return
		}
		s.conn.SetDeadline(time.Now().Add(pieceTime))
		if err := s.answer(&request); err != nil {
			s.e.log.Warn("remote read ended", "from", s.conn.RemoteAddr(), "err", err)
			return
		}
	}
}

func (s *server) leave() {
	s.e.serving.Add(-1)
	servers.Add(-1)
}

func (s *server) answer(b *[requestBytes]byte) error {
	le := binary.LittleEndian
	want, off, n := codec(le.Uint32(b[4:])), int64(le.Uint64(b[8:])), int64(le.Uint32(b[16:]))
	if le.Uint32(b[0:]) != remoteMagic || want >= codecs || n == 0 || n > pieceBytes {
		return fmt.Errorf("%w: %d bytes at %d, codec %d", errRequest, n, off, want)
	}
	if (off < 0 || off > s.exposed.Size || n > s.exposed.Size-off) && !plant.Is(plant.TCPRange) {
		return s.send(codecRange, n, nil)
	}
	s.e.remoteReads.Add(1)
	s.e.remoteRaw.Add(uint64(n))
	mem := s.exposed.Mem[off : off+n]
	if want == codecRaw && s.plain {
		return s.send(codecRaw, n, mem)
	}
	if s.scratch == nil {
		s.scratch = make([]byte, pieceBytes)
	}
	piece := s.scratch[:n]
	if err := copyFaulting(piece, mem); err != nil {
		return fmt.Errorf("%w: %d bytes at %d", err, n, off)
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

func (s *server) send(c codec, n int64, payload []byte) error {
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

// copyFaulting copies from a mapping whose file may be shortened meanwhile: the
// fault becomes an error.
func copyFaulting(dst, src []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(interface{ Addr() uintptr })
			if !ok {
				panic(p)
			}
			err = fmt.Errorf("%w at address %#x", errFault, f.Addr())
		}
	}()
	copyTorn(dst, src)
	return nil
}

// copyTorn copies what its owner may be writing: the bytes are checksummed by
// their reader, so the race detector has no say here.
//
//go:norace
func copyTorn(dst, src []byte) { copy(dst, src) }
