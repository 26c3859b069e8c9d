//go:build verbs

package verbs

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func logOf(e *Endpoint) *bytes.Buffer {
	var b bytes.Buffer
	e.log = slog.New(slog.NewTextHandler(&b, nil))
	return &b
}

// What ends a link, or all of them, is said once with what to do, and counted
// where a node's status shows it.
func TestEndsAreSaidAndCounted(t *testing.T) {
	e := &Endpoint{}
	log := logOf(e)
	l := &link{owner: e, peer: 2, incarnation: 7}
	e.peers[2], e.attached = l, 1<<2
	e.cut(l, "because of this test")
	for range 100 { // nothing of it is looked at again
		e.look(l)
		e.Poll()
	}
	for range 100 {
		e.queueFailed(errors.New("the queue's error"))
	}
	for _, x := range []string{"link cut", "because of this test", "restart that node", "peer=2", "incarnation=7", "completion queue failed", "the queue's error"} {
		if strings.Count(log.String(), x) != 1 {
			t.Errorf("%q is in the log %d times: %s", x, strings.Count(log.String(), x), log)
		}
	}
	e.counts.GivenUp = 4
	got := map[string]uint64{}
	e.Connections(func(name string, n uint64) { got[name] = n })
	for name, want := range map[string]uint64{"links_cut": 1, "lanes_given_up": 4, "queue_errors": 100} {
		if n, ok := got[name]; !ok || n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
}

// Lanes that keep breaking by this node's own fault are opened anew for as long
// as the link is attached, and not at once.
func TestOwnFaultsAreMendedAtTheLongestPause(t *testing.T) {
	p := newPair(t)
	p.send(3)
	if !p.arrived() {
		return
	}
	log := logOf(p.a)
	good := p.a.stagingMR.LKey
	p.a.stagingMR.LKey ^= 0x5a00 // a key that is not ours
	p.send(3)
	if !p.until("lanes break by this node's fault", func() bool { return p.a.peers[1].faults > localFaultsMax }) {
		return
	}
	p.a.stagingMR.LKey = good
	if c := p.a.Counters(); c.GivenUp == 0 || c.Remade < localFaultsMax {
		t.Errorf("%+v", c)
	}
	if n := strings.Count(log.String(), "this node's own fault"); n != 1 {
		t.Errorf("it is said %d times: %s", n, log)
	}
	if !p.arrived() {
		return
	}
	t.Logf("%d lanes broke, %d were opened anew at the longest pause, then all arrived", p.a.Counters().Broken, p.a.Counters().GivenUp)
}

// A lane that could not be given back is not said to be one that could not be
// stopped.
func TestWhatIsKeptIsSaid(t *testing.T) {
	e := &Endpoint{}
	log := logOf(e)
	e.kept(3, nil)
	e.noted(nil)
	if log.Len() != 0 {
		t.Error(log.String())
	}
	e.kept(3, errors.New("busy"))
	for _, x := range []string{"cannot give a lane back", "peer=3", "err=busy"} {
		if !strings.Contains(log.String(), x) || strings.Contains(log.String(), "into ERR") {
			t.Errorf("want %q: %s", x, log)
		}
	}
}
