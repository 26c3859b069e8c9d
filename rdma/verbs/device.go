//go:build verbs

package verbs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"healkv/cgo/ibverbs"
	"healkv/rdma"
)

// device is an open device with what one endpoint made of it: its own
// protection domain and completion queue.
type device struct {
	chosen
	context  *ibverbs.Context
	pd       *ibverbs.PD
	channel  *ibverbs.Channel
	cq       *ibverbs.CQ
	gid      [16]byte
	lid      uint16
	mtu      int // bytes, of the paths
	class    int
	global   bool
	entries  int // of the completion queue
	ethernet bool

	// RDMA READs of recovery that may be under way at once on one queue pair.
	readsAsked, readsServed int
}

// queueEntries holds everything that all lanes can report at once: when they
// break, each request does.
func queueEntries(nodes int) int {
	return nodes*2*(sendDepth+lanesMax*receiveDepth) + completions
}

// openDevice finds and opens what the configuration names. ErrDevice with what
// is missing.
func openDevice(v rdma.Verbs, nodes int) (d *device, err error) {
	if v == (rdma.Verbs{}) {
		v.GIDIndex = -1
	}
	if v.MTU != 0 && ibverbs.MTUEnum(v.MTU) == 0 {
		return nil, fmt.Errorf("%w: path MTU of %d bytes: want 256, 512, 1024, 2048 or 4096", ErrDevice, v.MTU)
	}
	if v.TrafficClass < 0 || v.TrafficClass > 255 {
		return nil, fmt.Errorf("%w: traffic class %d: want 0 to 255", ErrDevice, v.TrafficClass)
	}
	all, err := Discover()
	if err != nil {
		return nil, err
	}
	d = &device{class: v.TrafficClass, entries: queueEntries(nodes)}
	if d.chosen, err = choose(v, all, netdevOf); err != nil {
		return nil, err
	}
	if d.file != "" {
		if err := unix.Access(d.file, unix.R_OK|unix.W_OK); err != nil {
			return nil, noAccess(d.device, d.file, err)
		}
	}
	if d.context, err = ibverbs.Open(d.device); err != nil {
		return nil, notOpened(d.device, err)
	}
	defer func(opened *device) { // d is nil by then
		if err != nil {
			opened.close()
		}
	}(d)
	if err := d.query(v); err != nil {
		return nil, err
	}
	if d.pd, err = d.context.AllocPD(); err == nil {
		if d.channel, err = d.context.CreateChannel(); err == nil {
			d.cq, err = d.context.CreateCQ(d.entries, d.channel)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrDevice, d.device, err)
	}
	return d, nil
}

func (d *device) query(v rdma.Verbs) error {
	p, err := d.context.Port(d.port)
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrDevice, d.device, err)
	}
	if !p.Active {
		return fmt.Errorf("%w %s: port %d is not active", ErrDevice, d.device, d.port)
	}
	d.lid, d.mtu, d.ethernet, d.global = p.LID, p.MTU, p.Ethernet, p.Ethernet
	if err := checkPathMTU(v.MTU, p.MTU, d.device, d.port); err != nil {
		return err
	}
	if v.MTU != 0 {
		d.mtu = v.MTU
	}
	if d.gid, err = d.context.GID(d.port, d.gidIndex); err != nil {
		return fmt.Errorf("%w %s: %w", ErrDevice, d.device, err)
	}
	a, err := d.context.Device()
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrDevice, d.device, err)
	}
	d.readsAsked, d.readsServed = min(a.ReadsOutMax, recoveryReads), min(a.ReadsMax, recoveryReads)
	if a.CompletionsMax < d.entries || a.WorkRequestsMax < sendDepth {
		return fmt.Errorf("%w %s: %d completions and %d work requests at most, want %d and %d", ErrDevice, d.device,
			a.CompletionsMax, a.WorkRequestsMax, d.entries, sendDepth)
	}
	return nil
}

// path is the way to a peer's end.
func (d *device) path(s *side) *ibverbs.Path {
	p := &ibverbs.Path{Port: d.port, MTU: d.mtu, QPN: s.QPN, PSN: s.PSN, Reads: readsMax, GIDIndex: d.gidIndex,
		TrafficClass: d.class, LID: s.LID, Global: d.global}
	copy(p.GID[:], s.GID)
	return p
}

// deviceName is the device's name, for the log.
func (e *Endpoint) deviceName() string {
	if e.dev == nil {
		return ""
	}
	return e.dev.device
}

// side is this end of a connection.
func (d *device) side(qp *ibverbs.QP, psn uint32) side {
	return side{QPN: qp.Num, PSN: psn, GID: d.gid[:], LID: d.lid, MTU: d.mtu}
}

// register is RegMR with an error that says what to do.
func (d *device) register(mem []byte, access int) (*ibverbs.MR, error) {
	mr, err := d.pd.RegMR(mem, access)
	if err != nil {
		var l unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l) != nil {
			l.Cur = unlimited
		}
		return nil, notRegistered(err, l.Cur)
	}
	return mr, nil
}

func (d *device) close() error {
	var errs []error
	if d.cq != nil {
		d.channel.Take()
		errs = append(errs, d.cq.Close())
	}
	if d.channel != nil {
		errs = append(errs, d.channel.Close())
	}
	if d.pd != nil {
		errs = append(errs, d.pd.Close())
	}
	return errors.Join(append(errs, d.context.Close())...)
}
