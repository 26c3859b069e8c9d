package resp

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// The Redis version whose replies ours are modelled on: clients look at it to
// choose what they send.
const redisVersion = "7.2.0"

// admin runs the commands that show or change something beyond keys. Each
// waits until the commands before it are answered, so that program order holds
// for them too, and then writes its reply directly.
func (c *conn) admin(id cmdID) bool {
	ws := c.ws
	if ws.queued() > 0 {
		return false
	}
	switch id {
	case cmdEcho:
		ws.out = appendBulk(ws.out, c.arg(1))
	case cmdDBSize:
		ws.out = appendInt(ws.out, int64(c.srv.backend.LiveKeys()))
	case cmdInfo:
		c.askInfo()
	case cmdHello:
		c.hello()
	case cmdAuth:
		c.authCommand()
	case cmdClient:
		c.client()
	case cmdCommand:
		c.command()
	case cmdConfig:
		c.config()
	case cmdSelect:
		if string(c.arg(1)) == "0" {
			c.ok()
		} else if _, err := strconv.ParseInt(string(c.arg(1)), 10, 32); err != nil {
			c.failed("ERR", "invalid DB index")
		} else {
			c.failed("ERR", "DB index is out of range: there is one database, 0")
		}
	case cmdQuit:
		c.ok()
		c.stop, c.linger = true, true
	case cmdReset:
		c.setProto(2)
		c.scope = 0
		c.authed = c.srv.cfg.Password == ""
		c.setMeta(func(m *meta) { m.name = "" })
		ws.out = append(ws.out, "+RESET\r\n"...)
	default:
		assert(false, "a command of the table that nothing runs")
	}
	c.sendIfLong()
	return true
}

func (c *conn) ok() { c.ws.out = append(c.ws.out, literals[litOK]...) }

// ping with a text is a bulk string, so it waits like ECHO.
func (c *conn) ping() bool {
	if c.ws.queued() > 0 {
		return false
	}
	if c.args() > 2 {
		return c.failed("ERR", "wrong number of arguments for 'ping' command")
	}
	c.ws.out = appendBulk(c.ws.out, c.arg(1))
	c.sendIfLong()
	return true
}

const badNameText = "Client names cannot contain spaces, newlines or special characters, and have at most 256 bytes."

func goodName(b []byte) bool {
	if len(b) > nameBytesMax {
		return false
	}
	for _, ch := range b {
		if ch <= ' ' || ch > '~' {
			return false
		}
	}
	return true
}

func (c *conn) setMeta(change func(*meta)) {
	c.srv.mu.Lock()
	change(&c.meta)
	c.srv.mu.Unlock()
}

// client runs CLIENT's subcommands.
func (c *conn) client() {
	ws := c.ws
	sub, n := string(upper(c.arg(1))), c.args()
	wrong := func() { c.failed("ERR", "wrong number of arguments for 'client|"+strings.ToLower(sub)+"' command") }
	onOff := func() {
		switch v := string(upper(c.arg(2))); v {
		case "ON", "OFF":
			c.ok()
		default:
			c.failed("ERR", "syntax error")
		}
	}
	switch sub {
	case "SETNAME":
		switch {
		case n != 3:
			wrong()
		case !goodName(c.arg(2)):
			c.failed("ERR", badNameText)
		default:
			name := string(c.arg(2))
			c.setMeta(func(m *meta) { m.name = name })
			c.ok()
		}
	case "GETNAME":
		if name := c.meta.name; n != 2 {
			wrong()
		} else if name == "" {
			ws.out = appendNull(ws.out, c.proto)
		} else {
			ws.out = appendBulkString(ws.out, name)
		}
	case "ID":
		if n != 2 {
			wrong()
			return
		}
		ws.out = appendInt(ws.out, int64(c.id))
	case "INFO":
		if n != 2 {
			wrong()
			return
		}
		ws.out = appendBulkString(ws.out, c.describe())
	case "LIST":
		if n > 2 {
			c.failed("ERR", "CLIENT LIST takes no filters here")
			return
		}
		var b strings.Builder
		for _, other := range c.srv.connsByAge() {
			b.WriteString(other.describe())
		}
		ws.out = appendBulkString(ws.out, b.String())
	case "SETINFO":
		if n != 4 {
			wrong()
			return
		}
		if !goodName(c.arg(3)) {
			c.failed("ERR", printable(c.arg(2))+" cannot contain spaces, newlines or special characters.")
			return
		}
		v := string(c.arg(3))
		switch string(upper(c.arg(2))) {
		case "LIB-NAME":
			c.setMeta(func(m *meta) { m.libName = v })
			c.ok()
		case "LIB-VER":
			c.setMeta(func(m *meta) { m.libVer = v })
			c.ok()
		default:
			c.failed("ERR", "Unrecognized option '"+printable(c.arg(2))+"'")
		}
	case "NO-EVICT", "NO-TOUCH": // nothing is ever evicted
		if n != 3 {
			wrong()
			return
		}
		onOff()
	case "REPLY":
		if n == 3 && string(upper(c.arg(2))) == "ON" {
			c.ok()
			return
		}
		c.failed("ERR", "CLIENT REPLY OFF and SKIP are not supported")
	default:
		c.failed("ERR", "unknown subcommand '"+printable(c.arg(1))+"'. CLIENT knows GETNAME, ID, INFO, LIST, NO-EVICT, NO-TOUCH, REPLY ON, SETINFO, SETNAME.")
	}
}

// describe is a connection's line of CLIENT LIST. Any goroutine may ask.
func (c *conn) describe() string {
	c.srv.mu.Lock()
	m := c.meta
	c.srv.mu.Unlock()
	return fmt.Sprintf("id=%d addr=%s laddr=%s name=%s age=%d db=0 resp=%d lib-name=%s lib-ver=%s user=default\n",
		c.id, c.where(c.remote), c.where(c.local), m.name, (c.srv.now()-c.opened)/int64(time.Second), c.protoIs.Load(), m.libName, m.libVer)
}

// command runs COMMAND's subcommands.
func (c *conn) command() {
	ws := c.ws
	if c.args() == 1 {
		ws.out = appendArray(ws.out, int(cmdCount)-1)
		for id := cmdNone + 1; id < cmdCount; id++ {
			ws.out = appendCommand(ws.out, id)
		}
		return
	}
	switch sub := string(upper(c.arg(1))); sub {
	case "COUNT":
		ws.out = appendInt(ws.out, int64(cmdCount)-1)
	case "DOCS":
		ws.out = appendMap(ws.out, c.proto, 0)
	case "LIST":
		ws.out = appendArray(ws.out, int(cmdCount)-1)
		for id := cmdNone + 1; id < cmdCount; id++ {
			ws.out = appendBulkString(ws.out, commands[id].name)
		}
	case "INFO":
		if c.args() == 2 {
			ws.out = appendArray(ws.out, int(cmdCount)-1)
			for id := cmdNone + 1; id < cmdCount; id++ {
				ws.out = appendCommand(ws.out, id)
			}
			return
		}
		ws.out = appendArray(ws.out, c.args()-2)
		for i := 2; i < c.args(); i++ {
			if id := lookup(c.arg(i)); id != cmdNone {
				ws.out = appendCommand(ws.out, id)
			} else if c.proto >= 3 {
				ws.out = appendNull(ws.out, 3)
			} else {
				ws.out = append(ws.out, "*-1\r\n"...)
			}
		}
	default:
		c.failed("ERR", "unknown subcommand '"+printable(c.arg(1))+"'. COMMAND knows COUNT, DOCS, INFO, LIST.")
	}
}

func appendCommand(out []byte, id cmdID) []byte {
	d := &commands[id]
	out = appendBulkString(appendArray(out, 6), d.name)
	out = appendInt(out, int64(d.arity))
	out = appendArray(out, len(d.flags))
	for _, f := range d.flags {
		out = append(append(append(out, '+'), f...), '\r', '\n')
	}
	out = appendInt(out, int64(d.first))
	out = appendInt(out, int64(d.last))
	return appendInt(out, int64(d.step))
}

// config answers CONFIG GET with what tools ask for before they start; the
// node's real settings are in its own configuration.
func (c *conn) config() {
	ws := c.ws
	if string(upper(c.arg(1))) != "GET" {
		c.failed("ERR", "CONFIG "+printable(upper(c.arg(1)))+" is not supported: the node is configured by its own file, flags and environment")
		return
	}
	if c.args() < 3 {
		c.failed("ERR", "wrong number of arguments for 'config|get' command")
		return
	}
	known := [...][2]string{
		{"appendonly", "no"},
		{"bind", c.srv.addr.String()},
		{"databases", "1"},
		{"maxclients", strconv.Itoa(c.srv.cfg.ConnsMax)},
		{"maxmemory", "0"},
		{"maxmemory-policy", "noeviction"},
		{"proto-max-bulk-len", strconv.Itoa(bulkBytesMax)},
		{"save", ""},
		{"timeout", strconv.Itoa(int(c.srv.cfg.IdleTimeout / time.Second))},
		{"unixsocket", c.srv.cfg.Socket},
	}
	var hits [len(known)]bool
	n := 0
	for i := 2; i < c.args() && i < 2+64; i++ {
		pattern := strings.ToLower(string(c.arg(i)[:min(64, len(c.arg(i)))]))
		for k := range known {
			// A pattern that is none matches nothing, as in Redis.
			if match, err := path.Match(pattern, known[k][0]); err == nil && match && !hits[k] {
				hits[k] = true
				n++
			}
		}
	}
	ws.out = appendMap(ws.out, c.proto, n)
	for k, hit := range hits {
		if hit {
			ws.out = appendBulkString(appendBulkString(ws.out, known[k][0]), known[k][1])
		}
	}
}

// askInfo has the text of INFO made aside: what the node is asked for may take a
// moment, in which the loop serves others.
func (c *conn) askInfo() {
	sections := make([]string, 0, c.args()-1)
	for i := 1; i < c.args(); i++ {
		sections = append(sections, printable(c.arg(i)))
	}
	pos := c.ws.tail
	c.ws.push(replyText, 1)
	s := c.srv
	s.running.Add(1) // the loop's own one is above it
	go func() {
		defer s.running.Done()
		text := appendBulkString(nil, s.info(sections))
		c.l.post(func() {
			if c.closed {
				return
			}
			r := c.ws.slot(pos)
			r.text, r.pending = text, 0
			c.run()
		})
	}()
}

// info is the text of INFO [section ...].
func (s *Server) info(asked []string) string {
	st := s.Stats()
	sections := []InfoSection{
		{"Server", []InfoField{
			{"redis_version", redisVersion}, {"redis_mode", "standalone"},
			{"healkv_version", s.cfg.Version}, {"healkv_ready", boolText(s.backend.Ready())},
			{"os", runtime.GOOS + " " + runtime.GOARCH}, {"go_version", runtime.Version()},
			{"process_id", strconv.Itoa(os.Getpid())}, {"tcp_port", portOf(s.addr.String())},
			{"uptime_in_seconds", strconv.FormatInt(s.now()/int64(time.Second), 10)},
		}},
		{"Clients", []InfoField{
			{"connected_clients", strconv.Itoa(st.Conns)}, {"maxclients", strconv.Itoa(s.cfg.ConnsMax)},
		}},
		{"Stats", []InfoField{
			{"total_connections_received", num(st.Accepted)}, {"rejected_connections", num(st.Refused)},
			{"total_commands_processed", num(st.Commands)}, {"total_net_input_bytes", num(st.BytesIn)},
			{"total_net_output_bytes", num(st.BytesOut)}, {"protocol_errors", num(st.ProtocolErrors)},
			{"auth_failures", num(st.AuthFailures)}, {"slow_clients_closed", num(st.SlowClosed)},
		}},
		{"Replication", []InfoField{{"role", "master"}, {"connected_slaves", "0"}}},
	}
	sections = append(sections, s.backend.Info()...)
	sections = append(sections, InfoSection{"Keyspace", []InfoField{
		{"db0", "keys=" + num(s.backend.LiveKeys()) + ",expires=0,avg_ttl=0"},
	}})
	var b strings.Builder
	for _, sec := range sections {
		if !wanted(asked, sec.Name) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString("# " + printable([]byte(sec.Name)) + "\r\n")
		for _, f := range sec.Fields {
			b.WriteString(strings.Map(noBreak, f.Name) + ":" + strings.Map(noBreak, f.Value) + "\r\n")
		}
	}
	return b.String()
}

// wanted reports whether INFO's arguments name section, or name none.
func wanted(asked []string, section string) bool {
	for _, a := range asked {
		switch {
		case strings.EqualFold(a, section), strings.EqualFold(a, "all"),
			strings.EqualFold(a, "everything"), strings.EqualFold(a, "default"):
			return true
		}
	}
	return len(asked) == 0
}

func noBreak(r rune) rune {
	if r == '\r' || r == '\n' {
		return ' '
	}
	return r
}

func num(n uint64) string { return strconv.FormatUint(n, 10) }

func boolText(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
