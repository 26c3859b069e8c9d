//go:build process

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func redisTool(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// patient is a client whose answers may take as long as a view change on a
// busy machine; it repeats nothing by itself.
func (g *group) patient(i int) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", g.resp+i), MaxRetries: -1, PoolSize: 4,
		DialTimeout: 20 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second})
	g.t.Cleanup(func() { _ = c.Close() })
	return c
}

// What Redis users have works unchanged against every node of six, what is
// written at one is read at any other at once, and a pipeline takes effect in
// its order.
func TestProcessRedisAtEveryNode(t *testing.T) {
	g := newGroup(t, 6, "--domain", "memory")
	t.Run("tools", func(t *testing.T) { toolsAtEveryNode(t, g) })
	t.Run("pairs", func(t *testing.T) { readAtOnceEverywhere(t, g) })
	t.Run("order", func(t *testing.T) { pipelinesInOrder(t, g) })
}

func toolsAtEveryNode(t *testing.T, g *group) {
	for i := range g.nodes {
		port := fmt.Sprint(g.resp + i)
		key := fmt.Sprintf("cli-%d", i)
		if out := redisTool(t, "redis-cli", "-p", port, "set", key, "v"+port); strings.TrimSpace(out) != "OK" {
			t.Errorf("redis-cli set at node %d: %q", i, out)
		}
		for j := range g.nodes {
			if out := redisTool(t, "redis-cli", "-p", fmt.Sprint(g.resp+j), "get", key); strings.TrimSpace(out) != "v"+port {
				t.Errorf("written at %d, read at %d: %q", i, j, out)
			}
		}
		out := redisTool(t, "redis-benchmark", "-p", port, "-t", "ping,set,get,mset", "-P", "16", "-n", "20000", "-q")
		if strings.Contains(strings.ToLower(out), "error") || strings.Count(out, "requests per second") != 5 {
			t.Errorf("redis-benchmark at node %d:\n%s", i, out)
		}
		c := g.client(i)
		if err := errors.Join(c.Ping(t.Context()).Err(), c.MSet(t.Context(), "m1", i, "m2", port).Err()); err != nil {
			t.Errorf("go-redis at node %d: %v", i, err)
		}
		if got, err := c.MGet(t.Context(), "m1", "none", "m2").Result(); err != nil || fmt.Sprint(got) != fmt.Sprintf("[%d <nil> %s]", i, port) {
			t.Errorf("go-redis at node %d: MGET %v %v", i, got, err)
		}
		if n, err := c.Del(t.Context(), "m1", "m2", "none").Result(); err != nil || n != 2 {
			t.Errorf("go-redis at node %d: DEL %d %v", i, n, err)
		}
	}
}

// Every ordered pair of nodes at the same time: a new key, then the same key
// again, each read at the other node as soon as the writer has its answer.
func readAtOnceEverywhere(t *testing.T, g *group) {
	const keys = 100 // of each pair
	clients := make([]*redis.Client, g.nodes)
	for i := range clients {
		clients[i] = g.patient(i)
	}
	var reads atomic.Int64
	var wg sync.WaitGroup
	for i := range g.nodes {
		for j := range g.nodes {
			if i == j {
				continue
			}
			wg.Go(func() {
				for k := range keys {
					key := fmt.Sprintf("pair-%d-%d-%d", i, j, k)
					for _, value := range []string{"first", "second"} {
						if err := clients[i].Set(t.Context(), key, value, 0).Err(); err != nil {
							t.Errorf("%s at node %d: %v", key, i, err)
							return
						}
						got, err := clients[j].Get(t.Context(), key).Result()
						if err != nil || got != value {
							t.Errorf("%s written at node %d, read at node %d: %q %v, want %q", key, i, j, got, err, value)
							return
						}
						reads.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	if want := int64(g.nodes * (g.nodes - 1) * keys * 2); reads.Load() != want {
		t.Errorf("%d reads, want %d", reads.Load(), want)
	}
	t.Logf("%d keys, %d reads at another node at once", g.nodes*(g.nodes-1)*keys, reads.Load())
}

// script is what one connection has sent: every answer is known beforehand,
// since its keys are its own and its commands take effect in order.
type script struct {
	rng    *rand.Rand
	name   string
	values map[string]string
	next   int
}

func newScript(name string, seed uint64) *script {
	return &script{rng: rand.New(rand.NewPCG(seed, 7)), name: name, values: map[string]string{}}
}

// more adds a command to the pipeline and returns the check of its answer.
func (s *script) more(ctx context.Context, p redis.Pipeliner) (check func() error) {
	key := fmt.Sprintf("%s-%d", s.name, s.rng.IntN(5))
	want, there := s.values[key]
	switch r := s.rng.IntN(20); {
	case r < 9:
		s.next++
		value := fmt.Sprintf("%d", s.next)
		s.values[key] = value
		a := p.Set(ctx, key, value, 0)
		return a.Err
	case r < 19:
		a := p.Get(ctx, key)
		return func() error {
			got, err := a.Result()
			if !there && errors.Is(err, redis.Nil) || there && err == nil && got == want {
				return nil
			}
			return fmt.Errorf("GET %s: %q %v, want %q (exists: %v)", key, got, err, want, there)
		}
	default:
		delete(s.values, key)
		a := p.Del(ctx, key)
		return func() error {
			n, err := a.Result()
			if err == nil && (n == 1) == there {
				return nil
			}
			return fmt.Errorf("DEL %s: %d %v, existed: %v", key, n, err, there)
		}
	}
}

// Pipelines of many commands to few keys, two connections at two nodes at a
// time: every answer is the one that program order gives.
func pipelinesInOrder(t *testing.T, g *group) {
	const commands = 100_000
	var wg sync.WaitGroup
	for i, node := range []int{0, g.nodes - 1} {
		wg.Go(func() {
			c, s := g.patient(node).Conn(), newScript(fmt.Sprintf("order-%d", node), uint64(i))
			defer c.Close()
			sizes := rand.New(rand.NewPCG(uint64(i), 8))
			pipelines, longest := 0, 0
			for sent := 0; sent < commands; pipelines++ {
				p := c.Pipeline()
				n := min(1+sizes.IntN(2000), commands-sent)
				checks := make([]func() error, n)
				for j := range checks {
					checks[j] = s.more(t.Context(), p)
				}
				_, _ = p.Exec(t.Context()) // a missing key is an error too; each answer is checked
				for j, check := range checks {
					if err := check(); err != nil {
						t.Errorf("node %d, command %d of %d, pipeline of %d: %v", node, sent+j, commands, n, err)
						return
					}
				}
				sent, longest = sent+n, max(longest, n)
			}
			t.Logf("node %d: %d commands in %d pipelines of up to %d, in order", node, commands, pipelines, longest)
		})
	}
	wg.Wait()
}

// A node is killed while clients of the others write and read in pipelines:
// they get answers, rejections for now and unknowns, on the same connection,
// and what was acknowledged is there afterwards, also at the one that returns.
func TestProcessRedisUnderAKill(t *testing.T) {
	const victim, keys = 2, 16
	g := newGroup(t, 6, "--domain", "memory")
	pid := g.status()[victim].PID
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stop atomic.Bool
	var ok, again, unknown, after atomic.Int64 // after: acknowledged writes since the kill
	var killed atomic.Bool
	acked, tried := make([][keys]int, g.nodes), make([][keys]int, g.nodes)
	var wg sync.WaitGroup
	for i := range g.nodes {
		if i == victim {
			continue
		}
		conn := g.patient(i).Conn()
		wg.Go(func() {
			defer conn.Close()
			rng := rand.New(rand.NewPCG(uint64(i), 9))
			for n := 1; !stop.Load(); {
				p := conn.Pipeline()
				var kinds [64]int // of a SET: its key + 1
				for j := range kinds {
					k := rng.IntN(keys)
					key := fmt.Sprintf("kill-%d-%d", i, k)
					if rng.IntN(2) == 0 {
						p.Get(ctx, key)
						continue
					}
					kinds[j] = k + 1
					p.Set(ctx, key, n, 0)
					tried[i][k] = n
					n++
				}
				since := killed.Load()
				answers, _ := p.Exec(ctx)
				for j, a := range answers {
					switch err := a.Err(); {
					case err == nil || errors.Is(err, redis.Nil):
						ok.Add(1)
						if kinds[j] > 0 {
							var value int
							_, _ = fmt.Sscan(fmt.Sprint(a.Args()[2]), &value)
							acked[i][kinds[j]-1] = value
							if since {
								after.Add(1)
							}
						}
					case strings.HasPrefix(err.Error(), "TRYAGAIN "):
						again.Add(1)
					case strings.HasPrefix(err.Error(), "UNKNOWN "):
						unknown.Add(1)
					default:
						t.Errorf("node %d: %v: %v", i, a.Args()[0], err)
						return
					}
				}
			}
		})
	}
	progress := func(what string, enough func() bool) {
		t.Helper()
		for began := time.Now(); !enough() && !t.Failed(); time.Sleep(time.Millisecond) {
			if time.Since(began) > 30*time.Second {
				t.Errorf("%s: %d answers, %d for now, %d unknown, %d after the kill\n%s", what, ok.Load(), again.Load(), unknown.Load(), after.Load(), g.logs())
			}
		}
	}
	progress("before the kill", func() bool { return ok.Load() > 20_000 })
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed.Store(true)
	progress("after the kill", func() bool { return after.Load() > 20_000 })
	byHand := exec.Command(binary, "serve", "--config", g.config(victim))
	if err := byHand.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = byHand.Process.Signal(syscall.SIGTERM)
		if err := byHand.Wait(); err != nil {
			t.Error(err)
		}
	}()
	g.awaitLive(victim)
	stop.Store(true)
	wg.Wait()
	compared := 0
	for at := range g.nodes {
		c := g.patient(at)
		for i := range g.nodes {
			for k := range keys {
				if acked[i][k] == 0 {
					continue
				}
				got, err := c.Get(t.Context(), fmt.Sprintf("kill-%d-%d", i, k)).Int()
				if err != nil || got < acked[i][k] || got > tried[i][k] {
					t.Errorf("kill-%d-%d at node %d: %d %v, acknowledged %d, tried %d", i, k, at, got, err, acked[i][k], tried[i][k])
				}
				compared++
			}
		}
	}
	if want := g.nodes * (g.nodes - 1) * keys; compared != want {
		t.Errorf("%d comparisons, want %d", compared, want)
	}
	t.Logf("%d answers, %d TRYAGAIN, %d UNKNOWN; %d writes acknowledged since the kill; %d comparisons", ok.Load(), again.Load(), unknown.Load(), after.Load(), compared)
}
