package healkv_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/membership"
	"healkv/pmem"
)

// A node whose pools were made with another hash_seed does not come live by a
// full copy and then miss half of the keys: it ends, says why, and the others
// serve on.
func TestOtherHashSeedDoesNotServe(t *testing.T) {
	g := newGroup(t, 3, 2, proto.Synchronous, 32<<20)
	for i := range g.cfgs {
		g.cfgs[i].BootstrapWait = 100 * time.Millisecond
	}
	c := &g.cfgs[2]
	c.HashSeed = 0xbad5eed
	for _, dir := range []string{c.PoolDir, c.IndexDir} {
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	var cluster [16]byte
	hex.Decode(cluster[:], []byte(g.id))
	for shard := range 2 {
		if err := pmem.Format(pmem.FormatOptions{Dir: c.PoolDir, IndexDir: c.IndexDir, SizeBytes: 32 << 20, SegmentBytes: 2 << 20,
			Domain: pmem.DomainMemory, Identity: pmem.Identity{Cluster: cluster, Node: 2, Shard: uint8(shard), Shards: 2, HashSeed: c.HashSeed}}); err != nil {
			t.Fatal(err)
		}
	}
	g.open(0)
	g.open(1)
	g.ready(0)
	g.ready(1)
	s := g.nodes[0].NewSession()
	defer s.Close()
	put := func(key string) error {
		var err error
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if _, err = s.Put([]byte(key), []byte("v"), 0); err == nil {
				return nil
			}
		}
		return err
	}
	for i := range 100 {
		if err := put(fmt.Sprint("k", i)); err != nil {
			t.Fatal(err)
		}
	}
	g.open(2)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := g.nodes[2].WaitReady(ctx)
	if !errors.Is(err, membership.ErrConfig) || !strings.Contains(err.Error(), "hash_seed") {
		t.Fatalf("a node with another hash_seed: %v; want %v, which names it", err, membership.ErrConfig)
	}
	t.Log(err)
	g.nodes[2].Close(ctx) // says it once more
	g.nodes[2] = nil
	if v := g.nodes[0].Status().Live; len(v) != 2 {
		t.Errorf("live: %v", v)
	}
	if err := put("after"); err != nil {
		t.Errorf("a write beside it: %v", err)
	}
}
