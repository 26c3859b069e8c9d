package tcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"healkv/rdma"
	"healkv/rdma/gather"
)

const (
	windowPieces = 4                // requests under way, so that a round trip is not waited for at each piece
	remoteTime   = 15 * time.Second // patience
)

// Remote is rdma.Remote over a connection of its own. One goroutine, but for
// BytesRead and BytesOnWire.
type Remote struct {
	e           *Endpoint
	peer        int
	incarnation uint32
	size        int64
	closed      bool
	patience    time.Duration // without a byte, and a read has failed

	conn    net.Conn // nil: broken
	forget  func() bool
	chooser chooser
	decoder *zstd.Decoder
	packed  []byte
	asking  []byte // the request that is being made

	raw, wire atomic.Uint64
}

// request is a piece under way.
type request struct {
	n     int
	codec codec
	sent  time.Time
}

// Remote connects to what the peer exposes. ErrNoPeer if that life exposes
// nothing (yet, or any more). Any goroutine.
func (e *Endpoint) Remote(peer int, incarnation uint32) (rdma.Remote, error) {
	if e.closed.Load() {
		return nil, rdma.ErrClosed
	}
	if err := e.checkPeer(peer, incarnation); err != nil {
		return nil, err
	}
	r := &Remote{e: e, peer: peer, incarnation: incarnation, patience: remoteTime}
	if err := r.connect(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Remote) connect() error {
	x, c, a, err := r.e.connect(r.e.ctx, r.peer, r.incarnation, forRemote)
	if err != nil {
		return err
	}
	if r.size != 0 && r.size != a.size {
		x.Close()
		return fmt.Errorf("%w: node %d exposes %d bytes now, before %d", rdma.ErrRange, r.peer, a.size, r.size)
	}
	r.size, r.conn = a.size, x
	if c != nil {
		r.conn = c.conn
	}
	r.forget = context.AfterFunc(r.e.ctx, func() { x.Close() })
	sockets.Add(1)
	return nil
}

func (r *Remote) disconnect() {
	if r.conn == nil {
		return
	}
	r.forget()
	r.conn.SetDeadline(time.Now()) // TLS says good-bye only if that does not wait
	r.conn.Close()
	r.conn = nil
	sockets.Add(-1)
}

func (r *Remote) Size() int64       { return r.size }
func (r *Remote) BytesRead() uint64 { return r.raw.Load() }

// BytesOnWire is what BytesRead took on the network, compressed or not.
func (r *Remote) BytesOnWire() uint64 { return r.wire.Load() }

// ReadAt is Gather of one range, and says how much was read before an error.
func (r *Remote) ReadAt(dst []byte, off int64) (int, error) {
	return r.gather(dst, []rdma.Range{{Off: off, Len: len(dst)}})
}

// Gather reads in pieces, several of them under way. ErrRange outside the
// exposed memory; else an error only when nothing has come for 15 s, or that
// life of the peer is gone: a broken connection is made again. The bytes may be
// torn. Not after Close.
func (r *Remote) Gather(dst []byte, ranges []rdma.Range) error {
	_, err := r.gather(dst, ranges)
	return err
}

func (r *Remote) gather(dst []byte, ranges []rdma.Range) (done int, err error) {
	if r.closed {
		return 0, rdma.ErrClosed
	}
	if err := gather.Check(len(dst), ranges, r.size); err != nil {
		return 0, err
	}
	last, pause := time.Now(), redialMin
	for done < len(dst) {
		n, err := r.read(dst[done:], gather.After(ranges, done))
		done += n
		if err == nil {
			continue
		}
		r.disconnect()
		if n > 0 {
			last, pause = time.Now(), redialMin
		}
		switch {
		case r.e.closed.Load():
			return done, rdma.ErrClosed
		case errors.Is(err, rdma.ErrNoPeer) || errors.Is(err, rdma.ErrRange) || time.Since(last) > r.patience:
			return done, fmt.Errorf("tcp: %d bytes in %d ranges of node %d, incarnation %d, after %d: %w", len(dst), len(ranges), r.peer, r.incarnation, done, err)
		}
		pauseFor(r.e.ctx, pause)
		pause = min(2*pause, redialMax)
	}
	return done, nil
}

// read moves as much as the connection lasts for.
func (r *Remote) read(dst []byte, from gather.Cursor) (done int, err error) {
	if r.conn == nil {
		if err := r.connect(); err != nil {
			return 0, err
		}
	}
	var window [windowPieces]request
	first, under, asked := 0, 0, 0
	var before time.Time // when the last piece was there
	for done < len(dst) {
		for under < windowPieces && asked < len(dst) {
			q := &window[(first+under)%windowPieces]
			if err := r.ask(q, &from); err != nil {
				return done, err
			}
			asked, under = asked+q.n, under+1
		}
		q := window[first]
		first, under = (first+1)%windowPieces, under-1
		r.conn.SetReadDeadline(time.Now().Add(pieceTime))
		if err := r.piece(dst[done:done+q.n:done+q.n], &q); err != nil {
			return done, err
		}
		now := time.Now()
		if before.Before(q.sent) {
			before = q.sent
		}
		r.chooser.took(q.codec, q.n, now.Sub(before))
		before = now
		done += q.n
		r.raw.Add(uint64(q.n))
	}
	return done, nil
}

// ask sends a request for the next piece.
func (r *Remote) ask(q *request, from *gather.Cursor) error {
	le := binary.LittleEndian
	var head [requestBytes]byte
	b := append(r.asking[:0], head[:]...)
	n, ranges := 0, 0
	for n < pieceBytes && ranges < rangesMax {
		x := from.Peek()
		if x.Len == 0 {
			break
		}
		x.Len = min(x.Len, pieceBytes-n)
		from.Skip(x.Len)
		b = le.AppendUint32(le.AppendUint64(b, uint64(x.Off)), uint32(x.Len))
		n, ranges = n+x.Len, ranges+1
	}
	*q = request{n: n, codec: r.chooser.next(n), sent: time.Now()}
	le.PutUint32(b[0:], remoteMagic)
	le.PutUint32(b[4:], uint32(q.codec))
	le.PutUint32(b[8:], uint32(ranges))
	le.PutUint32(b[12:], uint32(n))
	r.asking = b
	r.conn.SetWriteDeadline(time.Now().Add(pieceTime))
	_, err := r.conn.Write(b)
	return err
}

// piece receives one answer into dst.
func (r *Remote) piece(dst []byte, q *request) error {
	var head [headBytes]byte
	if _, err := io.ReadFull(r.conn, head[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	used, n, wire := codec(le.Uint32(head[4:])), int(le.Uint32(head[8:])), int(le.Uint32(head[12:]))
	switch {
	case le.Uint32(head[0:]) != remoteMagic || n != q.n:
	case used == codecRange:
		return fmt.Errorf("%w: says node %d", rdma.ErrRange, r.peer)
	case used == codecRaw && wire == n:
		r.wire.Add(uint64(wire))
		_, err := io.ReadFull(r.conn, dst)
		return err
	case used == codecZstd && q.codec == codecZstd && wire < n:
		r.wire.Add(uint64(wire))
		return r.unpack(dst, wire)
	}
	return fmt.Errorf("%w: answer of %d bytes, %d follow, codec %d, to a request of %d", errRequest, n, wire, used, q.n)
}

func (r *Remote) unpack(dst []byte, wire int) (err error) {
	if r.decoder == nil {
		// Not more memory than a piece needs, whatever the bytes claim.
		r.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<20), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return err
		}
		r.packed = make([]byte, pieceBytes)
	}
	if _, err := io.ReadFull(r.conn, r.packed[:wire]); err != nil {
		return err
	}
	out, err := r.decoder.DecodeAll(r.packed[:wire], dst[:0])
	if err != nil {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	if len(out) != len(dst) {
		return fmt.Errorf("%w: %d bytes unpacked, want %d", errRequest, len(out), len(dst))
	}
	return nil
}

// Close ends the connection; again: nothing to do.
func (r *Remote) Close() error {
	r.closed = true
	r.disconnect()
	if r.decoder != nil {
		r.decoder.Close()
		r.decoder = nil
	}
	return nil
}
