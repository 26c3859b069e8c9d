package resp

import (
	"crypto/sha256"
	"crypto/subtle"
	"strconv"
)

func passwordHash(p string) [32]byte { return sha256.Sum256([]byte(p)) }

// login compares hashes, so that neither length nor content of the password
// shows in the time it takes; the user's name is compared in any case.
func (c *conn) login(user, password []byte) bool {
	h := sha256.Sum256(password)
	same := subtle.ConstantTimeCompare(h[:], c.srv.auth[:])
	same &= subtle.ConstantTimeCompare(user, []byte("default"))
	if same != 1 {
		c.srv.stats.authFailures.Add(1)
		c.srv.log.Warn("resp: wrong password", "client", c.where(c.remote))
		c.failed("WRONGPASS", "invalid username-password pair or user is disabled.")
		return false
	}
	c.authed = true
	return true
}

func (c *conn) authCommand() {
	switch {
	case c.args() > 3:
		c.failed("ERR", "syntax error")
		return
	case c.srv.cfg.Password == "":
		c.failed("ERR", "AUTH called without any password configured. Are you sure your configuration is correct?")
		return
	}
	user, password := []byte("default"), c.arg(c.args()-1)
	if c.args() == 3 {
		user = c.arg(1)
	}
	if c.login(user, password) {
		c.ok()
	}
}

func (c *conn) setProto(p int) {
	c.proto = p
	c.protoIs.Store(int32(p))
}

// hello is HELLO [2|3 [AUTH user password] [SETNAME name]]. Nothing changes
// unless all of it is right.
func (c *conn) hello() {
	proto := c.proto
	if c.args() > 1 {
		switch string(c.arg(1)) {
		case "2":
			proto = 2
		case "3":
			proto = 3
		default:
			if _, err := strconv.Atoi(string(c.arg(1))); err != nil {
				c.failed("ERR", "Protocol version is not an integer or out of range")
			} else {
				c.failed("NOPROTO", "unsupported protocol version")
			}
			return
		}
	}
	user, name := 0, 0 // where they stand
	for i := 2; i < c.args(); {
		switch opt := string(upper(c.arg(i))); {
		case opt == "AUTH" && i+2 < c.args():
			user = i + 1
			i += 3
		case opt == "SETNAME" && i+1 < c.args():
			name = i + 1
			i += 2
		default:
			c.failed("ERR", "Syntax error in HELLO option '"+printable(c.arg(i))+"'")
			return
		}
	}
	if name > 0 && !goodName(c.arg(name)) {
		c.failed("ERR", badNameText)
		return
	}
	if user > 0 && c.srv.cfg.Password == "" {
		// Redis lets "default" in with any password when none is set; the same
		// here, as clients with a password in their settings expect it.
		if string(c.arg(user)) != "default" {
			c.failed("WRONGPASS", "invalid username-password pair or user is disabled.")
			return
		}
	} else if user > 0 && !c.login(c.arg(user), c.arg(user+1)) {
		return
	}
	if !c.authed {
		c.failed("NOAUTH", "HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	if name > 0 {
		n := string(c.arg(name))
		c.setMeta(func(m *meta) { m.name = n })
	}
	c.setProto(proto)
	out := appendMap(c.ws.out, proto, 7)
	out = appendBulkString(appendBulkString(out, "server"), "healkv")
	out = appendBulkString(appendBulkString(out, "version"), redisVersion)
	out = appendInt(appendBulkString(out, "proto"), int64(proto))
	out = appendInt(appendBulkString(out, "id"), int64(c.id))
	out = appendBulkString(appendBulkString(out, "mode"), "standalone")
	out = appendBulkString(appendBulkString(out, "role"), "master")
	c.ws.out = appendArray(appendBulkString(out, "modules"), 0)
}
