package membership

import (
	"context"
	"fmt"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/membership/grant"
	"healkv/heal/membership/register"
)

// copied is an acceptor's file as it was once.
type copied struct {
	bytes [2 * slotBytes]byte
	turn  uint64
}

func (m *machine) copyFile() copied {
	c := copied{bytes: m.disk.medium}
	if a, _, err := loadState(&disk{cache: c.bytes}, "copy", testCluster, m.id); err == nil {
		c.turn = a.turn
	}
	return c
}

// known is how many others have it in their files that this one was written
// later. A restart forgets what was only heard.
func (m *machine) known(c copied) (n int) {
	for _, o := range m.w.nodes {
		if o == m {
			continue
		}
		if a, _, err := loadState(&disk{cache: o.disk.medium}, "other", testCluster, o.id); err == nil && a.turns[m.id] > c.turn {
			n++
		}
	}
	return n
}

// putBack ends the process and brings the copy back.
func (m *machine) putBack(c copied) {
	m.end(false)
	m.disk.cache, m.disk.medium, m.disk.dirty = c.bytes, c.bytes, nil
	m.returned = m.w.sim.Now()
	m.w.check.promised[m.id] = register.Ballot{} // that it goes back is the fault
	m.w.say("node %d: file of write %d is back", m.id, c.turn)
}

// olderFiles brings older files back, one at a time. It does without draws, so
// that other seeds stay what they were.
func (w *world) olderFiles() {
	if w.seed%3 != 1 || len(w.nodes) < 3 {
		return
	}
	m := w.nodes[w.seed/3%uint64(len(w.nodes))]
	for i := range 3 {
		var c copied
		at := w.lease/2 + w.lease*3*time.Duration(i)
		w.sim.At(at, func() { c = m.copyFile() })
		w.sim.At(at+4*w.lease, func() {
			switch {
			case w.calm || m.returned != 0 || c.turn == 0:
			case m.known(c) < len(w.nodes)-register.Majority(w.set())+1: // any that is asked may not know
				w.mark("older file not brought back, too few know")
			default:
				w.mark("older acceptor file")
				m.putBack(c)
				m.start()
			}
		})
	}
}

// voted looks at a vote that is about to be given. V9.
func (m *machine) voted(j *voteJSON) {
	if m.returned == 0 || j.Kind != register.Promise && j.Kind != register.Accepted {
		return
	}
	w := m.w
	for b, a := range w.check.accepted {
		if w.asked[b] > m.returned && a.by.Without(m.id).Count() >= register.Majority(w.set()) && b.Compare(m.s.acceptor.Promised) <= 0 {
			m.returned = 0
			w.mark("older acceptor file caught up")
			return
		}
	}
	w.fail("V9: node %d votes with an older file, and the others have decided nothing without it since", m.id)
}

// older is a cluster that was settled, wrote more, and has node 2's file back as
// it was before. Node 1 is down; nodes that restart have forgotten what they only
// heard.
func older(t *testing.T, restart bool) *world {
	w := begin(t, 3, 0)
	for _, m := range w.nodes {
		m.start()
	}
	if !w.settles(20) {
		t.Fatal(w.status())
	}
	c := w.nodes[2].copyFile()
	for range 3 {
		w.updated(t, w.nodes[0])
	}
	w.run(w.lease)
	if n := w.nodes[2].known(c); n != 2 {
		t.Fatalf("%d others know", n)
	}
	w.nodes[1].end(true)
	w.nodes[2].putBack(c)
	if restart {
		w.nodes[0].end(true)
		w.nodes[0].start()
	}
	w.nodes[2].start()
	w.run(4 * w.lease)
	return w
}

func (w *world) updated(t *testing.T, m *machine) {
	done := false
	m.p.Go(func() {
		done = m.do("update", func(ctx context.Context) error {
			_, err := m.s.Update(ctx, func(v *proto.View) error { v.Issued[m.id]++; return nil })
			return err
		}) == nil
	})
	w.run(2 * w.lease)
	if !done {
		t.Fatal("no update: " + w.status())
	}
}

// With one other of three, an acceptor with an older file neither votes nor grants
// leases, and says so; restarts change nothing; and when all others are there it
// votes again.
func TestOlderFile(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("others restart ", restart), func(t *testing.T) {
			w := older(t, restart)
			m := w.nodes[2]
			silent := func(when string) {
				t.Helper()
				st := m.s.Status()
				if st.Voting || st.Acceptor == "" {
					t.Fatalf("%s: voting %v, %q", when, st.Voting, st.Acceptor)
				}
				m.s.mu.Lock()
				a := m.s.grantLocked(m.s.durable.Value.View.Member(0), m.p.Now())
				m.s.mu.Unlock()
				if a != grant.NotLive {
					t.Errorf("%s: asked for a lease: %v", when, a)
				}
				if f, _, err := loadState(&disk{cache: m.disk.medium}, "file", testCluster, 2); err != nil || !f.older || f.turn <= m.s.turns[2] {
					t.Errorf("%s: file: %+v, %v", when, f, err)
				}
			}
			silent("at first")
			if w.marks["told of an older file"] != 1 {
				t.Errorf("told %d times", w.marks["told of an older file"])
			}
			// A restart, after which nobody says anything any more.
			m.end(false)
			w.nodes[0].end(true)
			m.start()
			w.run(2 * w.lease)
			silent("after a restart")
			w.nodes[0].start()
			w.run(4 * w.lease)
			silent("with one other")
			w.nodes[1].start()
			if !w.settles(40) {
				t.Fatalf("not back: %s", w.status())
			}
			st := m.s.Status()
			if f, _, err := loadState(&disk{cache: m.disk.medium}, "file", testCluster, 2); err != nil || f.older || !st.Voting || st.Acceptor != "" {
				t.Errorf("afterwards: %+v, %v, %+v", f, err, st)
			}
			w.nodes[1].end(true) // it is needed again
			w.updated(t, w.nodes[0])
			if m.returned != 0 {
				t.Error("it never voted")
			}
		})
	}
}
