//go:build process

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

var digestKeys = flag.Int("digest.keys", 20_000, "keys of TestProcessComparesDigests")

// Six nodes hold many keys, one is killed, the others overwrite, add and delete
// some and then forget what it missed. It comes back by comparing digests, with
// about what it missed and not with the store, and then holds what they hold.
func TestProcessComparesDigests(t *testing.T) {
	keys := *digestKeys
	changed, added, deleted := max(1, keys/100), max(1, keys/1000), max(1, keys/1000)
	size := max(64, keys/2000) // MiB of each pool: about twice what the keys take
	g := newGroup(t, 6, "--pool-size", fmt.Sprintf("%dMiB", size), "--max-keys", fmt.Sprint(keys*5/4))
	value := strings.Repeat("v", 100)
	key := func(i int) string { return fmt.Sprintf("digest-%08d", i) }

	// set writes keys [from, to) in steps at one node, as far as they go.
	set := func(node, from, to, step int, with string) {
		t.Helper()
		c := g.client(node)
		defer c.Close()
		for ; from < to; from += 512 * step {
			for tries := 0; ; tries++ {
				_, err := c.Pipelined(t.Context(), func(p redis.Pipeliner) error {
					for i := from; i < min(to, from+512*step); i += step {
						p.Set(t.Context(), key(i), with, 0)
					}
					return nil
				})
				if err == nil {
					break
				}
				if tries > 200 {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond) // a view is changing
			}
		}
	}
	began := time.Now()
	var writers sync.WaitGroup
	for n := range 6 {
		writers.Go(func() { set(n, keys*n/6, keys*(n+1)/6, 1, value) })
	}
	writers.Wait()
	t.Logf("%d keys in %v", keys, time.Since(began).Round(time.Millisecond))

	const victim = 4
	before := g.status()[victim]
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	set(0, 0, keys, keys/changed, strings.Repeat("w", 100))
	set(1, keys, keys+added, 1, value)
	c := g.client(2)
	for i := range deleted {
		if err := c.Del(t.Context(), key(i*(keys/deleted)+1)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	out, complaint, code := node(t, nil, "forget", "--dir", g.dir)
	if n := strings.Count(out, "has forgotten what was missed through view "); code != 0 || n != 5 {
		t.Fatalf("forget: %d of 5, exit status %d:\n%s%s", n, code, out, complaint)
	}

	byHand := exec.Command(binary, "serve", "--config", g.config(victim))
	if err := byHand.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = byHand.Process.Signal(syscall.SIGTERM)
		_ = byHand.Wait()
	}()
	g.awaitLive(victim)
	var all struct {
		Nodes []struct {
			Keys         uint64
			LastRecovery *struct {
				Kind                   string
				Total, Transfer        time.Duration
				Bytes, Records, Missed uint64
				Ranges                 uint64 `json:"digest_ranges"`
				Buried, Unlike         uint64
				StoreBytes             uint64 `json:"store_bytes"`
				MissedBytes            uint64 `json:"missed_bytes"`
			} `json:"last_recovery"`
		}
	}
	text, complaint, code := node(t, nil, "status", "--dir", g.dir, "--json")
	if err := json.Unmarshal([]byte(text), &all); err != nil || code != 0 {
		t.Fatalf("status: %d %v\n%s%s", code, err, text, complaint)
	}
	r := all.Nodes[victim].LastRecovery
	if r == nil || r.Kind != "digest" {
		t.Fatalf("it came back by %+v", r)
	}
	missed := uint64(changed + added + deleted)
	t.Logf("kind %s: %v in all, transfer %v; %d of about %d missed records fetched in %d ranges that differed; %d bytes read, of them records %d; the store has %d",
		r.Kind, r.Total, r.Transfer, r.Records, missed, r.Ranges, r.Bytes, r.MissedBytes, r.StoreBytes)
	// Sums of every range, finer ones of those that differ, some 30 bytes for each
	// key beside one that was missed, and these records.
	if r.Records < missed*9/10 || r.Records > missed*11/10+64 || r.Buried != 0 || r.Unlike != 0 {
		t.Errorf("%d records fetched, %d missed; %d buried, %d unlike", r.Records, missed, r.Buried, r.Unlike)
	}
	if limit := r.StoreBytes / 10; keys >= 100_000 && r.Bytes > limit {
		t.Errorf("%d bytes read, a tenth of the store is %d", r.Bytes, limit)
	}
	for i, n := range all.Nodes {
		if n.Keys != uint64(keys+added-deleted) {
			t.Errorf("node %d has %d keys, want %d", i, n.Keys, keys+added-deleted)
		}
	}
	// It serves what the others serve.
	c, other := g.client(victim), g.client(0)
	compared := 0
	for from := 0; from < keys+added; from += 4096 {
		names := make([]string, 0, 4096)
		for i := from; i < min(from+4096, keys+added); i++ {
			names = append(names, key(i))
		}
		a, err := c.MGet(t.Context(), names...).Result()
		if err != nil {
			t.Fatal(err)
		}
		b, err := other.MGet(t.Context(), names...).Result()
		if err != nil {
			t.Fatal(err)
		}
		for i := range names {
			if compared++; a[i] != b[i] {
				t.Fatalf("%s: %.20q at the node that was away, %.20q at another", names[i], a[i], b[i])
			}
		}
	}
	t.Logf("%d keys read at both", compared)
}
