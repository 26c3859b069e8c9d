package control

import (
	"crypto/x509"
	"fmt"
	"math"
	"net"
	"time"

	"healkv/dataplane/plant"
	"healkv/heal/identity"
)

// Certificates are looked after while the server runs: new files are taken into
// use at once, and what is connected is checked again.
const (
	lookEvery  = 2 * time.Second        // at the files
	checkEvery = time.Minute            // what is connected, besides after each change of the files
	renewGap   = 200 * time.Millisecond // between two links that are dialled anew
	drainMost  = time.Second            // for answers on a connection that has been replaced
	drainLeast = 20 * time.Millisecond  // for who has just been given it
)

// expiresSoon is what a certificate has left when that is said, once each.
var expiresSoon = []time.Duration{30 * 24 * time.Hour, 7 * 24 * time.Hour}

// warnings remembers what was said of which certificate's end.
type warnings struct {
	end  time.Time
	said int // of expiresSoon
}

// due tells whether something is to be said of a certificate that ends then.
func (w *warnings) due(end, now time.Time) bool {
	if !w.end.Equal(end) {
		*w = warnings{end: end}
	}
	was := w.said
	for w.said < len(expiresSoon) && end.Sub(now) < expiresSoon[w.said] {
		w.said++
	}
	return w.said > was
}

// keeper is of the certificates; nil where there are none.
func (s *Server) keeper() *identity.Keeper {
	if t, ok := s.wire.(*tcpTransport); ok {
		return t.keep
	}
	return nil
}

// Certificate tells of this node's certificate; ok is false where none is
// needed.
func (s *Server) Certificate() (status identity.Status, ok bool) {
	k := s.keeper()
	if k == nil {
		return identity.Status{}, false
	}
	return k.Status(), true
}

// certificates is the goroutine that looks after them.
func (s *Server) certificates(k *identity.Keeper) {
	look := s.cfg.TCP.Look
	if look == 0 {
		look = lookEvery
	}
	t := time.NewTicker(look)
	defer t.Stop()
	checked := s.now()
	var warned warnings
	last, _ := k.Present()
	for {
		select {
		case <-t.C:
		case <-s.look:
		case <-s.ctx.Done():
			return
		}
		// The keeper says what is wrong, and shows it in its status. A handshake may
		// have found new files before us.
		own, err := k.Present()
		changed := err == nil && own != last
		if changed {
			last = own
			for _, l := range s.links {
				if l != nil {
					l.behind = true
				}
			}
		}
		if err == nil {
			s.renewLinks()
		}
		if changed {
			if f := s.cfg.TCP.Renewed; f != nil && s.ctx.Err() == nil {
				f()
			}
		}
		now := s.now()
		if changed || now.Sub(checked) >= checkEvery {
			checked = now
			s.checkConnected(k, now)
		}
		if st := k.Status(); warned.due(st.NotAfter, now) {
			s.log.Warn("control: this node's certificate expires soon: issue a new one, with `node certs` for instance",
				"not_after", st.NotAfter, "days_left", math.Floor(st.DaysLeft(now)))
			if f := s.cfg.TCP.Expires; f != nil {
				f(st.NotAfter, st.DaysLeft(now))
			}
		}
	}
}

// Renew has the certificate files looked at now, and not when it is time. Where
// they have changed, links are dialled anew; it does not wait for that.
func (s *Server) Renew() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// renewLinks dials every peer again that is connected by certificates from
// before, one after the other. The connection before serves until the new one
// does, and until what was asked on it is answered: nobody notices. Where none
// can be made it is tried at the next look: the peer may not have its new files
// yet, and what is connected is cut when its certificate expires.
func (s *Server) renewLinks() {
	for _, l := range s.links {
		if l == nil || !l.behind {
			continue
		}
		renewed, err := l.renew()
		if err != nil {
			s.refuse(fmt.Sprint("renew ", l.node), "control: a link cannot be made anew with the present certificates; it stays as it is, and is tried again", "node", l.node, "err", err)
			continue
		}
		l.behind = false
		if !renewed {
			continue
		}
		if !s.pause(renewGap) {
			return
		}
	}
}

// pause is false if the server has ended.
func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// renew replaces the link's connection by a new one. False: it had none, or that
// has ended meanwhile. An error: none can be made; then what is connected stays,
// as far as it is trusted.
func (l *link) renew() (renewed bool, err error) {
	l.mu.Lock()
	old := l.up
	l.mu.Unlock()
	if old == nil {
		return false, nil
	}
	if plant.Is(plant.CtlBreak) {
		old.c.Close()
		l.s.stats.renewed.Add(1)
		return true, nil
	}
	up, err := l.reach()
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	if l.closed || l.up != old { // it has ended meanwhile, and is being dialled already
		l.mu.Unlock()
		up.c.Close()
		return false, nil
	}
	l.up = up
	l.mu.Unlock()
	l.s.stats.renewed.Add(1)
	l.serve(up)
	began := time.Now()
	for waited := time.Duration(0); waited < drainMost && (waited < drainLeast || old.busy()); waited = time.Since(began) {
		if !l.s.pause(drainLeast / 4) {
			break
		}
	}
	old.c.Close()
	return true, nil
}

// busy tells whether something is asked and not answered, or not even sent.
func (u *session) busy() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.waiting) > 0 || len(u.queue) > 0
}

// shown is a connection and whose certificates the other end has shown on it.
type shown struct {
	raw   net.Conn
	chain []*x509.Certificate
	whose string
}

// checkConnected cuts the connections of those whose certificate has expired or
// is not signed by a present authority any more. They lose what goes over them,
// then their lease, then their place.
func (s *Server) checkConnected(k *identity.Keeper, now time.Time) {
	own, err := k.Present()
	if err != nil || plant.Is(plant.CtlAgain) {
		return // ours is the one that will not do: said by the keeper
	}
	for _, c := range s.connected() {
		if err := own.Still(c.chain, now); err != nil {
			s.wire.(*tcpTransport).counted(err)
			s.refuse("still"+c.whose, "control: cut a connection: its certificate is not good any more", "node", c.whose, "err", err)
			c.raw.Close()
		}
	}
}

// connected lists all that have proved who they are.
func (s *Server) connected() (all []shown) {
	for n, l := range s.links {
		if l == nil {
			continue
		}
		l.mu.Lock()
		if l.up != nil {
			all = append(all, shown{l.up.c.raw, l.up.c.chain, fmt.Sprint(n)})
		}
		l.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.from {
		for _, c := range s.from[n] {
			all = append(all, shown{c.raw, c.chain, fmt.Sprint(n)})
		}
	}
	return all
}
