package resp

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

// throw sends raw to s, ends its side, and returns all that came back.
func throw(t testing.TB, s *Server, raw []byte) []byte {
	t.Helper()
	nc := connect(t, s)
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(testPatience))
	go func() {
		nc.Write(raw)
		nc.CloseWrite()
	}()
	back, err := io.ReadAll(nc)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatalf("no end after %q", raw[:min(len(raw), 300)])
	}
	return back
}

// Valid commands with bytes changed, dropped and doubled, and plain noise: the
// server answers or closes, and goes on serving others.
func TestGarbage(t *testing.T) {
	s := start(t, newFake(60), nil)
	rng := rand.New(rand.NewPCG(60, 60))
	words := strings.Fields("GET SET DEL MGET MSET EXISTS STRLEN PING ECHO INFO DBSIZE HELLO AUTH CLIENT COMMAND CONFIG SELECT RESET " +
		"HEAL.SCOPE HEAL.PERSIST SETNAME LIST GETNAME SETINFO DOCS COUNT default 0 1 2 3 4294967296 -1 k1 k2 * [ \\ a\tb \x00")
	const rounds = 400
	commands := 0
	for range rounds {
		var b strings.Builder
		for range 1 + rng.IntN(30) {
			args := make([]string, 1+rng.IntN(5))
			for i := range args {
				args[i] = words[rng.IntN(len(words))]
			}
			if rng.IntN(4) == 0 {
				b.WriteString(strings.Join(args, " ") + "\r\n")
			} else {
				b.WriteString(cmd(args...))
			}
			commands++
		}
		raw := []byte(b.String())
		for range rng.IntN(4) {
			switch i := rng.IntN(len(raw)); rng.IntN(3) {
			case 0:
				raw[i] = byte(rng.Uint32())
			case 1:
				raw = append(raw[:i], raw[i+1:]...)
			default:
				raw = append(raw[:i], append([]byte(fmt.Sprint(rng.Int64())), raw[i:]...)...)
			}
			if len(raw) == 0 {
				break
			}
		}
		throw(t, s, raw)
		noise := make([]byte, rng.IntN(2000))
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
		throw(t, s, noise)
	}
	c := dial(t, s)
	expect(t, c.do("PING"), "+PONG")
	st := s.Stats()
	t.Logf("%d connections of garbage, %d commands in it, %d executed, %d protocol errors", 2*rounds, commands, st.Commands, st.ProtocolErrors)
	if st.ProtocolErrors < rounds/10 || st.Commands < rounds {
		t.Errorf("the garbage did not get far: %+v", st)
	}
}

func FuzzServer(f *testing.F) {
	s := start(f, newFake(61), nil)
	f.Add([]byte(cmd("SET", "a", "1") + cmd("GET", "a") + "*1\r\n$-1\r\n"))
	f.Add([]byte("HELLO 3 AUTH default x SETNAME y\r\nMGET a b\r\nCONFIG GET *\r\nCOMMAND INFO x\r\nINFO all\r\n"))
	f.Add([]byte("CLIENT LIST\r\nCLIENT SETINFO lib-name \"\\x00\"\r\nHEAL.SCOPE 1\r\nHEAL.PERSIST\r\nRESET\r\nQUIT\r\nPING\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		throw(t, s, raw)
	})
}
