package explore

import (
	"github.com/zeebo/xxh3"

	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
)

// Explorer is one exploration. See the package comment.
type Explorer struct {
	c      *Config
	hashes []uint64 // of the keys

	// Direct carries every step out on the live objects, without going back and
	// without remembering: for a script.
	Direct bool

	// Skip goes on where an action of the prefix is not possible: what a script
	// shows in a faulty build need not be possible in another one.
	Skip    bool
	Skipped int

	nodes []*node // live objects

	sums   []sum
	images []*image
	forms  []string // canonical, where a test asks for them
	locals map[xxh3.Uint128]uint32

	*tables
	lists      [][]offered
	effs       []effects
	effIDs     map[effects]uint32
	memo       memo
	bars       []proto.TS
	violations []string
	Trace      string // stack of the last panic

	hists   []history
	histIDs map[history]uint32

	canon    canon
	recs     []logged
	list     []Action
	bytes    []byte
	pubBytes []byte

	prefix    bool // the configuration's actions: for them its limits do not count
	keepForms bool
	marks     map[string]uint64 // rare branches: how often the code took them

	Steps uint64 // steps of real code
}

// tables number what is too long to be copied into every state.
type tables struct {
	views      []proto.View
	viewIDs    map[proto.View]viewID
	machines   []rejoin.Machine
	machineIDs map[rejoin.Machine]uint32
	pubs       []publication
	pubIDs     map[xxh3.Uint128]uint32
}

func newTables() *tables {
	t := &tables{viewIDs: map[proto.View]viewID{}, machineIDs: map[rejoin.Machine]uint32{}, pubIDs: map[xxh3.Uint128]uint32{}, pubs: make([]publication, 1)}
	t.viewID(&proto.View{})
	t.machineID(&rejoin.Machine{})
	return t
}

// Marks is how often the code, or a way back in some transition, took a rare
// branch, by name.
func (e *Explorer) Marks() map[string]uint64 { return e.marks }

// New makes an explorer of a configuration.
func New(c *Config) (*Explorer, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	e := &Explorer{c: c, tables: newTables(), locals: map[xxh3.Uint128]uint32{}, marks: map[string]uint64{}, effIDs: map[effects]uint32{}, histIDs: map[history]uint32{}}
	e.lists = make([][]offered, 1)
	e.effs = make([]effects, 1)
	e.violations = make([]string, 1)
	for i := range c.Nodes {
		e.nodes = append(e.nodes, newNode(e, proto.NodeID(i)))
	}
	for k := range c.Keys {
		e.hashes = append(e.hashes, e.nodes[0].st.Hash(keyNames[k]))
	}
	return e, nil
}

// intern numbers the live object's local state.
func (e *Explorer) intern(n *node) uint32 {
	n.life.machine = 0
	if n.up && !n.served {
		n.life.machine = e.machineID(&n.m)
	}
	e.recs = n.scan(e.recs[:0])
	n.encode(&e.canon, e.recs)
	h := xxh3.Hash128(e.canon.b)
	if id, ok := e.locals[h]; ok {
		return id
	}
	id := uint32(len(e.sums))
	e.sums = append(e.sums, n.summarise(e.recs))
	if e.Direct {
		e.images = append(e.images, nil)
	} else {
		e.images = append(e.images, n.save())
	}
	e.locals[h] = id
	if e.keepForms {
		e.forms = append(e.forms, string(e.canon.b))
	}
	return id
}
