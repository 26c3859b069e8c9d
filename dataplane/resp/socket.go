package resp

import (
	"golang.org/x/sys/unix"
)

// read takes in what the socket has. It returns true when there is something
// new to look at: input, or its end.
func (c *conn) read() bool {
	if c.ws == nil {
		c.ws = c.l.takeWorkset()
	}
	ws := c.ws
	room := ws.makeRoom(c.srv.cfg.QueryBytesMax, c.full)
	if room == 0 {
		return false // readable stays: there is more when there is room
	}
	for {
		n, errno := readNow(c.fd, ws.in[ws.w:])
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			c.readable, c.full = false, false
			return false
		case errno != 0:
			c.dead = true
			return false
		case n == 0:
			c.eof, c.readable = true, false
			return true
		}
		ws.w += n
		c.full = n == room
		// A read that leaves room has emptied the socket, and what comes now has
		// an event of its own; but the end may have come with the last input.
		c.readable = c.full || c.ending
		c.lastRead = c.l.now
		c.l.bytesIn += uint64(n)
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

func (c *conn) sendIfLong() {
	if c.ws.unsent() >= outBytes {
		c.flush()
	}
}

// flush sends the replies written so far; false when not all of them went out.
func (c *conn) flush() bool {
	ws := c.ws
	if ws == nil || ws.unsent() == 0 {
		return !c.dead
	}
	return c.send(nil)
}

// send sends what is written, and behind it b. What of b the socket does not
// take is kept as if it had been written.
func (c *conn) send(b []byte) bool {
	ws := c.ws
	for !c.dead {
		first, more := ws.out[ws.sent:], b
		if len(first) == 0 {
			first, more = b, nil
		}
		if len(first) == 0 {
			break
		}
		n, errno := writeNow(c.fd, first, more)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			if ws.sent > 0 {
				ws.out = ws.out[:copy(ws.out, ws.out[ws.sent:])]
				ws.sent = 0
			}
			ws.out = append(ws.out, b...)
			c.setBlocked(true)
			return false
		case errno != 0:
			c.dead = true
			return false
		}
		c.l.bytesOut += uint64(n)
		c.deadline = c.l.now + int64(c.srv.cfg.WriteTimeout)
		if queued := ws.unsent(); n >= queued {
			b = b[n-queued:]
			ws.out, ws.sent = ws.out[:0], 0
		} else {
			ws.sent += n
		}
	}
	if c.dead {
		return false
	}
	c.setBlocked(false)
	return true
}

func (c *conn) setBlocked(on bool) {
	if on == c.blocked {
		return
	}
	c.blocked = on
	if on {
		c.deadline = c.l.now + int64(c.srv.cfg.WriteTimeout)
		c.l.blocked++
	} else {
		c.l.blocked--
	}
}
