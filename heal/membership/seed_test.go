package membership

import (
	"errors"
	"strings"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/control"
)

// startWithSeed starts node 2 with a file that knows nothing and another hash
// seed.
func (c *cluster) startWithSeed(seed uint64) *Service {
	c.t.Helper()
	fresh := c.state(2) + "-seed"
	if err := FormatState(fresh, testCluster, 2, true); err != nil {
		c.t.Fatal(err)
	}
	ctl, err := control.New(control.Config{RunDir: c.run(), ClusterID: testCluster, Node: 2, Configured: c.nodeset()})
	if err != nil {
		c.t.Fatal(err)
	}
	cfg := c.config(2, ctl)
	cfg.StateDir, cfg.HashSeed, cfg.Logger = fresh, seed, testLog(2)
	s, err := New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := ctl.Start(); err != nil {
		c.t.Fatal(err)
	}
	s.Start()
	c.t.Cleanup(func() { s.Close(); ctl.Close() })
	return s
}

// namesBoth reports whether a text says how the seeds of two nodes differ and
// what to do, and gives neither away.
func namesBoth(text string, a, b *Service) bool {
	for _, part := range []string{a.seed, b.seed, "hash_seed", "format it anew"} {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// A node whose pools hash keys with another seed gets no life, no votes and no
// lease, and people are told at both ends.
func TestOtherHashSeedIsRefused(t *testing.T) {
	c := up(t, 3, 2*time.Second)
	c.nodes[2].die()
	c.serving(0b011)
	before := c.nodes[0].s.Current()
	s := c.startWithSeed(0xbad5eed)
	_, err := s.NextIncarnation(patience(t))
	if !errors.Is(err, ErrConfig) || !namesBoth(err.Error(), s, c.nodes[0].s) && !namesBoth(err.Error(), s, c.nodes[1].s) {
		t.Errorf("a life for a node with another seed: %v", err)
	}
	if n := s.Status().Counts.Proposals; n == 0 || n > 100 {
		t.Errorf("%d proposals before it gave up", n)
	}
	for _, x := range c.nodes[:2] {
		until(t, "the other end says it too", func() bool {
			for _, p := range x.s.Status().Peers {
				if p.Node == 2 && namesBoth(p.Config, s, x.s) {
					return true
				}
			}
			return false
		})
	}
	// What it says for itself is refused too.
	b := beat{Life: proto.Member{Node: 2, Incarnation: before.Issued[2]}, Want: true, Configured: c.nodeset(), Shards: 2, Seed: s.seed, Lease: s.lease}
	if err := s.ctl.Call(patience(t), 0, kindBeat, b, nil); !errors.Is(err, control.ErrRemote) {
		t.Errorf("a beat with another seed: %v", err)
	}
	if v := c.nodes[0].s.Current(); v != before {
		t.Errorf("from epoch %d to %d, issued %d, before %d", before.Epoch, v.Epoch, v.Issued[2], before.Issued[2])
	}
	if a, b := seedDigest(testCluster, 1), seedDigest(testCluster, 2); a == b || len(a) != 16 || a == seedDigest(testCluster+"x", 1) {
		t.Errorf("digests %s and %s", a, b)
	}
}

// Before the first view a node with another seed keeps the others from making it
// without that node: a mistake would be kept.
func TestOtherHashSeedBarsTheFirstView(t *testing.T) {
	c := newCluster(t, 3, time.Second)
	for i := range 2 {
		c.start(i)
	}
	c.nodes[0].incarnate()
	c.nodes[1].incarnate()
	s := c.startWithSeed(0xbad5eed)
	x := c.nodes[0].s
	g := gathered{}
	until(t, "seen what node 2 has", func() bool { g = x.gathered(); return namesBoth(g.missing, x, s) })
	if !g.barred || g.there.Has(2) {
		t.Errorf("there %v, missing %s", g.there.Nodes(nil), g.missing)
	}
}
