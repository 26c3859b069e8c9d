package blame

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Table is what one node knows of everybody's complaints: the newest ones of
// each node. Times are of its owner's clock, above 0. The zero Table is empty.
type Table struct {
	rows [proto.NodesMax]row
}

// row is what one node said last.
type row struct {
	at    int64                // when, 0: never
	edges [proto.NodesMax]Edge // by whom they are about; Kind 0: none
	hears proto.NodeSet
}

// Put takes in all that a node complains about at present, and whom it hears.
// Complaints that cannot be that node's are left out; how many is returned. Of
// two about one node the longer one counts.
func (t *Table) Put(from proto.NodeID, edges []Edge, hears proto.NodeSet, now int64) (refused int) {
	if from >= proto.NodesMax {
		return len(edges)
	}
	r := &t.rows[from]
	*r = row{at: now, hears: hears}
	for i := range edges {
		e := edges[i]
		if !e.valid(from) {
			refused++
			continue
		}
		if was := &r.edges[e.Of.Node]; was.Kind == 0 || longer(&e, was) {
			*was = e
		}
	}
	return refused
}

// longer orders complaints about one node, whatever order they came in (B1).
func longer(a, b *Edge) bool {
	switch {
	case a.For != b.For:
		return a.For > b.For
	case a.Of != b.Of:
		return a.Of.Incarnation > b.Of.Incarnation
	case a.Kind != b.Kind:
		return a.Kind < b.Kind
	case a.Shard != b.Shard:
		return a.Shard < b.Shard
	}
	return a.By.Incarnation > b.By.Incarnation
}

// Sees appends to dst the complaints that count at now in the view v, known
// since viewAt: between two lives of v, said again within the patience, and not
// before the view is as old as the patience, so that after each view everybody
// starts anew. hears is whom each node hears, of those who spoke in that time.
func (t *Table) Sees(dst []Edge, v *proto.View, viewAt, now, patience int64) (edges []Edge, hears [proto.NodesMax]proto.NodeSet) {
	fresh := now-viewAt < patience && !plant.Is(plant.H29OldView)
	for n := range t.rows {
		r := &t.rows[n]
		if r.at == 0 || now-r.at > patience {
			continue
		}
		hears[n] = r.hears
		for i := range r.edges {
			if e := &r.edges[i]; e.Kind != 0 && !fresh && v.Has(e.By) && v.Has(e.Of) {
				dst = append(dst, *e)
			}
		}
	}
	return dst, hears
}
