package resp

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// read takes in what the socket has, waiting for it if block. It returns
// true when there is something new to look at: input, or its end.
func (c *conn) read(block bool) bool {
	c.readBlock, c.readBytes, c.readErr = block, 0, nil
	if idle := c.srv.cfg.IdleTimeout; block && idle > 0 {
		c.nc.SetReadDeadline(time.Now().Add(idle))
		// Shutdown sets the flag before its own deadline, which the line above
		// may have undone.
		if c.srv.closing.Load() {
			return false
		}
	}
	err := c.rc.Read(c.readStep)
	if err == nil {
		err = c.readErr
		if block && c.srv.cfg.IdleTimeout > 0 {
			c.nc.SetReadDeadline(time.Time{}) // it is not for looks while busy
		}
	}
	switch {
	case err == nil && c.readBytes > 0:
		c.lastRead = c.srv.now()
		c.srv.stats.bytesIn.Add(uint64(c.readBytes))
		return true
	case err == nil && !c.eof:
		c.full = false
		c.lastRead = c.srv.now()
		return false
	case err == nil:
		return true
	case errors.Is(err, os.ErrDeadlineExceeded):
		if block && !c.srv.closing.Load() {
			c.srv.log.Debug("resp: idle connection closed", "client", c.nc.RemoteAddr().String())
		}
		return false
	default:
		c.dead = true
		return false
	}
}

// tryRead is one attempt. While it waits an idle connection holds no memory
// but its goroutine.
func (c *conn) tryRead(fd uintptr) bool {
	if c.ws == nil {
		c.ws = c.srv.takeWorkset()
	}
	ws := c.ws
	room := ws.makeRoom(c.srv.cfg.QueryBytesMax, c.full)
	if room == 0 {
		return true
	}
	for {
		n, err := syscall.Read(int(fd), ws.in[ws.w:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if c.readBlock && ws.r == ws.w && ws.p.idle() {
				c.srv.giveWorkset(ws)
				c.ws = nil
			}
			return !c.readBlock
		case err != nil:
			c.readErr = err
		case n <= 0:
			c.eof = true
		default:
			ws.w += n
			c.readBytes = n
			c.full = n == room
		}
		return true
	}
}

// makeRoom makes the buffer's free end worth a system call and returns its
// size; 0 when limit bytes are waiting to be parsed already. busy: the last
// read filled the buffer.
func (ws *workset) makeRoom(limit int, busy bool) int {
	const worth = 4 << 10
	if ws.r == ws.w {
		ws.r, ws.w = 0, 0
		switch {
		case len(ws.in) > inBytesFew:
			ws.in = make([]byte, inBytesBusy) // give the room of a few large values back
		case busy && len(ws.in) < inBytesBusy:
			ws.in = make([]byte, inBytesBusy)
		}
	}
	if len(ws.in)-ws.w >= worth {
		return len(ws.in) - ws.w
	}
	if ws.r > 0 && ws.r >= (ws.w-ws.r)/2 {
		ws.w = copy(ws.in, ws.in[ws.r:ws.w])
		ws.r = 0
	}
	if len(ws.in)-ws.w < worth && ws.w-ws.r < limit {
		// Doubling by what came, not by what was announced: a client that
		// announces a megabyte and sends nothing must not cost one.
		bigger := make([]byte, min(2*len(ws.in), limit+worth+len(ws.in)/2))
		ws.w = copy(bigger, ws.in[ws.r:ws.w])
		ws.r = 0
		ws.in = bigger
	}
	return len(ws.in) - ws.w
}

// flush sends the replies written so far; false when the connection is dead.
func (c *conn) flush() bool {
	c.outSince = 0
	ws := c.ws
	if ws == nil || len(ws.out) == 0 {
		return !c.dead
	}
	ok := c.send(ws.out)
	ws.out = ws.out[:0]
	return ok
}

// send writes b to the socket, and takes in input while the client takes
// no replies.
func (c *conn) send(b []byte) bool {
	if c.dead {
		return false
	}
	c.srv.stats.bytesOut.Add(uint64(len(b)))
	c.writeRest, c.writeErr = b, nil
	err := c.rc.Write(c.writeStep)
	rest := c.writeRest
	c.writeRest = nil
	if err == nil {
		err = c.writeErr
	}
	// The socket is full. Both ends may be writing: without reading on, a
	// client that sends a long pipeline first would wait for us and we for it.
	slow, progress := len(rest) > 0, c.srv.now()
	for err == nil && len(rest) > 0 {
		c.nc.SetWriteDeadline(time.Now().Add(readAhead))
		var n int
		n, err = c.nc.Write(rest)
		rest = rest[n:]
		if n > 0 {
			progress = c.srv.now()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
			if c.srv.now()-progress > int64(c.srv.cfg.WriteTimeout) {
				err = os.ErrDeadlineExceeded
				c.srv.stats.slowClosed.Add(1)
				c.srv.log.Warn("resp: connection closed: the client takes no replies",
					"client", c.nc.RemoteAddr().String(), "timeout", c.srv.cfg.WriteTimeout)
				break
			}
			if !c.eof && !c.stop {
				for c.read(false) && !c.eof {
				}
				if c.dead {
					return false
				}
			}
		}
	}
	if err != nil {
		c.dead = true
		return false
	}
	if slow {
		c.nc.SetWriteDeadline(time.Time{}) // an expired one would fail the next try
	}
	return true
}

// tryWrite sends what the socket takes without waiting.
func (c *conn) tryWrite(fd uintptr) bool {
	for len(c.writeRest) > 0 {
		n, err := syscall.Write(int(fd), c.writeRest)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			c.writeErr = err
			return true
		default:
			c.writeRest = c.writeRest[n:]
		}
	}
	return true
}

// lastLook takes in what a client had sent before it could know that the
// server stops: true if there is something to answer. Shutdown's deadline in
// the past, which woke this connection up, may come between two lines here;
// it comes once.
func (c *conn) lastLook() bool {
	asked := c.lastRead
	for tries := 0; tries < 2 && !c.eof && !c.dead; tries++ {
		c.nc.SetReadDeadline(time.Time{})
		if c.read(false) && !c.eof {
			return true
		}
	}
	c.lastRead = asked // a look that found nothing does not count for part
	return false
}

// part says goodbye when the server stops: our end is closed behind the last
// answer, and what the client still sends is taken off the socket until it has
// seen that, because closing with unread input makes the kernel drop answers.
// A client that has asked nothing for a while has its answers: it is not
// waited for.
func (c *conn) part() {
	t, ok := c.nc.(*net.TCPConn)
	if !ok || c.lastRead == 0 || c.srv.now()-c.lastRead > int64(lingerMax) || t.CloseWrite() != nil {
		return
	}
	c.nc.SetReadDeadline(time.Now().Add(partMax))
	io.Copy(io.Discard, io.LimitReader(c.nc, bulkBytesHard))
}
