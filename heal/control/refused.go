package control

import (
	"errors"
	"net"
	"syscall"
	"time"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// A connection that is refused says that nobody listens at an address. Where
// it was connected before, that tells of the process which listened there: it
// has ended, or closed its listener, which it does after it has stopped serving.
// But a firewall may refuse in its name, an address may have moved, and a full
// backlog refuses if tcp_abort_on_overflow is set: so nothing follows from
// it by itself. PeerRefused is for those who were told to trust it (hazard H37).
const (
	refusalsMin  = 3                // in a row, and then each: PeerRefused once
	refusalsFast = 20               // of them, a short time apart: a dying process closes its sockets one after the other
	refusalPause = time.Millisecond // between these
)

// refusals is what a link knows of an address that refuses it. Its goroutine's.
type refusals struct {
	life  proto.Member // that was connected last; incarnation 0: none
	at    string       // where it was
	count int          // in a row
	told  bool
}

// connectedTo begins anew: that life is there.
func (r *refusals) connectedTo(m proto.Member, at string) { *r = refusals{life: m, at: at} }

// dialled takes in how an attempt has ended; again: the next one may be soon.
func (l *link) dialled(err error) (again bool) {
	r := &l.refusals
	if r.life.Incarnation == 0 {
		return false
	}
	if !refusedAt(err, r.at) {
		r.count = 0
		return false
	}
	r.count++
	enough := refusalsMin
	if plant.Is(plant.CtlRefused) {
		enough = 1
	}
	if r.count >= enough && !r.told && l.s.overFor(r.life) {
		r.told = true
		l.s.stats.refusals.Add(1)
		l.s.emit(Event{PeerRefused, r.life, 0})
	}
	return !r.told && r.count < refusalsFast
}

// refusedAt reports whether a dial was refused at that address.
func refusedAt(err error, at string) bool {
	var d *net.OpError
	return errors.As(err, &d) && d.Op == "dial" && errors.Is(err, syscall.ECONNREFUSED) && d.Addr != nil && d.Addr.String() == at
}

// overFor reports whether nothing speaks against the end of that life: nobody of
// its node is connected, no later life has spoken.
func (s *Server) overFor(m proto.Member) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (len(s.from[m.Node]) == 0 || plant.Is(plant.CtlRefusedIn)) && s.newest[m.Node] == m.Incarnation
}
