package healkv_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"healkv"
	"healkv/dataplane/proto"
	"healkv/heal/identity"
	"healkv/heal/membership"
	"healkv/pmem"
)

// group is some nodes of one cluster in one process, on tmpfs.
type group struct {
	t     testing.TB
	dir   string
	id    string
	model proto.Model
	nodes []*healkv.Node
	cfgs  []healkv.Config
}

const seed = 0x5eed

func newGroup(t testing.TB, nodes, shards int, model proto.Model, poolBytes int64) *group {
	return newGroupOver(t, "shm", nodes, shards, model, poolBytes)
}

// overTCP gives the nodes addresses on loopback and certificates.
func (g *group) overTCP(nodes int) {
	g.t.Helper()
	if _, _, err := identity.Make(identity.MakeOptions{Dir: filepath.Join(g.dir, "tls"), Cluster: g.id, Nodes: nodes, Valid: time.Hour, Now: time.Now()}); err != nil {
		g.t.Fatal(err)
	}
	var held []net.Listener
	var addresses []string
	for range nodes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			g.t.Fatal(err)
		}
		held, addresses = append(held, l), append(addresses, l.Addr().String())
	}
	for _, l := range held { // all at once, so that they differ
		l.Close()
	}
	for i := range nodes {
		c := &g.cfgs[i]
		c.RunDir, c.ControlListen, c.ControlPeers = "", addresses[i], addresses
		c.TLS = identity.MadeFiles(filepath.Join(g.dir, "tls", fmt.Sprint("node-", i)))
	}
}

func newGroupOver(t testing.TB, provider string, nodes, shards int, model proto.Model, poolBytes int64) *group {
	dir, err := os.MkdirTemp("/dev/shm", "healkv-test-")
	if err != nil {
		t.Fatal(err)
	}
	g := &group{t: t, dir: dir, id: "000102030405060708090a0b0c0d0e0f", model: model}
	t.Cleanup(func() {
		for i := range g.nodes {
			g.close(i)
		}
		os.RemoveAll(dir)
	})
	var cluster [16]byte
	hex.Decode(cluster[:], []byte(g.id))
	level := slog.LevelWarn
	if testing.Verbose() && os.Getenv("HEALKV_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	for i := range nodes {
		base := filepath.Join(dir, fmt.Sprint("n", i))
		c := healkv.Config{Node: i, Nodes: nodes, ClusterID: g.id, HashSeed: seed, Model: model, Shards: shards, Provider: provider,
			RunDir: filepath.Join(dir, "run"), PoolDir: base + "/pool", IndexDir: base + "/index", StateDir: base + "/state",
			Ephemeral: true, Domain: pmem.DomainMemory, SpinMicros: -1,
			Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))}
		for s := range shards {
			os.MkdirAll(c.PoolDir, 0o700)
			os.MkdirAll(c.IndexDir, 0o700)
			if err := pmem.Format(pmem.FormatOptions{Dir: c.PoolDir, IndexDir: c.IndexDir, SizeBytes: poolBytes, SegmentBytes: 2 << 20,
				Domain: pmem.DomainMemory, Identity: pmem.Identity{Cluster: cluster, Node: uint8(i), Shard: uint8(s), Shards: uint8(shards), HashSeed: seed}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := membership.FormatState(c.StateDir, g.id, proto.NodeID(i), true); err != nil {
			t.Fatal(err)
		}
		g.cfgs = append(g.cfgs, c)
		g.nodes = append(g.nodes, nil)
	}
	if provider != "shm" {
		g.overTCP(nodes)
	}
	return g
}

func (g *group) open(i int) {
	g.t.Helper()
	n, err := healkv.Open(context.Background(), g.cfgs[i])
	if err != nil {
		g.t.Fatalf("node %d: %v", i, err)
	}
	g.nodes[i] = n
}

func (g *group) start() {
	g.t.Helper()
	for i := range g.nodes {
		g.open(i)
	}
	for i := range g.nodes {
		g.ready(i)
	}
}

func (g *group) ready(i int) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := g.nodes[i].WaitReady(ctx); err != nil {
		g.t.Fatalf("node %d: %v; status %+v", i, err, g.nodes[i].Status())
	}
}

func (g *group) close(i int) {
	if g.nodes[i] == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := g.nodes[i].Close(ctx); err != nil {
		g.t.Errorf("closing node %d: %v", i, err)
	}
	g.nodes[i] = nil
}

func TestWriteIsReadAtOnceEverywhere(t *testing.T) {
	for _, model := range proto.Models() {
		t.Run(model.String(), func(t *testing.T) { writeIsReadAtOnceEverywhere(t, newGroup(t, 3, 2, model, 64<<20)) })
	}
	t.Run("tcp", func(t *testing.T) {
		writeIsReadAtOnceEverywhere(t, newGroupOver(t, "tcp", 3, 2, proto.Synchronous, 64<<20))
	})
	t.Run("tcp with TLS", func(t *testing.T) {
		g := newGroupOver(t, "tcp", 3, 2, proto.Synchronous, 64<<20)
		for i := range g.cfgs {
			g.cfgs[i].DataTLS = true
		}
		writeIsReadAtOnceEverywhere(t, g)
	})
}

func writeIsReadAtOnceEverywhere(t *testing.T, g *group) {
	g.start()
	var s []*healkv.Session
	for _, n := range g.nodes {
		s = append(s, n.NewSession())
	}
	reads := 0
	for i := range 300 {
		key := fmt.Appendf(nil, "key-%d", i%17)
		value := fmt.Appendf(nil, "value-%d", i)
		if _, err := s[i%3].Put(key, value, 0); err != nil {
			t.Fatal(err)
		}
		for j := range s {
			got, _, err := s[j].Get(key, nil)
			if err != nil || string(got) != string(value) {
				t.Fatalf("write %d: node %d reads %q, %v; want %q", i, j, got, err, value)
			}
			reads++
		}
	}
	existed, err := s[0].Delete([]byte("key-3"), 0)
	if err != nil || !existed {
		t.Fatalf("delete: existed %v, %v", existed, err)
	}
	if _, _, err := s[1].Get([]byte("key-3"), nil); !errors.Is(err, healkv.ErrNotFound) {
		t.Fatalf("deleted key: %v", err)
	}
	t.Logf("%d writes, %d reads", 301, reads)
	for _, x := range s {
		x.Close()
	}
}

func TestNodeComesBackWithWhatItMissed(t *testing.T) {
	for _, provider := range []string{"shm", "tcp"} {
		t.Run(provider, func(t *testing.T) {
			nodeComesBackWithWhatItMissed(t, newGroupOver(t, provider, 3, 1, proto.Synchronous, 64<<20))
		})
	}
}

func nodeComesBackWithWhatItMissed(t *testing.T, g *group) {
	g.start()
	s := g.nodes[0].NewSession()
	defer s.Close()
	put := func(from, to int, what string) {
		for i := from; i < to; i++ {
			for {
				_, err := s.Put(fmt.Appendf(nil, "key-%d", i), fmt.Appendf(nil, "%s-%d", what, i), 0)
				if err == nil {
					break
				}
				if !errors.Is(err, healkv.ErrTryAgain) {
					t.Fatal(err)
				}
			}
		}
	}
	put(0, 2000, "first")
	g.close(2)
	put(500, 600, "second")
	g.open(2)
	g.ready(2)
	d := g.nodes[0].Digest()
	if got := g.nodes[2].Digest(); got != d {
		t.Fatalf("digests differ: %+v, %+v", got, d)
	}
	r := g.nodes[2].Status().LastRecovery
	if r == nil || r.Kind != "heal" || r.Records < 100 || r.Records > 150 {
		t.Fatalf("recovery %+v", r)
	}
	t.Logf("%+v", *r)
}

// A pool that was live refuses to begin a new cluster beside an empty view
// register: the register was lost, or it is another one's.
func TestPoolsOfAnotherRegisterAreRefused(t *testing.T) {
	g := newGroup(t, 1, 1, proto.Synchronous, 32<<20)
	g.start()
	s := g.nodes[0].NewSession()
	if _, err := s.Put([]byte("key"), []byte("value"), 0); err != nil {
		t.Fatal(err)
	}
	s.Close()
	g.close(0)
	if err := os.RemoveAll(g.cfgs[0].StateDir); err != nil {
		t.Fatal(err)
	}
	if err := membership.FormatState(g.cfgs[0].StateDir, g.id, 0, true); err != nil {
		t.Fatal(err)
	}
	g.cfgs[0].RunDir += "2" // the old one knows of life 1
	n, err := healkv.Open(context.Background(), g.cfgs[0])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.WaitReady(ctx); err == nil || !strings.Contains(err.Error(), "has data of view") {
		t.Errorf("WaitReady: %v", err)
	}
	if err := n.Close(ctx); err == nil {
		t.Error("no reason from Close")
	}
}
