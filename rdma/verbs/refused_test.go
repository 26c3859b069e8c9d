//go:build verbs

package verbs

import (
	"errors"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"healkv/cgo/ibverbs"
)

// A request that the device did not take is not taken for posted.
func TestRefusedPostIsAnError(t *testing.T) {
	all := make([]ibverbs.Request, receiveDepth)
	if err := postedAll(all); err != nil {
		t.Error(err)
	}
	for k := range all {
		all[k].Err = uint32(syscall.ENOMEM)
		if err := postedAll(all); !errors.Is(err, unix.ENOMEM) {
			t.Errorf("request %d: %v", k, err)
		}
		all[k].Err = 0
	}
}

// A lane whose receive the device does not take cannot be rung on: another one
// is asked for. The device is asked by way of one more receive than it has room
// for.
func TestRefusedReceiveLosesTheLane(t *testing.T) {
	p := newPair(t)
	p.send(3)
	if !p.arrived() {
		return
	}
	log := logOf(p.b)
	n, before := p.b.peers[0].in, p.b.Counters()
	for range 100 * receiveDepth { // a device may have more room than was asked for
		p.b.requests, p.b.owners = append(p.b.requests, n.receive()), append(p.b.owners, p.b.peers[0])
		p.b.cross()
		if p.b.Counters().Refused > before.Refused {
			break
		}
	}
	after := p.b.Counters()
	if after.Refused != before.Refused+1 || after.LostIn != before.LostIn+1 {
		t.Fatalf("%+v; before %+v", after, before)
	}
	p.send(3)
	if !p.until("the peer opens another lane", func() bool { return p.b.peers[0].in != n }) || !p.arrived() {
		return
	}
	t.Log(log.String())
}
