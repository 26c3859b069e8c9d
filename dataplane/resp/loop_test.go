package resp

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"healkv/dataplane"
)

func oneLoop(c *Config) { c.Loops = 1 }

// Writes that nobody completes, as while a view changes, end with an error that
// says so; reads of other connections, and of the same ones, go on meanwhile.
func TestStuckWritesLeaveReads(t *testing.T) {
	b := newFake(70)
	b.window = 1024
	s := start(t, b, oneLoop)
	d := dial(t, s)
	expect(t, d.do("SET", "calm", "1"), "+OK")
	b.hold(true)
	const writers, each = 3, 500 // more than the session has room for
	var cs []*client
	for i := range writers {
		c := dial(t, s)
		for j := range each {
			c.send(cmd("SET", fmt.Sprint("k", i, "-", j), "v"))
		}
		cs = append(cs, c)
	}
	b.waitInFlight(1024)
	for range 200 {
		expect(t, d.do("GET", "calm"), `"1"`)
		expect(t, d.do("MGET", "calm", "none"), `["1" nil]`)
		expect(t, d.do("PING"), "+PONG")
	}
	b.mu.Lock()
	b.fail = func(op *dataplane.Op) error {
		if op.Kind == dataplane.OpPut {
			return dataplane.ErrUnknown
		}
		return nil
	}
	b.mu.Unlock()
	b.hold(false)
	for _, c := range cs {
		for range each {
			expectPart(t, c.reply(), "-UNKNOWN ", "outcome unknown")
		}
	}
	b.mu.Lock()
	b.fail = nil
	b.mu.Unlock()
	expect(t, d.do("SET", "calm", "2"), "+OK")
	t.Logf("%d writes stood still, 600 commands were answered meanwhile", writers*each)
}

// No connection takes its replies: nothing waits for them but they themselves,
// and all get theirs in the end.
func TestAllBlockedOnOutput(t *testing.T) {
	const clients, gets = 12, 60
	s := start(t, newFake(71), oneLoop)
	d := dial(t, s)
	value := strings.Repeat("v", 100_000)
	expect(t, d.do("SET", "k", value), "+OK")
	var cs []*client
	for i := range clients {
		c := dial(t, s)
		c.send(strings.Repeat(cmd("GET", "k")+cmd("SET", fmt.Sprint("own", i), "x")+cmd("MGET", "k", "none"), gets))
		cs = append(cs, c)
	}
	l := s.loops[0]
	blocked := make(chan int)
	for deadline := time.Now().Add(testPatience); ; {
		l.post(func() { blocked <- l.blocked })
		if <-blocked == clients {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the sockets take everything")
		}
		expect(t, d.do("PING"), "+PONG")
	}
	expect(t, d.do("SET", "other", "1"), "+OK")
	expect(t, d.do("GET", "other"), `"1"`)
	var all sync.WaitGroup
	for _, c := range cs {
		all.Go(func() {
			for range gets {
				for _, want := range []string{`"` + value + `"`, "+OK", `["` + value + `" nil]`} {
					if got, err := readReply(c.r); err != nil || got != want {
						t.Errorf("got %.40s %v", got, err)
						return
					}
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d connections, %d MB", clients, 2*clients*gets*len(value)>>20)
}

func openFiles(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// Connections come and go with pipelines cut anywhere, ends half closed, reset,
// or closed in order, while the node stalls now and then: every answer that
// comes is the right one, and nothing is left behind, neither files nor ops.
func TestComingAndGoing(t *testing.T) {
	const clients, lives = 8, 40
	b := newFake(72)
	b.window = 300
	s := start(t, b, oneLoop)
	expect(t, dial(t, s).do("PING"), "+PONG") // the loop is there
	files := openFiles(t)
	var mu sync.Mutex
	counts := map[string]int{}
	var all sync.WaitGroup
	stop := make(chan struct{})
	stalls := make(chan struct{})
	go func() { // the node's moods
		defer close(stalls)
		rng := rand.New(rand.NewPCG(72, 0))
		for {
			select {
			case <-stop:
				b.stall(false)
				return
			default:
				b.stall(rng.IntN(2) == 0)
				time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond) // load, not synchronisation
			}
		}
	}()
	for i := range clients {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(72, uint64(i)+1))
			for life := range lives {
				how, replies := goThrough(t, s, rng, fmt.Sprintf("c%d-%d-", i, life))
				mu.Lock()
				counts[how]++
				counts["replies"] += replies
				mu.Unlock()
			}
		})
	}
	all.Wait()
	close(stop)
	<-stalls
	waitConns(t, s, 1)
	l := s.loops[0]
	left := make(chan int)
	for deadline := time.Now().Add(testPatience); ; {
		l.post(func() {
			n := len(l.ops.ops)
			for o := l.ops.free; o != nil; o = o.next {
				n--
			}
			left <- n + l.inFlight + l.parting + l.blocked + len(l.starved) + l.conns - 1
		})
		n := <-left
		if n == 0 && openFiles(t) == files {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d ops, connections or waiters left over; %d files open, %d before", n, openFiles(t), files)
		}
	}
	if len(counts) < 5 {
		t.Errorf("not every end was tried: %v", counts)
	}
	t.Logf("%d connections: %v", clients*lives, counts)
}

// goThrough is one connection's life.
func goThrough(t *testing.T, s *Server, rng *rand.Rand, prefix string) (how string, replies int) {
	conn, err := net.Dial(network, place(s))
	if err != nil {
		t.Error(err)
		return "error", 0
	}
	nc := conn.(stream)
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(testPatience))
	var raw strings.Builder
	var want []string
	model := map[string]string{}
	show := func(k string) string {
		if v, ok := model[k]; ok {
			return fmt.Sprintf("%q", v)
		}
		return "nil"
	}
	for range 1 + rng.IntN(300) {
		k, j := prefix+fmt.Sprint(rng.IntN(4)), prefix+fmt.Sprint(rng.IntN(4))
		switch rng.IntN(8) {
		case 0, 1:
			raw.WriteString(cmd("GET", k))
			want = append(want, show(k))
		case 2, 3:
			model[k] = strings.Repeat("x", rng.IntN(50)*rng.IntN(50)*rng.IntN(10))
			raw.WriteString(cmd("SET", k, model[k]))
			want = append(want, "+OK")
		case 4:
			raw.WriteString(cmd("MGET", k, j))
			want = append(want, "["+show(k)+" "+show(j)+"]")
		case 5:
			model[k] = "a"
			model[j] = "b"
			raw.WriteString(cmd("MSET", k, "a", j, "b") + "PING\r\n")
			want = append(want, "+OK", "+PONG")
		case 6:
			n := 0
			for _, x := range []string{k, j} {
				if _, ok := model[x]; ok {
					n++
				}
				delete(model, x)
			}
			raw.WriteString(cmd("DEL", k, j))
			want = append(want, fmt.Sprintf(":%d", n))
		default:
			raw.WriteString(cmd("ECHO", k))
			want = append(want, fmt.Sprintf("%q", k))
		}
	}
	how = []string{"read to the end", "half closed", "quit", "reset", "closed unread"}[rng.IntN(5)]
	if how == "quit" {
		raw.WriteString(cmd("QUIT"))
		want = append(want, "+OK")
	}
	send := raw.String()
	cut := len(send)
	if how == "reset" || how == "closed unread" {
		cut = rng.IntN(len(send))
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for at := 0; at < cut; {
			n := min(1+rng.IntN(1+rng.IntN(4000)), cut-at)
			if _, err := io.WriteString(nc, send[at:at+n]); err != nil {
				return
			}
			at += n
		}
		if how == "half closed" {
			nc.CloseWrite()
		}
	}()
	r := bufio.NewReader(nc)
	if how == "reset" || how == "closed unread" {
		<-sent
		if how == "reset" {
			reset(nc)
		}
		return how, 0
	}
	for i, w := range want {
		got, err := readReply(r)
		if err != nil || got != w {
			t.Errorf("%s, reply %d of %d: got %.100s %v, want %.100s", how, i, len(want), got, err, w)
			<-sent
			return how, i
		}
	}
	<-sent
	if how != "read to the end" {
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("%s: %v behind the last reply", how, err)
		}
	}
	return how, len(want)
}
