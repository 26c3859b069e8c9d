package workload

// Generator draws accesses; one goroutine at a time.
type Generator struct {
	spec *Spec
	r    random

	// A transaction or read-modify-write under way: left accesses to go.
	left    int
	txnKind OpKind
	pending Access // second half of a read-modify-write, if left is 1 and family YCSB

	zipf zipf
	// Inserts of YCSB D: this generator's are the ids keys + lane + n*lanes.
	lane, lanes, inserted, room uint64
}

// NewGenerator starts the sequence of lane out of lanes generators that run at
// the same time, usually one per node: each gets ids of its own to insert.
// Equal arguments give equal sequences; lanes with one seed differ.
//
// Preconditions: lane < lanes.
func (s *Spec) NewGenerator(seed uint64, lane, lanes int) *Generator {
	g := &Generator{spec: s, r: newRandom(seed, uint64(lane)), lane: uint64(lane), lanes: uint64(lanes)}
	if s.capacity > s.keys {
		g.room = (s.capacity - s.keys) / g.lanes
	}
	if s.family == familyYCSB {
		switch s.ycsb.dist {
		case distZipfian:
			g.zipf = zipfWithZeta(scrambledDomain, scrambledZeta)
		case distLatest:
			g.zipf = newZipf(s.keys)
		}
	}
	return g
}

// Next is the next access.
func (g *Generator) Next() Access {
	switch g.spec.family {
	case familyTAO:
		return g.nextTAO()
	case familyYCSB:
		return g.nextYCSB()
	}
	n := g.r.below(g.spec.hot)
	return Access{Key: n * (g.spec.keys / g.spec.hot), Kind: Write, First: true}
}

func (g *Generator) nextTAO() Access {
	m := &g.spec.tao
	if g.left > 0 {
		g.left--
		if g.txnKind == Read {
			return g.tao(&m.readTxnTypes, Read, false)
		}
		return g.tao(&m.writeTxnTypes, Write, false)
	}
	switch m.operations.draw(&g.r) {
	case taoRead:
		return g.tao(&m.readTypes, Read, true)
	case taoWrite:
		return g.tao(&m.writeTypes, Write, true)
	case taoReadTxn:
		g.left, g.txnKind = m.readTxnSizes.draw(&g.r)-1, Read
		return g.tao(&m.readTxnTypes, Read, true)
	default:
		g.left, g.txnKind = m.writeTxnSizes.draw(&g.r)-1, Write
		return g.tao(&m.writeTxnTypes, Write, true)
	}
}

func (g *Generator) tao(types *discrete, kind OpKind, first bool) Access {
	m := &g.spec.tao
	what := types.draw(&g.r)
	shard := uint64(m.shards.draw(&g.r))
	return Access{Key: m.id(shard, g.r.below(m.perShard), what), Kind: kind, First: first}
}

func (g *Generator) nextYCSB() Access {
	if g.left > 0 {
		g.left--
		return g.pending
	}
	m := &g.spec.ycsb
	u := g.r.unit()
	switch {
	case u < m.read:
		return Access{Key: g.ycsbKey(), Kind: Read, First: true}
	case u < m.read+m.update:
		return Access{Key: g.ycsbKey(), Kind: Write, First: true}
	case u < m.read+m.update+m.insert && g.room > 0:
		id := g.insertID(g.inserted % g.room)
		g.inserted++
		if m.dist == distLatest && g.inserted <= g.room {
			g.zipf.grow()
		}
		return Access{Key: id, Kind: Insert, First: true}
	case m.readModifyWrite > 0:
		k := g.ycsbKey()
		g.left, g.pending = 1, Access{Key: k, Kind: Write}
		return Access{Key: k, Kind: Read, First: true}
	}
	return Access{Key: g.ycsbKey(), Kind: Read, First: true}
}

func (g *Generator) insertID(n uint64) uint64 { return g.spec.keys + g.lane + n*g.lanes }

func (g *Generator) ycsbKey() uint64 {
	s := g.spec
	switch s.ycsb.dist {
	case distUniform:
		return g.r.below(s.keys)
	case distZipfian:
		return fnv64(g.zipf.draw(&g.r)) % s.keys
	}
	back := g.zipf.draw(&g.r) // 0 is the newest
	if known := min(g.inserted, g.room); back >= known {
		return s.keys - 1 - (back - known)
	}
	return g.insertID((g.inserted - 1 - back) % g.room)
}
