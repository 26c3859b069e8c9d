package heal

import (
	"fmt"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
	"healkv/pmem"
)

// Opened fills in what follows from the opened pools, one a shard: Prev, Tails,
// Leftovers and, where the records are no ground to heal on, Full, Doubtful and
// Blank. v
// is the newest view known; begun says that this node has had pools with
// something in them.
func (c *Config) Opened(pools []*pmem.Pool, v *proto.View, begun bool) {
	c.Prev = proto.Incarnation(pools[0].Recovered().PreviousIncarnation)
	n := c.Self.Node
	for _, p := range pools {
		r := p.Recovered()
		c.Tails = append(c.Tails, r.Shown)
		c.Seen = append(c.Seen, p.Super().Seen)
		var left []Leftover
		p.Leftovers(func(hash, pos, _ uint64) { left = append(left, Leftover{Hash: hash, Pos: pos}) })
		c.Leftovers = append(c.Leftovers, left)
		prev := proto.Incarnation(r.PreviousIncarnation)
		if r.Doubtful != "" {
			// Compared with a buddy it heals. To a cold start it can give nothing:
			// what it lacks would be lacking, or old, everywhere.
			c.Doubtful, c.Blank = r.Doubtful, c.Blank || !plant.Is(plant.DamageCold)
		}
		switch {
		case prev == 0 && begun:
			// Such as a memory-domain pool after a reboot. The view may still
			// say that this node was live with the pool it had before.
			c.Full, c.Blank = "the pool is blank", true
		case !r.Complete && (v.Live.Has(n) || v.Cold && v.Shadow.Has(n)) && v.Incarnation[n] == prev:
			// Promoted, and the process ended before the pool could say so; or it
			// ended in the cold start that followed, which only nodes with whole
			// pools make. It says so before this life proposes anything: a view that
			// names this life would leave the next one no way to tell. If it cannot
			// be written the pool has failed, and the life ends when it is entered.
			_ = p.WriteSuperblock(func(s *pmem.Super) { s.Complete, s.ViewEpoch = true, uint32(v.Epoch) })
		case !r.Complete:
			c.Full, c.Blank = "the pool is incomplete: an earlier full copy was cut off", true
		case prev != 0 && prev < v.Incarnation[n]:
			// An older copy of the pool (H19): the life that the view last
			// named began on another one. In a cold start it would serve what has
			// been overwritten since. A cold view, though, names lives that may
			// have ended before they began on their pools.
			c.Blank = c.Blank || !v.Cold && !plant.Is(plant.OlderCounts)
			if c.Full == "" {
				c.Full = fmt.Sprintf("the pool is of life %d, the view's last life of this node is %d: an older copy", prev, v.Incarnation[n])
			}
		}
	}
	// The life before this one was told so, and may not have discarded it.
	c.Blank = c.Blank || c.Full == rejoin.OlderPool && !plant.Is(plant.OlderCounts)
}
