package resp

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOverASocketFile repeats the tests whose outcome hangs on the kind of the
// socket: sending and receiving, ends of connections, limits, tools.
func TestOverASocketFile(t *testing.T) {
	network = "unix"
	defer func() { network = "tcp" }()
	tests := []struct {
		name string
		run  func(*testing.T)
	}{
		{"Commands", TestCommands}, {"HelloAndRESP3", TestHelloAndRESP3}, {"Auth", TestAuth}, {"Garbage", TestGarbage},
		{"GoRedis", TestGoRedis}, {"GoRedisPipelinesAndAuth", TestGoRedisPipelinesAndAuth},
		{"SizeLimits", TestSizeLimits}, {"ProtocolErrors", TestProtocolErrors}, {"InlineAndEmpty", TestInlineAndEmpty},
		{"MaxConnections", TestMaxConnections}, {"HalfClosed", TestHalfClosed}, {"VanishedClient", TestVanishedClient},
		{"ClientWritesFirst", TestClientWritesFirst}, {"SlowClient", TestSlowClient}, {"IdleTimeout", TestIdleTimeout},
		{"ShutdownAnswersWhatIsUnderWay", TestShutdownAnswersWhatIsUnderWay}, {"ShutdownAnswersWhatHasArrived", TestShutdownAnswersWhatHasArrived},
		{"ShutdownCutsAtItsDeadline", TestShutdownCutsAtItsDeadline}, {"CloseBesideArrivingInput", TestCloseBesideArrivingInput},
		{"AllBlockedOnOutput", TestAllBlockedOnOutput}, {"ComingAndGoing", TestComingAndGoing},
		{"PipelineKeepsProgramOrder", TestPipelineKeepsProgramOrder}, {"NoAllocation", TestNoAllocation},
		{"RedisCLI", TestRedisCLI}, {"RedisBenchmark", TestRedisBenchmark},
	}
	for _, test := range tests {
		t.Run(test.name, test.run)
	}
	t.Logf("%d tests over a socket file", len(tests))
}

func TestSocketFileIsItsOwners(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	s := start(t, newFake(90), nil)
	info, err := os.Lstat(s.cfg.Socket)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	over := dial(t, s) // TCP goes on beside it
	expect(t, over.do("SET", "k", "v"), "+OK")
	network = "unix"
	defer func() { network = "tcp" }()
	c := dial(t, s)
	expect(t, c.do("GET", "k"), `"v"`)
	expectPart(t, c.do("CLIENT", "LIST"), `"id=1 addr=127.0.0.1:`, `addr=`+s.cfg.Socket+`:0 laddr=`+s.cfg.Socket+`:0 name= `)
	expect(t, c.do("CONFIG", "GET", "unix*"), `["unixsocket" "`+s.cfg.Socket+`"]`)
}

// A file that a killed process left is replaced; what is in use, or is no socket,
// stays as it is, and the message says what to do.
func TestSocketFileThatIsThere(t *testing.T) {
	cfg := settings(t)
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: cfg.Socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, cause error, says string) {
		t.Helper()
		s, err := Listen(cfg, newFake(91))
		if err == nil {
			s.Close()
			t.Fatalf("%s: taken over", what)
		}
		if !errors.Is(err, ErrListen) || cause != nil && !errors.Is(err, cause) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), cfg.Socket) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("a socket in use", syscall.EADDRINUSE, "another process serves it")
	left.SetUnlinkOnClose(false)
	left.Close()
	for round := range 2 {
		s, err := Listen(cfg, newFake(92))
		if err != nil {
			t.Fatalf("round %d, what a killed process left: %v", round, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(cfg.Socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("round %d: the file stays: %v", round, err)
		}
		// A server that is closed again leaves its successor's file alone.
		next, err := Listen(cfg, newFake(93))
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := os.Lstat(cfg.Socket); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		next.Close()
	}
	if err := os.WriteFile(cfg.Socket, []byte("a letter"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a file", nil, "something else has that name")
	if text, err := os.ReadFile(cfg.Socket); err != nil || string(text) != "a letter" {
		t.Errorf("the file was touched: %q, %v", text, err)
	}
	cfg.Socket = filepath.Join(filepath.Dir(cfg.Socket), "none", "socket")
	refused("no folder", syscall.ENOENT, "bind")
	for _, bad := range []string{"socket", "@abstract", "/" + strings.Repeat("x", socketPathMax)} {
		cfg.Socket = bad
		if _, err := Listen(cfg, newFake(94)); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), bad) {
			t.Errorf("%.20s: %v", bad, err)
		}
	}
}
