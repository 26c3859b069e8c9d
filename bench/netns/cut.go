package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Unplug pulls a host's cable at the switch: its carrier goes.
func (w *Network) Unplug(i int) error {
	w.note(i, true)
	return w.sw("link", "set", port(i), "down")
}

// Down takes a host's own interface down: its routes go.
func (w *Network) Down(i int) error {
	w.note(i, true)
	return w.at(i, "link", "set", "eth0", "down")
}

// Drop loses all that one host sends to another.
func (w *Network) Drop(from, to int) error {
	w.mu.Lock()
	w.drops[[2]int{from, to}] = true
	w.mu.Unlock()
	return w.at(from, "neighbour", "replace", Address(to), "lladdr", nobody, "nud", "permanent", "dev", "eth0")
}

// Heal ends every cut, every drop and every delay.
func (w *Network) Heal() error {
	var errs []error
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, slow := range w.slow {
		if slow {
			w.slow[i] = false
			for _, end := range w.ends(i) {
				errs = append(errs, command("tc", "-n", end[0], "qdisc", "del", "dev", end[1], "root"))
			}
		}
	}
	for i, cut := range w.cut {
		if cut {
			w.cut[i] = false
			errs = append(errs, w.sw("link", "set", port(i), "up"), w.at(i, "link", "set", "eth0", "up"))
		}
	}
	for d := range w.drops {
		delete(w.drops, d)
		// Deleting it lets the next packet ask for the true one.
		errs = append(errs, w.at(d[0], "neighbour", "del", Address(d[1]), "dev", "eth0"))
	}
	return errors.Join(errs...)
}

func (w *Network) note(i int, cut bool) {
	w.mu.Lock()
	w.cut[i] = cut
	w.mu.Unlock()
}

// ends are the two interfaces of a host's cable, with their namespaces.
func (w *Network) ends(i int) [2][2]string {
	return [2][2]string{{w.name("sw"), port(i)}, {w.name(i), "eth0"}}
}

// Slow has netem treat what a host sends and what is sent to it, until Heal, each
// way by itself: "delay", "5ms", "1ms", "loss", "1%". ErrMissing where there is
// no tc or no netem.
func (w *Network) Slow(i int, netem ...string) error {
	if _, err := exec.LookPath("tc"); err != nil {
		return fmt.Errorf("%w: no program tc: apt-get install iproute2", ErrMissing)
	}
	for _, end := range w.ends(i) {
		args := append([]string{"-n", end[0], "qdisc", "replace", "dev", end[1], "root", "netem"}, netem...)
		if err := command("tc", args...); err != nil {
			return fmt.Errorf("%w: no netem in this kernel (the lab machine has it): %w", ErrMissing, err)
		}
	}
	w.mu.Lock()
	w.slow[i] = true
	w.mu.Unlock()
	return nil
}

// reachPatience bounds how long the network may take to become what it should be.
const reachPatience = 10 * time.Second

const probePort = 9

func (w *Network) openProbe(h *Host) error {
	return h.Inside(func() error {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: probePort})
		if err != nil {
			return fmt.Errorf("netns: %w", err)
		}
		w.probes = append(w.probes, c)
		return nil
	})
}

// Cut is how many ordered pairs of hosts cannot reach one another by now, if all
// is as it was asked for; Outside counts.
func (w *Network) Cut() (n int) {
	for i := range w.hosts {
		for j := range w.hosts {
			if !w.open(i, j) {
				n++
			}
		}
	}
	return n
}

// open says whether packets should get from one host to another.
func (w *Network) open(from, to int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return from == to || !w.cut[from] && !w.cut[to] && !w.drops[[2]int{from, to}]
}

// AwaitReach waits until datagrams between all hosts get through where they
// should and nowhere else. ErrReach.
func (w *Network) AwaitReach() error { return w.awaitReach(reachPatience) }

func (w *Network) awaitReach(patience time.Duration) error {
	wrong := []string{"not looked"}
	for until := time.Now().Add(patience); len(wrong) > 0; {
		if time.Now().After(until) {
			return fmt.Errorf("%w: after %v %s", ErrReach, patience, strings.Join(wrong, ", "))
		}
		got, err := w.reach()
		if err != nil {
			return err
		}
		wrong = wrong[:0]
		for i := range w.hosts {
			for j := range w.hosts {
				if open := w.open(i, j); got[i][j] != open && i != j {
					wrong = append(wrong, fmt.Sprintf("%d to %d: %t, want %t", i, j, got[i][j], open))
				}
			}
		}
	}
	return nil
}

// probeTime is how long a datagram may take where nothing is slowed.
const probeTime = 150 * time.Millisecond

// reach sends from everybody to everybody and says what arrived: of from, to.
func (w *Network) reach() ([][]bool, error) {
	w.mu.Lock()
	w.round++
	round := w.round
	w.mu.Unlock()
	for i, p := range w.probes {
		for j := range w.probes {
			// An error says that it did not get through, which shows anyway.
			_, _ = p.WriteToUDP([]byte{round, byte(i)}, &net.UDPAddr{IP: net.ParseIP(Address(j)), Port: probePort})
		}
	}
	got := make([][]bool, hostsMax+1)
	for i := range got {
		got[i] = make([]bool, len(w.hosts))
	}
	errs := make([]error, len(w.hosts))
	var wg sync.WaitGroup
	until := time.Now().Add(probeTime)
	for j, p := range w.probes {
		wg.Go(func() { errs[j] = hear(p, round, until, func(from int) { got[from][j] = true }) })
	}
	wg.Wait()
	return got, errors.Join(errs...)
}

// hear reports from whom datagrams of a round come, until a time.
func hear(p *net.UDPConn, round byte, until time.Time, heard func(from int)) error {
	if err := p.SetReadDeadline(until); err != nil {
		return err
	}
	for {
		var b [2]byte
		n, _, err := p.ReadFromUDP(b[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err == nil && n == 2 && b[0] == round && b[1] < hostsMax+1:
			heard(int(b[1]))
		}
	}
}
