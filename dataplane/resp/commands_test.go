package resp

import (
	"strings"
	"testing"
)

func TestCommands(t *testing.T) {
	s := start(t, newFake(1), nil)
	c := dial(t, s)
	long := strings.Repeat("k", 1025)
	steps := []struct{ args, want string }{
		{"PING", "+PONG"},
		{"ping hello", `"hello"`},
		{"PING a b", "-ERR wrong number of arguments for 'ping' command"},
		{"ECHO x", `"x"`},
		{"ECHO", "-ERR wrong number of arguments for 'echo' command"},
		{"GET a", "nil"},
		{"SET a 1", "+OK"},
		{"GET a", `"1"`},
		{"get a", `"1"`},
		{"STRLEN a", ":1"},
		{"STRLEN nothing", ":0"},
		{"EXISTS a a b", ":2"},
		{"DBSIZE", ":1"},
		{"MSET a 2 b 3 a 4", "+OK"},
		{"MGET a b c a", `["4" "3" nil "4"]`},
		{"MSET a 2 b", "-ERR wrong number of arguments for 'mset' command"},
		{"DEL a a c", ":1"},
		{"UNLINK b", ":1"},
		{"EXISTS a", ":0"},
		{"GET", "-ERR wrong number of arguments for 'get' command"},
		{"GET a b", "-ERR wrong number of arguments for 'get' command"},
		{"SET a", "-ERR wrong number of arguments for 'set' command"},
		{"SET a b EX 10", "-ERR SET option 'EX' is not supported: values do not expire and writes are not conditional"},
		{"SET a b px 10", "-ERR SET option 'PX' is not supported: values do not expire and writes are not conditional"},
		{"SET a b NX", "-ERR SET option 'NX' is not supported: values do not expire and writes are not conditional"},
		{"SET a b KEEPTTL", "-ERR SET option 'KEEPTTL' is not supported: values do not expire and writes are not conditional"},
		{"GET a", "nil"},
		{"GET " + long, "-ERR key of 1025 bytes, must be 1 to 1024"},
		{"MSET ok 1 " + long + " 2", "-ERR key of 1025 bytes, must be 1 to 1024"},
		{"GET ok", "nil"}, // nothing of it was applied
		{"SELECT 0", "+OK"},
		{"SELECT 1", "-ERR DB index is out of range: there is one database, 0"},
		{"SELECT x", "-ERR invalid DB index"},
		{"FLUSHALL now", "-ERR unknown command 'FLUSHALL', with args beginning with: 'now' "},
		{"INCR", "-ERR unknown command 'INCR', with args beginning with: "},
		{"ANAMELONGERTHANANYCOMMAND", "-ERR unknown command 'ANAMELONGERTHANANYCOMMAND', with args beginning with: "},
		{"AUTH x", "-ERR AUTH called without any password configured. Are you sure your configuration is correct?"},
		{"AUTH a b c", "-ERR syntax error"},
		{"CLIENT ID", ":1"},
		{"CLIENT GETNAME", "nil"},
		{"CLIENT SETNAME me", "+OK"},
		{"CLIENT GETNAME", `"me"`},
		{"CLIENT SETINFO lib-name raw", "+OK"},
		{"CLIENT SETINFO LIB-VER 1.0", "+OK"},
		{"CLIENT SETINFO other 1", "-ERR Unrecognized option 'other'"},
		{"CLIENT NO-EVICT on", "+OK"},
		{"CLIENT NO-EVICT maybe", "-ERR syntax error"},
		{"CLIENT NO-TOUCH off", "+OK"},
		{"CLIENT REPLY ON", "+OK"},
		{"CLIENT REPLY OFF", "-ERR CLIENT REPLY OFF and SKIP are not supported"},
		{"CLIENT", "-ERR wrong number of arguments for 'client' command"},
		{"CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command"},
		{"COMMAND COUNT", ":22"},
		{"COMMAND DOCS get", "[]"},
		{"COMMAND INFO get nope", `[["get" :2 [+readonly +fast] :1 :1 :1] nil]`},
		{"CONFIG GET save", `["save" ""]`},
		{"CONFIG GET appendonly", `["appendonly" "no"]`},
		{"CONFIG GET maxmemory*", `["maxmemory" "0" "maxmemory-policy" "noeviction"]`},
		{"CONFIG GET nothing", "[]"},
		{"CONFIG GET [", "[]"},
		{"CONFIG GET", "-ERR wrong number of arguments for 'config|get' command"},
		{"CONFIG SET save x", "-ERR CONFIG SET is not supported: the node is configured by its own file, flags and environment"},
		{"HEAL.SCOPE x", "-ERR scope id 'x' is not a number in 0..4294967295; 0 ends the scope"},
		{"HEAL.PERSIST", "-ERR no scope is set on this connection: name one, or begin one with HEAL.SCOPE"},
		{"HEAL.PERSIST 0", "-ERR scope id '0' is not a number in 1..4294967295"},
		{"HEAL.PERSIST 1 2", "-ERR wrong number of arguments for 'heal.persist' command"},
		{"HEAL.PERSIST 5", "+OK"},
		{"HEAL.PERSIST 404", "-ERR unknown scope: a scope belongs to one life of its coordinator, and only the scope model has them"},
		{"RESET", "+RESET"},
		{"CLIENT GETNAME", "nil"},
		{"QUIT", "+OK"},
	}
	for _, st := range steps {
		if got := c.do(strings.Fields(st.args)...); got != st.want {
			t.Errorf("%.60s\n got %.200s\nwant %.200s", st.args, got, st.want)
		}
	}
	c.closed()
	c.nc.Close()
	waitConns(t, s, 0)
	t.Logf("%d commands", len(steps))

	c = dial(t, s)
	expectPart(t, c.do("CLIENT", "NOPE"), "-ERR", "unknown subcommand 'NOPE'")
	expectPart(t, c.do("COMMAND", "NOPE"), "-ERR", "unknown subcommand")
	expectPart(t, c.do("CLIENT", "SETNAME", "a b"), "-ERR", "spaces")
	expectPart(t, c.do("CLIENT", "INFO"), `"id=2 addr=`+strings.Split(place(s), ":")[0]+`:`, "resp=2")
	expectPart(t, c.do("COMMAND"), `[["get" :2`, `"heal.persist"`)
	expectPart(t, c.do("COMMAND", "LIST"), `["get" "set"`, `"heal.scope"`)
	expectPart(t, c.do("GET", ""), "-ERR", "key of 0 bytes")
	expectPart(t, c.do("NO\r\n+SUCH"), "-ERR", "unknown command 'NO??+SUCH'")
	d := dial(t, s)
	expect(t, d.do("CLIENT", "SETNAME", "other"), "+OK")
	expectPart(t, c.do("CLIENT", "LIST"), `"id=`, "name=other")

	info := c.do("INFO")
	for _, want := range []string{"# Server", "redis_version:", "healkv_ready:1", "# Heal\\r\\nrole:live\\r\\nodd:a  b", "db0:keys=0", "connected_clients:2"} {
		if !strings.Contains(info, want) {
			t.Errorf("INFO lacks %q: %s", want, info)
		}
	}
	if one := c.do("INFO", "heal"); strings.Contains(one, "Server") || !strings.Contains(one, "role:live") {
		t.Errorf("INFO heal: %s", one)
	}
}

func TestScope(t *testing.T) {
	b := newFake(2)
	c := dial(t, start(t, b, nil))
	c.send(cmd("SET", "a", "1") + cmd("HEAL.SCOPE", "7") + cmd("SET", "b", "1") + cmd("MSET", "c", "1", "d", "1") +
		cmd("DEL", "a") + cmd("HEAL.PERSIST") + cmd("HEAL.SCOPE", "0") + cmd("SET", "e", "1"))
	for _, want := range []string{"+OK", "+OK", "+OK", "+OK", ":1", "+OK", "+OK", "+OK"} {
		expect(t, c.reply(), want)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.scopes[0] != 2 || b.scopes[7] != 4 {
		t.Fatalf("writes by scope: %v", b.scopes)
	}
}

func TestHelloAndRESP3(t *testing.T) {
	c := dial(t, start(t, newFake(3), nil))
	expect(t, c.do("HELLO"), `["server" "healkv" "version" "7.2.0" "proto" :2 "id" :1 "mode" "standalone" "role" "master" "modules" []]`)
	expect(t, c.do("HELLO", "4"), "-NOPROTO unsupported protocol version")
	expect(t, c.do("HELLO", "x"), "-ERR Protocol version is not an integer or out of range")
	expect(t, c.do("HELLO", "3", "SETNAME"), "-ERR Syntax error in HELLO option 'SETNAME'")
	expect(t, c.do("GET", "a"), "nil")
	c.send(cmd("GET", "a"))
	if raw, _ := c.r.ReadString('\n'); raw != "$-1\r\n" {
		t.Fatalf("RESP2 null is %q", raw)
	}
	expect(t, c.do("HELLO", "3", "SETNAME", "n3"), `{"server" "healkv" "version" "7.2.0" "proto" :3 "id" :1 "mode" "standalone" "role" "master" "modules" []}`)
	expect(t, c.do("CLIENT", "GETNAME"), `"n3"`)
	c.send(cmd("GET", "a"))
	if raw, _ := c.r.ReadString('\n'); raw != "_\r\n" {
		t.Fatalf("RESP3 null is %q", raw)
	}
	expect(t, c.do("MGET", "a", "b"), "[nil nil]")
	expect(t, c.do("CONFIG", "GET", "save"), `{"save" ""}`)
	expect(t, c.do("COMMAND", "DOCS"), "{}")
	expect(t, c.do("HELLO", "2"), `["server" "healkv" "version" "7.2.0" "proto" :2 "id" :1 "mode" "standalone" "role" "master" "modules" []]`)
	// Without a password any is right for "default", as clients expect.
	expectPart(t, c.do("HELLO", "3", "AUTH", "default", "x"), "{", "proto")
	expectPart(t, c.do("HELLO", "3", "AUTH", "other", "x"), "-WRONGPASS", "")
	// The greeting takes its turn behind what is under way.
	c.send(cmd("HELLO", "2") + cmd("SET", "k", "v") + cmd("GET", "none") + cmd("HELLO", "3") + cmd("GET", "none"))
	c.reply()
	expect(t, c.reply(), "+OK")
	if raw, _ := c.r.ReadString('\n'); raw != "$-1\r\n" {
		t.Fatalf("before HELLO 3: %q", raw)
	}
	c.reply()
	if raw, _ := c.r.ReadString('\n'); raw != "_\r\n" {
		t.Fatalf("after HELLO 3: %q", raw)
	}
}

func TestAuth(t *testing.T) {
	s := start(t, newFake(4), func(c *Config) { c.Password = "secret" })
	c := dial(t, s)
	for _, args := range []string{"GET a", "SET a b", "PING", "INFO", "CLIENT ID", "NOSUCH", "CONFIG GET save", "HEAL.SCOPE 1"} {
		expect(t, c.do(strings.Fields(args)...), "-NOAUTH Authentication required.")
	}
	expectPart(t, c.do("HELLO", "3"), "-NOAUTH", "HELLO must be called")
	expectPart(t, c.do("AUTH", "wrong"), "-WRONGPASS", "invalid")
	expectPart(t, c.do("AUTH", ""), "-WRONGPASS", "invalid")
	expectPart(t, c.do("AUTH", "other", "secret"), "-WRONGPASS", "invalid")
	expectPart(t, c.do("HELLO", "3", "AUTH", "default", "secre"), "-WRONGPASS", "invalid")
	expect(t, c.do("GET", "a"), "-NOAUTH Authentication required.")
	expect(t, c.do("AUTH", "secret"), "+OK")
	expect(t, c.do("GET", "a"), "nil")
	expect(t, c.do("RESET"), "+RESET")
	expect(t, c.do("GET", "a"), "-NOAUTH Authentication required.")
	expect(t, c.do("AUTH", "default", "secret"), "+OK")
	expect(t, c.do("PING"), "+PONG")

	c = dial(t, s)
	expectPart(t, c.do("HELLO", "3", "AUTH", "default", "secret", "SETNAME", "x"), "{", "proto")
	expect(t, c.do("CLIENT", "GETNAME"), `"x"`)

	// Before AUTH little is taken in, and nothing of it kept.
	c = dial(t, s)
	c.send(cmd("SET", "a", strings.Repeat("x", 1<<20)) + cmd("PING"))
	expect(t, c.reply(), "-NOAUTH Authentication required.")
	expect(t, c.reply(), "-NOAUTH Authentication required.")
	expect(t, c.do("QUIT"), "+OK")
	c.closed()
	if st := s.Stats(); st.AuthFailures != 4 {
		t.Fatalf("%d failed logins counted, want 4", st.AuthFailures)
	}
}
