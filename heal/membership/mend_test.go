package membership

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"healkv/heal/membership/register"
)

// badDisk fails every flush while it is told to.
type badDisk struct {
	Storage
	bad    atomic.Bool
	writes atomic.Int64 // since it is good again
}

func (d *badDisk) WriteAt(b []byte, at int64) (int, error) {
	if !d.bad.Load() {
		d.writes.Add(1)
	}
	return d.Storage.WriteAt(b, at)
}

func (d *badDisk) Sync() error {
	if d.bad.Load() {
		return errors.New("input/output error")
	}
	return d.Storage.Sync()
}

// An acceptor whose file cannot be written is silent, whatever it is asked and
// however often; the others go on. When the disk works again it writes its file
// anew by itself, both slots, and votes.
func TestFileIsMended(t *testing.T) {
	c := up(t, 3, 200*time.Millisecond)
	s := c.nodes[2].s
	s.takeDisk()
	d := &badDisk{Storage: s.file.f}
	s.file.f = d
	s.leaveDisk()
	d.bad.Store(true)
	m := register.Message{Kind: register.Prepare, From: 1, To: 2, Ballot: register.Ballot{Round: 1 << 30, Node: 1, Life: 7}}
	for i := range 3 { // the same again: nothing in memory changes then
		if a := s.vote(patience(t), &m); a.Kind != register.Refuse || a.Why != register.Silent {
			t.Errorf("vote %d with a disk that fails: %+v", i, a)
		}
	}
	if st := s.Status(); st.Stopped == "" || st.Voting {
		t.Errorf("status with a disk that fails: stopped %q, voting %v", st.Stopped, st.Voting)
	}
	for range 2 { // the others are a majority
		if _, err := c.nodes[0].s.SameMembers(patience(t), c.nodes[0].s.Current().Epoch); err != nil {
			t.Error("beside an acceptor that failed:", err)
		}
	}
	d.writes.Store(0)
	d.bad.Store(false)
	until(t, "it votes again", func() bool { return s.Status().Stopped == "" })
	if n := d.writes.Load(); n < 2 {
		t.Errorf("%d writes since the disk works, want both slots", n)
	}
	if s.Status().Counts.Mended != 1 {
		t.Errorf("counted %d", s.Status().Counts.Mended)
	}
	m.Ballot.Round++
	if a := s.vote(patience(t), &m); a.Kind != register.Promise {
		t.Errorf("a vote afterwards: %+v", a)
	}
	s.takeDisk()
	defer s.leaveDisk()
	b := make([]byte, 2*slotBytes)
	if _, err := d.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		_, j, err := decodeSlot(b[i*slotBytes:][:slotBytes])
		if st, err2 := j.state(); err != nil || err2 != nil || st.Promised.Round < 1<<30 {
			t.Errorf("slot %d: round %d, %v, %v", i, st.Promised.Round, err, err2)
		}
	}
}
