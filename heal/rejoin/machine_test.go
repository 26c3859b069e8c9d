package rejoin_test

import (
	"testing"

	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
)

func coldView() proto.View {
	v := proto.View{Epoch: 6, Configured: 3, Shadow: 3, Cold: true, Shards: 1}
	v.Incarnation[0], v.Incarnation[1] = 2, 2
	return v
}

// TestColdDoneBeforeView: the others' word may come before the view it is
// about, and it comes once.
func TestColdDoneBeforeView(t *testing.T) {
	for _, early := range []bool{true, false} {
		m := rejoin.New(rejoin.Config{Self: proto.Member{Node: 0, Incarnation: 2}})
		v := coldView()
		if early {
			m.ColdDone(1, 6)
		}
		m.SawView(&v)
		if !early {
			m.ColdDone(1, 6)
		}
		m.ColdDone(1, 5) // of a cold start that was cut off
		m.AllInstalled(6)
		m.Rolled()
		m.Flushed()
		m.ColdDone(0, 6)
		m.Reported()
		if a := m.Next(); a.Do != rejoin.PromoteCold || a.Epoch != 6 {
			t.Errorf("early %v: %+v", early, a)
		}
		// Another cold view: the old words count for nothing.
		v.Epoch = 7
		m.SawView(&v)
		m.AllInstalled(7)
		m.Flushed()
		m.ColdDone(0, 7)
		m.Reported()
		if a := m.Next(); a.Do != rejoin.Wait {
			t.Errorf("early %v: in the next cold view: %+v", early, a)
		}
	}
}

// TestColdMemberDied: a member's next life makes the others begin again, and
// their next lives repeat the cold start.
func TestColdMemberDied(t *testing.T) {
	m := rejoin.New(rejoin.Config{Self: proto.Member{Node: 0, Incarnation: 2}})
	v := coldView()
	m.SawView(&v)
	m.Connected(proto.Member{Node: 1, Incarnation: 3})
	if a := m.Next(); a.Do != rejoin.Again {
		t.Fatalf("%+v", a)
	}
	m = rejoin.New(rejoin.Config{Self: proto.Member{Node: 0, Incarnation: 3}})
	m.SawView(&v)
	m.Connected(proto.Member{Node: 1, Incarnation: 3})
	if a := m.Next(); a.Do != rejoin.ColdStart || a.Epoch != 6 {
		t.Fatalf("%+v", a)
	}
	if c := m.ColdView(); c.Shadow != 3 || c.Live != 0 || !c.Cold || c.Incarnation[0] != 3 || c.Incarnation[1] != 3 {
		t.Fatalf("%+v", c)
	}
}

// TestRemovedLifeNeverAsksAgain (J5).
func TestRemovedLifeNeverAsksAgain(t *testing.T) {
	m := rejoin.New(rejoin.Config{Self: proto.Member{Node: 2, Incarnation: 4}})
	v := proto.View{Epoch: 9, Configured: 7, Live: 3, Shards: 1}
	v.Incarnation = [proto.NodesMax]proto.Incarnation{1, 1, 3}
	v.LiveUntil[2] = 5
	m.SawView(&v)
	m.Connected(proto.Member{Node: 0, Incarnation: 1})
	m.Connected(proto.Member{Node: 1, Incarnation: 1})
	if a := m.Next(); a.Do != rejoin.Admit {
		t.Fatalf("%+v", a)
	}
	v.Epoch, v.Incarnation[2] = 11, 4 // admitted in view 10, dropped in 11
	m.SawView(&v)
	if a := m.Next(); a.Do != rejoin.Again {
		t.Fatalf("%+v", a)
	}
}
