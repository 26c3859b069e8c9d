package simulation

import (
	"healkv/dataplane/proto"
	"healkv/heal/control"
)

// refusalsMin is how many refusals in a row control.PeerRefused takes; there as
// here nobody of the node may be connected, and no later life have spoken.
const refusalsMin = 3

// trusts: a refused connection is trusted as proof of a death (H37). Where the
// kernel proves deaths nobody waits for that.
func (o *Options) trusts() bool {
	return o.TrustRefused || !o.OneHost && !o.NoProbes && o.Seed%8 == 4
}

// refusals is what a plane knows of an address at which it was connected.
type refusals struct {
	life  proto.Member // that was connected last; incarnation 0: none
	count int          // in a row
	told  bool
}

// dialled notes that a connection could not be made. It is refused if the
// machine at the other end runs and no process listens there; a cut link, a
// process that stands still and a machine without power do not answer.
func (pl *plane) dialled(m *machine) {
	w, r := pl.w, &pl.refused[m.id]
	if r.life.Incarnation == 0 {
		return
	}
	if m.up || m.dark || w.plane.cut[pl.id][m.id] || w.plane.cut[m.id][pl.id] {
		r.count = 0
		return
	}
	r.count++
	if r.count < refusalsMin || r.told || pl.newest[m.id] != r.life.Incarnation {
		return
	}
	r.told = true
	w.count("connections refused")
	pl.emit(control.Event{Kind: control.PeerRefused, Member: r.life})
	pl.p.poke()
}
