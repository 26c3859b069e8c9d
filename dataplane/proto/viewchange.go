package proto

import "healkv/dataplane/plant"

// The changes that a view can go through. Whoever changes the register, and
// whoever models that, makes its views here.

// Admitted is the view with the life m as a shadow; an earlier life of its node
// leaves with it. full: m will be given a full copy, what it has counts for
// nothing (liveUntil 0).
func (v *View) Admitted(m Member, full bool) View {
	n := m.Node
	w := v.Next(v.Live.Without(n), v.Shadow.With(n))
	if v.Shadow.Has(n) && !v.Cold && v.Incarnation[n] != m.Incarnation {
		w.failed(n)
	}
	w.Incarnation[n] = m.Incarnation
	if full {
		w.LiveUntil[n] = 0
	}
	return w
}

// Promoted is the view with the shadow n live.
func (v *View) Promoted(n NodeID) View {
	return v.Next(v.Live.With(n), v.Shadow.Without(n))
}

// Without is the view without the members in gone.
func (v *View) Without(gone NodeSet) View {
	return v.Next(v.Live&^gone, v.Shadow&^gone)
}

// ColdSet is who counts in a cold start over v: the live members or, where a
// cold start was cut off, its members (protocol.md, "Cold start").
func (v *View) ColdSet() NodeSet {
	if v.Live == 0 && v.Cold {
		return v.Shadow
	}
	return v.Live
}

// ColdOf is the cold view over v: the members of set, in the given lives,
// become shadows of one another. Those in left are given up: what they hold
// counts for nothing when they come back (liveUntil 0), since what the others
// lose in this cold start must not come back with them.
func (v *View) ColdOf(set NodeSet, lives *[NodesMax]Incarnation, left NodeSet) View {
	w := v.Next(0, set)
	w.Cold = true
	w.Failed = v.Failed // no shadow of v is to blame for its end
	if v.Live != 0 {
		w.ColdAfter = v.Epoch // a cold start that is repeated is the same one
	}
	for n := range NodeID(NodesMax) {
		if set.Has(n) {
			w.Incarnation[n] = lives[n]
		}
		if left.Has(n) && !plant.Is(plant.ForcedLiveUntil) {
			w.LiveUntil[n] = 0
		}
	}
	return w
}

// ColdDone is the view after a cold one: all its members are live.
func (v *View) ColdDone() View { return v.Next(v.Shadow, 0) }
