package explore

import "healkv/dataplane/proto"

// What a node's step does to the world outside.
type effectKind uint8

const (
	none effectKind = iota
	minted
	wrote
	read
	persisted
	noRange
	listing // value: the number of the list
)

type effect struct {
	kind  effectKind
	key   uint8
	ts    proto.TS
	value uint64
}

const effectsMax = 8

type effects struct {
	n    int
	list [effectsMax]effect
}

func (e *effects) add(x effect) {
	e.list[e.n] = x
	e.n++
}

func (e *effects) has(k effectKind) (effect, bool) {
	for i := range e.n {
		if e.list[i].kind == k {
			return e.list[i], true
		}
	}
	return effect{}, false
}
