package resp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"healkv/dataplane"
)

// go-redis as a program would use it: default settings but the address.
func TestGoRedis(t *testing.T) {
	b := newFake(40)
	s := start(t, b, nil)
	ctx := t.Context()
	for _, proto := range []int{0, 2, 3} {
		c := redis.NewClient(&redis.Options{Network: network, Addr: place(s), Protocol: proto})
		defer c.Close()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("protocol %d: %v", proto, err)
			}
		}
		must(c.Ping(ctx).Err())
		must(c.Set(ctx, "a", "1", 0).Err())
		if v, err := c.Get(ctx, "a").Result(); v != "1" || err != nil {
			t.Fatal(v, err)
		}
		if _, err := c.Get(ctx, "none").Result(); err != redis.Nil {
			t.Fatal(err)
		}
		must(c.MSet(ctx, "b", "2", "c", 3).Err())
		if v, err := c.MGet(ctx, "a", "b", "none", "c").Result(); fmt.Sprint(v) != "[1 2 <nil> 3]" || err != nil {
			t.Fatal(v, err)
		}
		if n, err := c.Exists(ctx, "a", "b", "none").Result(); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := c.StrLen(ctx, "a").Result(); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := c.DBSize(ctx).Result(); n != 3 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := c.Del(ctx, "a", "none").Result(); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := c.Unlink(ctx, "b", "c").Result(); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		if v, err := c.Echo(ctx, "hi").Result(); v != "hi" || err != nil {
			t.Fatal(v, err)
		}
		if v, err := c.Info(ctx, "server").Result(); !strings.Contains(v, "healkv_ready:1") || err != nil {
			t.Fatal(v, err)
		}
		if m, err := c.ConfigGet(ctx, "maxmemory*").Result(); len(m) != 2 || m["maxmemory"] != "0" || err != nil {
			t.Fatal(m, err)
		}
		if m, err := c.Command(ctx).Result(); len(m) != int(cmdCount)-1 || m["mset"].StepCount != 2 || err != nil {
			t.Fatal(m, err)
		}
		if v, err := c.ClientList(ctx).Result(); !strings.Contains(v, "lib-name=go-redis") || err != nil {
			t.Fatal(v, err)
		}
		must(c.Do(ctx, "HEAL.SCOPE", 3).Err())
		must(c.Do(ctx, "HEAL.PERSIST", 3).Err())
		if err := c.Set(ctx, "a", "1", 1e9).Err(); err == nil || !strings.Contains(err.Error(), "'EX' is not supported") {
			t.Fatal(err)
		}
		if err := c.Incr(ctx, "a").Err(); err == nil || !strings.HasPrefix(err.Error(), "ERR unknown command") {
			t.Fatal(err)
		}
	}
}

func TestGoRedisPipelinesAndAuth(t *testing.T) {
	b := newFake(41)
	s := start(t, b, func(c *Config) { c.Password = "p w" })
	ctx := t.Context()
	wrong := redis.NewClient(&redis.Options{Network: network, Addr: place(s), Password: "x"})
	defer wrong.Close()
	if err := wrong.Ping(ctx).Err(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Fatalf("wrong password: %v", err)
	}
	c := redis.NewClient(&redis.Options{Network: network, Addr: place(s), Password: "p w"})
	defer c.Close()
	var commands atomic.Int64
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			last := map[string]string{}
			for round := range 20 {
				p := c.Pipeline()
				want := map[*redis.StringCmd]string{}
				for i := range 200 {
					k := fmt.Sprintf("g%d-%d", g, i%7)
					if i%3 == 0 {
						last[k] = fmt.Sprint(round, " ", i)
						p.Set(ctx, k, last[k], 0)
					} else if last[k] != "" {
						want[p.Get(ctx, k)] = last[k]
					}
				}
				cmds, err := p.Exec(ctx)
				if err != nil {
					t.Errorf("pipeline: %v", err)
					return
				}
				commands.Add(int64(len(cmds)))
				for got, w := range want {
					if got.Val() != w {
						t.Errorf("%v: want %q", got, w)
					}
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d commands in pipelines of 8 goroutines", commands.Load())
}

// "Rejected for now" is an answer go-redis repeats on its own, and the one that
// makes no promise is not.
func TestGoRedisRepeatsOnlyWhatIsSafe(t *testing.T) {
	b := newFake(42)
	s := start(t, b, nil)
	c := redis.NewClient(&redis.Options{Network: network, Addr: place(s)})
	defer c.Close()
	tries := 0
	fail := func(n int, with error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		tries = 0
		b.fail = func(*dataplane.Op) error {
			if tries++; tries <= n {
				return with
			}
			return nil
		}
	}
	fail(2, dataplane.ErrTryAgain)
	if err := c.Set(context.Background(), "a", "1", 0).Err(); err != nil || tries != 3 {
		t.Fatalf("after two rejections: %v, %d tries", err, tries)
	}
	for _, e := range []error{dataplane.ErrUnknown, dataplane.ErrNoRoom} {
		fail(2, e)
		err := c.Set(context.Background(), "a", "1", 0).Err()
		var re redis.Error
		if !errors.As(err, &re) || tries != 1 {
			t.Fatalf("%v: answered %v, %d tries", e, err, tries)
		}
	}
}
