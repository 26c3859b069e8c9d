package rejoin_test

import (
	"errors"
	"strings"

	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
)

// lose takes one of the live members away for long, with everybody down: its
// machine does not come up, or its pool is gone. People say so in the end.
func (w *world) lose() {
	v := &w.reg
	if v.Live.Count() < 2 || w.lost != 0 || w.rng.IntN(2) == 0 {
		return
	}
	list := v.Live.Nodes(nil)
	n := w.nodes[list[w.rng.IntN(len(list))]]
	if w.rng.IntN(3) == 0 {
		n.d.format()
		n.d.super = super{}
		n.full, n.gone = "the pool is blank", true
		w.count("live members' pools lost")
	}
	w.lost, w.unproven = w.lost.With(n.id), w.rng.IntN(2) == 0
	w.count("live members lost")
}

// order gives n the order to start cold without who is lost, and lets the lost
// one come back when that has been done.
func (w *world) order(n *node) {
	if w.lost == 0 {
		return
	}
	if w.reg.ColdSet()&w.lost == 0 {
		w.count("lost members that come back")
		w.lost = 0
		return
	}
	if !n.up || n.served {
		return
	}
	n.learn()
	switch err := n.m.Force(rejoin.Forced{Epoch: w.reg.Epoch, Without: w.lost}); {
	case err == nil:
		w.count("orders taken")
	case !errors.Is(err, rejoin.ErrForced):
		w.fail("node %d: %v", n.id, err)
	default:
		w.count("orders refused: " + reason(err.Error()))
	}
}

// reason is a refusal without its numbers.
func reason(s string) string {
	s = strings.TrimPrefix(s, rejoin.ErrForced.Error()+": ")
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, s)
}

// losesOnly checks what an order has made of the view: nobody is left out who
// was not lost, and what is left out counts for nothing.
func (w *world) losesOnly(was, cold *proto.View) {
	left := was.ColdSet() &^ cold.Shadow
	if left&^w.lost != 0 {
		w.fail("cold view %d goes without nodes %v, lost are %v", cold.Epoch, left, w.lost)
	}
	if left != 0 {
		w.count("cold starts forced")
	}
}
