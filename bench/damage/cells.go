package damage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// What is hurt.
type What uint8

const (
	Record What = iota
	SegmentHeader
	IndexPage
	Checkpoint
	Superblock
	whats
)

var whatNames = [whats]string{"record", "segment header", "index page", "checkpoint", "superblock"}

func (w What) String() string { return whatNames[w] }

// How it is hurt.
type How uint8

const (
	BitFlip     How = iota // one bit
	Zeroed                 // all of it
	Torn                   // old bytes from somewhere in it on
	Stale                  // what stood there before
	Misdirected            // what belongs elsewhere, of the same kind
	hows
)

var howNames = [hows]string{"bit flip", "zeroed", "torn", "stale copy", "misdirected write"}

func (h How) String() string { return howNames[h] }

// Nodes is the size of the cluster; subsets are sets of them, bit i for node i.
const Nodes = 6

// Cell is one field of the matrix.
type Cell struct {
	What   What
	How    How
	Subset uint8
}

func (c Cell) String() string {
	var who []string
	for i := range Nodes {
		if c.has(i) {
			who = append(who, fmt.Sprint(i))
		}
	}
	return fmt.Sprintf("%s|%s|%s", c.What, c.How, strings.Join(who, ","))
}

func (c Cell) has(node int) bool { return c.Subset>>node&1 == 1 }

// all is every node.
const all = 1<<Nodes - 1

// goodCopy says whether the damage leaves a good copy somewhere. An index and
// its checkpoint follow from the log; of a superblock there are two copies at
// each node, one of which is hurt.
func (c Cell) goodCopy() bool {
	return c.Subset != all || c.What == IndexPage || c.What == Checkpoint || c.What == Superblock
}

// Cells is a share of all cells, drawn from the seed; 1 is all 1 600. Equal
// kinds stand together, so that a run that is cut off has whole ones.
func Cells(share float64, seed uint64) []Cell {
	var list []Cell
	for w := range whats {
		for h := range hows {
			for s := range 1 << Nodes {
				list = append(list, Cell{w, h, uint8(s)})
			}
		}
	}
	if share >= 1 {
		return list
	}
	// The fields with the most replicas hurt are the ones that matter: the whole
	// set is among the drawn ones of every kind of damage in turn.
	rng := rand.New(rand.NewPCG(seed, 0xda3a6e))
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	n := max(1, int(share*float64(len(list))+0.5))
	picked := list[:n:n]
	for i, c := range picked[:n/8] {
		picked[i].Subset = all
		_ = c
	}
	slices.SortFunc(picked, func(a, b Cell) int { return int(a.key()) - int(b.key()) })
	return slices.Compact(picked)
}

func (c Cell) key() uint32 { return uint32(c.What)<<16 | uint32(c.How)<<8 | uint32(c.Subset) }

// Parse is the inverse of String.
func Parse(s string) (c Cell, err error) {
	f := strings.Split(s, "|")
	if len(f) != 3 {
		return c, fmt.Errorf("damage: cell %q: want WHAT|HOW|NODES as in %q", s, Cell{Record, BitFlip, 5})
	}
	w, h := slices.Index(whatNames[:], f[0]), slices.Index(howNames[:], f[1])
	if w < 0 || h < 0 {
		return c, fmt.Errorf("damage: cell %q: want one of %q and one of %q", s, whatNames, howNames)
	}
	c.What, c.How = What(w), How(h)
	for _, x := range strings.Split(f[2], ",") {
		if x == "" {
			continue
		}
		if len(x) != 1 || x[0] < '0' || x[0] >= '0'+Nodes {
			return c, fmt.Errorf("damage: cell %q: node %q, want 0 to %d", s, x, Nodes-1)
		}
		c.Subset |= 1 << (x[0] - '0')
	}
	return c, nil
}
