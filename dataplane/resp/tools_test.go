package resp

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// tool runs a program of redis-tools against s.
func tool(t *testing.T, s *Server, stdin, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("not run: %s is not installed (Debian package redis-tools)", name)
	}
	to := []string{"-s", place(s)}
	if network == "tcp" {
		host, port, _ := net.SplitHostPort(place(s))
		to = []string{"-h", host, "-p", port}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, append(to, args...)...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestRedisCLI(t *testing.T) {
	s := start(t, newFake(50), func(c *Config) { c.Password = "pw" })
	script := "PING\nSET a \"x y\"\nGET a\nMSET b 1 c 2\nMGET a b nope\nDEL a b\nSET a 1 EX 5\nSTRLEN c\nDBSIZE\n" +
		"CLIENT GETNAME\nCONFIG GET save\nHEAL.SCOPE 2\nHEAL.PERSIST\nNOSUCH\n"
	for _, flags := range [][]string{{"-2"}, {"-3"}} {
		got := tool(t, s, script, "redis-cli", append(flags, "--no-auth-warning", "-a", "pw")...)
		for _, want := range []string{"PONG\nOK\nx y\nOK\nx y\n1\n\n2\nERR SET option 'EX'", "\n1\n1\n", "ERR unknown command 'NOSUCH'"} {
			if !strings.Contains(got, want) {
				t.Errorf("redis-cli %v lacks %q:\n%s", flags, want, got)
			}
		}
	}
	if got := tool(t, s, "GET a\n", "redis-cli"); !strings.Contains(got, "NOAUTH") {
		t.Errorf("without a password: %s", got)
	}
	// Mass insertion: a file of commands, answered with a count.
	raw := cmd("AUTH", "pw") + strings.Repeat(cmd("SET", "k", "v"), 20_000)
	if got := tool(t, s, raw, "redis-cli", "--pipe"); !strings.Contains(got, "errors: 0, replies: 20001") {
		t.Errorf("--pipe: %s", got)
	}
}

func TestRedisBenchmark(t *testing.T) {
	b := newFake(51)
	s := start(t, b, nil)
	out := tool(t, s, "", "redis-benchmark", "-t", "ping,set,get,mset", "-P", "16", "-n", "20000", "-r", "1000", "-c", "20", "--csv")
	for _, want := range []string{`"PING_INLINE"`, `"PING_MBULK"`, `"SET"`, `"GET"`, `"MSET (10 keys)"`} {
		if !strings.Contains(out, want) {
			t.Errorf("redis-benchmark did not finish %s:\n%s", want, out)
		}
	}
	if strings.Contains(out, "Error") || strings.Contains(out, "WARN") {
		t.Errorf("redis-benchmark complains:\n%s", out)
	}
	if n := s.Stats().Commands; n < 100_000 {
		t.Errorf("%d commands arrived, want 100000", n)
	}
	t.Logf("%d commands\n%s", s.Stats().Commands, out)
}
