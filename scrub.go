package healkv

import (
	"context"
	"errors"
	"sync"
	"time"

	"healkv/dataplane"
	"healkv/pmem"
	"healkv/pmem/store"
)

const (
	scrubLap      = 4 * time.Hour // in which a pool is gone through, if nothing is configured
	scrubLeast    = 1 << 20       // bytes per second, then
	scrubStep     = 256 << 10     // between two pauses
	scrubLapPause = time.Minute   // a small pool is not gone through all the time
)

// scrubRate is in bytes per second, of all pools of the node together.
func (c *Config) scrubRate(pools []*pmem.Pool) int {
	if c.ScrubBytesPerSecond != 0 {
		return c.ScrubBytesPerSecond
	}
	total := int64(0)
	for _, p := range pools {
		total += p.Super().SizeBytes
	}
	return max(scrubLeast, int(total/int64(scrubLap/time.Second)))
}

// scrub verifies the pools of a life in the background until stop is called.
func (n *Node) scrub(l *life) (stop func()) {
	rate := n.cfg.scrubRate(l.pools)
	if rate < 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(n.ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			for _, p := range l.pools {
				n.scrubPool(ctx, p, rate)
			}
			rest(ctx, scrubLapPause)
		}
	})
	return func() { cancel(); done.Wait() }
}

// scrubPool goes through one pool once.
func (n *Node) scrubPool(ctx context.Context, p *pmem.Pool, rate int) {
	x := p.Store().NewScrubber()
	defer x.Close()
	before := p.Store().Scrubbed()
	for lap := false; !lap && ctx.Err() == nil; rest(ctx, time.Second*scrubStep/time.Duration(rate)) {
		err := pmem.Guard(func() (err error) {
			lap, err = x.Step(scrubStep)
			return err
		})
		switch {
		case errors.Is(err, store.ErrShut):
			return
		case err != nil:
			// Whoever reads there finds out the same; the worker decides.
			n.log.Error("scrubbing: a page cannot be read", "pool", p.Info().Path, "err", err)
			return
		}
	}
	if after := p.Store().Scrubbed(); after.Hurt > before.Hurt || after.Headers > before.Headers {
		n.log.Error("scrubbing found damage", "pool", p.Info().Path, "records", after.Hurt-before.Hurt, "segment_headers", after.Headers-before.Headers)
	}
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// tellDamage says what opening the pools has come upon.
func (n *Node) tellDamage(pools []*pmem.Pool) {
	for _, p := range pools {
		r := p.Recovered()
		if r.Salvaged == "" && r.Doubtful == "" && len(r.Extents) == 0 {
			continue
		}
		n.log.Error("the pool is damaged", "pool", p.Info().Path, "found", r.Salvaged, "superblock_copies", r.SuperDamaged, "ranges", len(r.Extents), "doubtful", r.Doubtful)
		if r.Doubtful != "" {
			n.event("pool_doubtful", 0, r.Doubtful)
		} else {
			n.event("pool_damaged", 0, r.Salvaged)
		}
	}
}

// countScrub adds up what the scrubber of one shard did.
func countScrub(w *dataplane.Worker, c map[string]uint64) {
	x := w.Pool().Store().Scrubbed()
	c["scrubbed_bytes"] += x.Bytes
	c["scrub_laps"] += x.Laps
	c["scrub_damaged"] += x.Hurt
	c["scrub_damaged_headers"] += x.Headers
	c["scrub_mended_headers"] += x.Mended
}
