package rejoin_test

import (
	"strings"
	"testing"

	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
)

const second = int64(1e9)

// TestBackoff: the first tries are free, then each waits about twice as long,
// up to thirty leases.
func TestBackoff(t *testing.T) {
	for k, want := range []int64{0, 0, 50e6, 100e6, 200e6, 400e6, 800e6, 1600e6, 3200e6, 6400e6, 12800e6, 25600e6, 30 * second, 30 * second} {
		low, high := rejoin.Backoff(uint8(k), 0, second), rejoin.Backoff(uint8(k), ^uint64(0), second)
		if low != want-want/4 || high < want+want/4-1 || high > want+want/4+1 {
			t.Errorf("after %d failures: %d to %d, want %d and a quarter around it", k, low, high, want)
		}
	}
	if w := rejoin.Backoff(255, 0, 60*second); w != 60*30*second*3/4 {
		t.Errorf("after all the failures there are: %d", w)
	}
	if w := rejoin.Backoff(200, 1, 0); w != 0 {
		t.Errorf("without a lease: %d", w)
	}
}

// TestBacksOff: the wait comes after the hellos and before the admission, and
// counts from the begin of the life.
func TestBacksOff(t *testing.T) {
	m, v := joining(rejoin.Config{Lease: second})
	v.Epoch, v.Failed[3] = 7, 6 // 800 ms, less a quarter
	m.SawView(&v)
	m.Now(5 * second)
	expect(t, "nobody met", m, rejoin.Action{Do: rejoin.Connect, Nodes: 0b0111})
	meet(m, &v)
	if a := m.Next(); a.Do != rejoin.Later || !strings.Contains(a.Why, "6 lives") {
		t.Fatalf("met at once: %+v", a)
	}
	m.Now(5*second + 599e6)
	if a := m.Next(); a.Do != rejoin.Later {
		t.Fatalf("too soon: %+v", a)
	}
	m.Now(5*second + 600e6)
	expect(t, "it has waited", m, rejoin.Action{Do: rejoin.Admit})
	// Who was live since, or died but once, does not wait.
	v.Epoch, v.Failed[3] = 8, 1
	m, _ = joining(rejoin.Config{Lease: second})
	m.SawView(&v)
	meet(m, &v)
	m.Now(second)
	expect(t, "it failed once", m, rejoin.Action{Do: rejoin.Admit})
}

// TestStormOfShadows: a node that dies in every way back, each time as soon as
// it is admitted, takes the others a lease each time; in an hour that is less
// than a twentieth of the time.
func TestStormOfShadows(t *testing.T) {
	const hour = 3600 * second
	for _, lease := range []int64{second / 4, second, 3 * second} {
		v := proto.View{Epoch: 1, Configured: 0b111, Live: 0b011, Shards: 1}
		v.Incarnation = [proto.NodesMax]proto.Incarnation{1, 1}
		v.LiveUntil[2] = 1
		var now, stopped int64
		deaths := 0
		for life := proto.Incarnation(2); now < hour; life++ {
			self := proto.Member{Node: 2, Incarnation: life}
			m := rejoin.New(rejoin.Config{Self: self, Lease: lease, Random: uint64(life) * 0x9E3779B97F4A7C15})
			m.SawView(&v)
			m.Connected(v.Member(0))
			m.Connected(v.Member(1))
			for m.Now(now + 1); m.Next().Do == rejoin.Later; m.Now(now + 1) {
				now += second / 100
			}
			v = v.Admitted(self, false)
			now += lease // until its death is taken for one
			stopped += lease
			v = v.Without(0b100)
			deaths++
		}
		if stopped > hour/20 || deaths < 20 {
			t.Errorf("lease %d: %d deaths stopped the others for %d of %d", lease, deaths, stopped, hour)
		}
		t.Logf("lease %d ms: %d deaths, stopped for %d ms of %d s: %.1f %%", lease/1e6, deaths, stopped/1e6, hour/second, float64(stopped)*100/float64(hour))
	}
}

// TestHeldBack: who was demoted as slow waits a few leases outside, and goes all
// the way back but for the promotion, until nobody holds it back.
func TestHeldBack(t *testing.T) {
	const why = "was demoted as slow"
	m, v := joining(rejoin.Config{Lease: second})
	m.SawView(&v)
	meet(m, &v)
	m.HeldBack(why)
	m.Now(second)
	if a := m.Next(); a.Do != rejoin.Later || !strings.Contains(a.Why, why) {
		t.Fatalf("outside: %+v", a)
	}
	m.Now(second + rejoin.Backoff(6, 0, second))
	expect(t, "it has waited", m, rejoin.Action{Do: rejoin.Admit})
	v = admitted(m, v)
	m.AllInstalled(v.Epoch)
	b := m.Next()
	if b.Do != rejoin.Transfer {
		t.Fatalf("as shadow: %+v", b)
	}
	m.Transferred(b.Buddy, true, false)
	m.Rolled()
	m.Flushed()
	expect(t, "held back", m, rejoin.Action{Do: rejoin.Later, Why: why})
	m.HeldBack("")
	expect(t, "no more", m, rejoin.Action{Do: rejoin.Promote, Epoch: v.Epoch})
}
