package membership

import (
	"testing"
	"time"

	"healkv/dataplane/proto"
)

// begin is a new cluster of so many nodes, without faults and not yet started.
func begin(t *testing.T, nodes int, wait time.Duration) *world {
	for seed := uint64(0); seed < 1000; seed++ {
		w := newWorld(seed)
		if len(w.nodes) != nodes || w.wild || w.begins != nil {
			continue
		}
		w.calm, w.wait = true, wait*w.lease
		w.tick()
		t.Cleanup(func() {
			for _, m := range w.nodes {
				if m.up() {
					m.kill()
				}
			}
			for _, f := range w.failures {
				t.Error(f)
			}
		})
		return w
	}
	t.Fatalf("no seed with %d nodes", nodes)
	return nil
}

func (w *world) settles(leases int) bool {
	for range leases {
		w.run(w.lease)
		if w.settled() {
			return true
		}
	}
	return false
}

// A new cluster begins without the nodes that do not come, after a while and
// not before; they join it when they come, with nothing that counts, so that
// they are given a full copy.
func TestFirstViewWithoutOne(t *testing.T) {
	for _, nodes := range []int{3, 4, 5} {
		const wait = 4
		w := begin(t, nodes, wait)
		last := w.nodes[nodes-1]
		for _, m := range w.nodes[:nodes-1] {
			m.start()
		}
		w.run(wait * w.lease) // they find one another after the beginning
		if e := w.check.newest.View.Epoch; e != 0 {
			t.Fatalf("%d nodes: epoch %d while the missing one is waited for", nodes, e)
		}
		w.run(wait * w.lease)
		v := w.check.newest.View
		if v.Epoch != 1 || v.Live != w.set().Without(last.id) || v.Shadow != 0 {
			t.Fatalf("%d nodes: without one: %+v\n%s", nodes, v, w.status())
		}
		for _, m := range w.nodes[:nodes-1] {
			if !m.s.holder.ValidAt(m.p.Now()) {
				t.Errorf("%d nodes: node %d holds no lease", nodes, m.id)
			}
		}
		last.start()
		if !w.settles(20) || w.check.newest.View.Live != w.set() {
			t.Fatalf("%d nodes: the missing one does not join: %s", nodes, w.status())
		}
		shadow := false
		for e := proto.Epoch(2); e <= w.check.newest.View.Epoch; e++ {
			v := w.check.byEpoch[e]
			if v.Shadow.Has(last.id) {
				shadow = true
				if v.LiveUntil[last.id] != 0 {
					t.Errorf("%d nodes: it joins as one that was live until epoch %d", nodes, v.LiveUntil[last.id])
				}
			}
		}
		if !shadow {
			t.Errorf("%d nodes: it became live without being a shadow first", nodes)
		}
	}
}

// Where nobody says how long, all nodes are waited for.
func TestFirstViewWaitsForAll(t *testing.T) {
	w := begin(t, 3, 0)
	for _, m := range w.nodes[:2] {
		m.start()
	}
	w.run(100 * w.lease)
	if e := w.check.newest.View.Epoch; e != 0 {
		t.Fatalf("epoch %d without node 2", e)
	}
	w.nodes[2].start()
	if !w.settles(20) || w.check.byEpoch[1].Live != w.set() {
		t.Fatalf("%s", w.status())
	}
}

// A node that is there bars a first view without it while its pool is not new,
// and a minority of new nodes makes none.
func TestFirstViewBarred(t *testing.T) {
	for name, bar := range map[string]func(*machine){
		"used":   func(m *machine) { m.used = true },
		"asleep": func(m *machine) { m.asleep = true },
	} {
		w := begin(t, 5, 2)
		up := w.nodes[:4]
		if name == "asleep" {
			up = w.nodes[:3]
		}
		bar(up[len(up)-1])
		for _, m := range up {
			m.start()
		}
		w.run(20 * w.lease)
		if v := w.check.newest.View; v.Epoch != 0 {
			t.Errorf("%s: first view of %v", name, v.Live.Nodes(nil))
			continue
		}
		up[len(up)-1].end(true) // it goes: nobody has to be careful with it
		if name == "asleep" {
			continue
		}
		w.run(10 * w.lease)
		if v := w.check.newest.View; v.Epoch != 1 || v.Live != 0b111 {
			t.Errorf("%s: when it is gone: %+v\n%s", name, v, w.status())
		}
	}
}
