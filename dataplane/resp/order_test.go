package resp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"healkv/dataplane"
)

// 100 000 mixed commands on few keys, in pipelines cut at random: every reply
// must be the one of a store that runs the program one command at a time.
func TestPipelineKeepsProgramOrder(t *testing.T) {
	const commands, keys = 100_000, 5
	for _, inline := range []bool{true, false} {
		b := newFake(5)
		b.inline = inline
		b.window = 200 // smaller than the pipelines, so that room is waited for
		c := dial(t, start(t, b, nil))
		rng := rand.New(rand.NewPCG(9, 9))
		model := map[string]string{}
		var want []string
		var buf strings.Builder
		sent, gets, sets, others := 0, 0, 0, 0
		for sent < commands {
			buf.Reset()
			want = want[:0]
			for range 1 + rng.IntN(1500) {
				k := fmt.Sprintf("k%d", rng.IntN(keys))
				show := func(k string) string {
					if v, ok := model[k]; ok {
						return fmt.Sprintf("%q", v)
					}
					return "nil"
				}
				switch n := rng.IntN(20); {
				case n < 9:
					buf.WriteString(cmd("GET", k))
					want = append(want, show(k))
					gets++
				case n < 17:
					model[k] = fmt.Sprintf("v%d", sent+len(want))
					buf.WriteString(cmd("SET", k, model[k]))
					want = append(want, "+OK")
					sets++
				case n == 17:
					_, ok := model[k]
					delete(model, k)
					buf.WriteString(cmd("DEL", k))
					want = append(want, map[bool]string{true: ":1", false: ":0"}[ok])
					others++
				case n == 18:
					buf.WriteString(cmd("MGET", "k0", k, "k1"))
					want = append(want, "["+show("k0")+" "+show(k)+" "+show("k1")+"]")
					others++
				default:
					model["k0"], model[k] = "m", fmt.Sprintf("m%d", len(want))
					buf.WriteString(cmd("MSET", "k0", "m", k, model[k]) + cmd("PING"))
					want = append(want, "+OK", "+PONG")
					others++
				}
			}
			done := make(chan struct{})
			go func() { c.send(buf.String()); close(done) }()
			for i, w := range want {
				if got := c.reply(); got != w {
					t.Fatalf("command %d: got %s, want %s", sent+i, got, w)
				}
			}
			<-done
			sent += len(want)
		}
		b.mu.Lock()
		peak := b.peak
		b.mu.Unlock()
		if peak < 150 {
			t.Errorf("at most %d ops were in flight: the pipeline is not one", peak)
		}
		t.Logf("inline gets %v: %d commands (%d GET, %d SET, %d others), up to %d ops in flight", inline, sent, gets, sets, others, peak)
	}
}

// Writes that come one by one while the first ones stall must all be under way:
// the connection does not wait for a batch to end before it reads on.
func TestManyWritesInFlight(t *testing.T) {
	b := newFake(6)
	c := dial(t, start(t, b, nil))
	b.stall(true)
	const n = 700
	for i := range n {
		c.send(cmd("SET", fmt.Sprint("k", i), "v"))
	}
	b.waitInFlight(n)
	b.stall(false)
	for range n {
		expect(t, c.reply(), "+OK")
	}
}

// PipelineMax bounds what is under way; the rest waits in the socket.
func TestPipelineIsBounded(t *testing.T) {
	b := newFake(7)
	c := dial(t, start(t, b, func(c *Config) { c.PipelineMax = 64 }))
	b.stall(true)
	const n = 5000
	done := make(chan struct{})
	go func() {
		for i := range n {
			c.send(cmd("SET", fmt.Sprint("k", i%50), fmt.Sprint(i)))
		}
		close(done)
	}()
	b.waitInFlight(64)
	<-done
	b.stall(false)
	for range n {
		expect(t, c.reply(), "+OK")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peak != 64 {
		t.Fatalf("%d ops in flight, the limit is 64", b.peak)
	}
}

// A session that is full is polled, not given up.
func TestFullSessionIsPolled(t *testing.T) {
	b := newFake(8)
	b.window = 4
	c := dial(t, start(t, b, nil))
	keys := []string{"MSET"}
	get := []string{"MGET"}
	var want []string
	for i := range 3000 {
		keys = append(keys, fmt.Sprint("k", i), fmt.Sprint("v", i))
		get = append(get, fmt.Sprint("k", i))
		want = append(want, fmt.Sprintf("%q", fmt.Sprint("v", i)))
	}
	expect(t, c.do(keys...), "+OK")
	expect(t, c.do(get...), "["+strings.Join(want, " ")+"]")
	expect(t, c.do(append([]string{"EXISTS"}, get[1:]...)...), ":3000")
	expect(t, c.do(append([]string{"DEL"}, get[1:]...)...), ":3000")
	b.window = -1 // full although this connection has nothing in it
	expectPart(t, c.do("SET", "a", "b"), "-TRYAGAIN", "too many operations")
	expectPart(t, c.do("MGET", "a", "b"), "-TRYAGAIN", "too many operations")
	b.window = 0
	expect(t, c.do("SET", "a", "b"), "+OK")
}

func TestOpErrors(t *testing.T) {
	b := newFake(10)
	c := dial(t, start(t, b, nil))
	set := func(f func(*dataplane.Op) error) {
		b.mu.Lock()
		b.fail = f
		b.mu.Unlock()
	}
	all := func(err error) { set(func(*dataplane.Op) error { return err }) }
	for _, x := range []struct {
		err        error
		code, part string
	}{
		{dataplane.ErrTryAgain, "-TRYAGAIN ", "rejected for now, not applied"},
		{dataplane.ErrOverload, "-TRYAGAIN ", "too many operations"},
		{dataplane.ErrDeadline, "-TRYAGAIN ", "deadline passed, not applied"},
		{dataplane.ErrClosed, "-TRYAGAIN ", "node closed"},
		{dataplane.ErrPoolFailed, "-TRYAGAIN ", "the pool failed"},
		{dataplane.ErrNoRoom, "-OOM ", "no room: the pool is full"},
		{dataplane.ErrUnknown, "-UNKNOWN ", "outcome unknown"},
		{dataplane.ErrScope, "-ERR ", "unknown scope"},
		{fmt.Errorf("%w: 12 bytes\r\nleft", dataplane.ErrNoRoom), "-OOM ", "12 bytes??left"},
		{errors.New("never heard of"), "-UNKNOWN ", "never heard of"},
	} {
		all(x.err)
		for _, args := range []string{"SET a b", "GET a", "DEL a", "DEL a b", "EXISTS a b", "MGET a b", "STRLEN a", "HEAL.PERSIST 3"} {
			expectPart(t, c.do(strings.Fields(args)...), x.code, "")
		}
		expectPart(t, c.do("SET", "a", "b"), x.code, x.part)
		if x.code != "-UNKNOWN " {
			expectPart(t, c.do("MSET", "a", "b", "c", "d"), x.code, x.part)
		}
		expect(t, c.do("PING"), "+PONG")
	}
	// A write of which a part went through makes no promise as a whole.
	only := func(key string, err error) {
		set(func(op *dataplane.Op) error {
			if string(op.Key) == key {
				return err
			}
			return nil
		})
	}
	only("b", dataplane.ErrTryAgain)
	expectPart(t, c.do("MSET", "a", "1", "b", "2", "c", "3"), "-UNKNOWN ", "MSET applied in part: 2 of 3 keys are done; the first failure: rejected for now")
	expectPart(t, c.do("DEL", "a", "b", "c"), "-UNKNOWN ", "DEL applied in part: 2 of 3")
	expectPart(t, c.do("MGET", "a", "b"), "-TRYAGAIN ", "")
	set(func(op *dataplane.Op) error {
		if string(op.Key) == "b" {
			return dataplane.ErrTryAgain
		}
		return dataplane.ErrUnknown
	})
	expectPart(t, c.do("MSET", "b", "1", "a", "2"), "-UNKNOWN ", "0 of 2")
	// Failures do not disturb the order of answers.
	only("bad", dataplane.ErrTryAgain)
	var raw strings.Builder
	for i := range 500 {
		raw.WriteString(cmd("SET", "good", fmt.Sprint(i)) + cmd("SET", "bad", "x") + cmd("GET", "good") + cmd("NOSUCH"))
	}
	go c.send(raw.String())
	for i := range 500 {
		expect(t, c.reply(), "+OK")
		expectPart(t, c.reply(), "-TRYAGAIN ", "")
		expect(t, c.reply(), fmt.Sprintf("%q", fmt.Sprint(i)))
		expectPart(t, c.reply(), "-ERR unknown command", "")
	}
}
