package load

import "healkv/bench/record"

// openWindow begins a window with nothing in it.
func (g *Generator) openWindow(index int64) {
	g.win = record.Window{Index: index, FirstWrite: -1, LastWrite: -1}
}

// turn closes the window if now is past it. Windows in which the generator did
// not get to run are left out; readers take them as empty.
func (g *Generator) turn(now int64) {
	index := now / record.WindowNanos
	if index <= g.win.Index {
		return
	}
	if err := g.closeWindow(); err != nil && g.err == nil {
		g.err = err
	}
	g.openWindow(index)
}

func (g *Generator) closeWindow() error {
	g.win.Backlog = uint32(min(g.backlog((g.win.Index+1)*record.WindowNanos), 1<<32-1))
	g.totals.Backlog = uint64(g.win.Backlog)
	g.publish()
	var err error
	if g.cfg.Records != nil {
		err = g.cfg.Records.Append(&g.win, &g.reads, &g.writes)
	}
	g.reads.Reset()
	g.writes.Reset()
	return err
}

// backlog is what fell due until a moment and is not completed.
func (g *Generator) backlog(until int64) uint64 {
	begun := uint64(len(g.slots) - len(g.free))
	if g.perTick == 0 || g.loading || g.stopping.Load() {
		return begun
	}
	due := uint64(float64((until-g.start)/g.tick+1) * g.perTick)
	if due <= g.n {
		return begun
	}
	return begun + due - g.n
}

// publish makes the totals visible: a copy a window, so that a reader of an older
// one is not disturbed.
func (g *Generator) publish() {
	t := g.totals
	g.published.Store(&t)
}
