package simulation

import "time"

// later lets the drain of a flush run beside its worker (pmem.HeapMedium.Later):
// it ends when this says so, soon, late, or, if its machine dies first, never.
func (d *medium) later(job func()) {
	m, w := d.m, d.m.w
	p, took := m.p, int64(0)
	switch x := w.rng.IntN(16); {
	case x < 8: // within about a turn
		took = w.rng.Int64N(int64(w.o.TurnMax) * 1000)
	case x < 15:
		took = w.rng.Int64N(int64(w.o.TurnMax) * 16_000)
	default:
		took = w.rng.Int64N(int64(w.o.Lease) / 16)
	}
	if m.slowFlush > 0 {
		if m.slowsFlush {
			m.slowsFlush = false
			w.took(doSlowDisk)
		}
		took += w.rng.Int64N(m.slowFlush)
	}
	d.flushes++
	d.beside = true
	this := d.flushes
	w.count("flushes beside a worker")
	w.sim.At(time.Duration(took), func() {
		// What a paused process has asked of its disk is done all the same. One
		// that somebody waited for is over, and its pool may be closed by now.
		if p.Dead() || m.p != p || w.ended || !d.beside || d.flushes != this {
			return
		}
		d.beside = false
		if w.land(job) {
			p.pollAll()
			m.crash(m.dieByPower)
			m.restart(m.back - w.sim.Now())
		}
	})
}

// land ends a flush. True: the machine died in it.
func (w *world) land(job func()) (dead bool) {
	w.landing = true
	defer func() {
		w.landing = false
		if r := recover(); r != nil {
			if _, dead = r.(died); !dead {
				panic(r)
			}
		}
	}()
	job()
	return false
}

// downWithFlushes counts flushes that never end.
func (m *machine) downWithFlushes(power int) {
	for _, d := range m.pools {
		if d.beside {
			d.beside = false
			if power >= 0 {
				m.w.count("power losses with a flush beside a worker")
			} else {
				m.w.count("process crashes with a flush beside a worker")
			}
		}
	}
}
