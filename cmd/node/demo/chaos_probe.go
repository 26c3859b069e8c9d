package demo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"

	"healkv/bench/check"
	"healkv/bench/load"
	"healkv/bench/record"
)

// probesPerNode is how many reads come in at once when a paused node goes on:
// one for every watched key.
const probesPerNode = watchKeys

// probeClient numbers them, above the other clients outside.
const probeClient = outsideClient + 1<<12

// probe is a connection that waits for a node to be paused. What it asks then,
// shortly before the node goes on, is the first thing the node finds to do: with
// its lease long over it has old values, and must not give them away. A client
// that has been waiting since the pause began proves nothing: to it an old
// value is right.
type probe struct {
	resp    *resp
	key     uint32
	history *record.History
	busy    chan struct{} // holds one token
}

// openProbes connects them while the nodes serve: a connection that a paused
// node would have to accept first is answered too late.
func (o *outside) openProbes() error {
	for _, i := range o.x.k.all() {
		for n := range probesPerNode {
			path := filepath.Join(o.x.files, fmt.Sprintf("probe%d-%d.history", i, n))
			h, err := record.CreateHistory(path, record.HistoryHeader{Client: uint32(probeClient + i*probesPerNode + n)})
			if err != nil {
				return err
			}
			o.x.mu.Lock()
			o.x.history = append(o.x.history, path)
			o.x.mu.Unlock()
			o.probes = append(o.probes, &probe{resp: o.x.dial(i), key: uint32(n), history: h, busy: make(chan struct{}, 1)})
		}
	}
	return nil
}

// connect sees to it that a node's probes have a connection, asking for
// something that tells nothing.
func (o *outside) connect(nodes ...int) {
	for _, p := range o.of(nodes) {
		select {
		case p.busy <- struct{}{}:
			p.resp.do("PING")
			<-p.busy
		default: // waits for an answer of the last time
		}
	}
}

func (o *outside) of(nodes []int) (some []*probe) {
	for _, i := range nodes {
		some = append(some, o.probes[i*probesPerNode:][:probesPerNode]...)
	}
	return some
}

// ask sends every probe of the nodes its read. It returns when all are sent;
// the answers are awaited by others.
func (o *outside) ask(nodes ...int) {
	for _, p := range o.of(nodes) {
		select {
		case p.busy <- struct{}{}:
		default:
			continue
		}
		sent := make(chan struct{})
		o.done.Go(func() {
			o.fail(p.read(sent))
			<-p.busy
		})
		<-sent
	}
}

// read is one operation of the history.
func (p *probe) read(sent chan struct{}) error {
	err := p.history.Invoke(check.Read, p.key, check.Initial, record.Now())
	if err == nil && p.resp.conn != nil {
		err = p.resp.send("GET", string(load.AppendWatchKey(nil, p.key)))
	} else if err == nil {
		err = errNotSent
	}
	close(sent)
	answer := ""
	if err == nil {
		answer, err = p.resp.receive()
	}
	now := record.Now()
	value, outcome := uint64(check.Initial), check.Done
	switch {
	case err == nil:
		if len(answer) != 16 || binary.LittleEndian.Uint64([]byte(answer)) != ^binary.LittleEndian.Uint64([]byte(answer[8:])) {
			return fmt.Errorf("%w: watched key %d: %x", load.ErrWrongValue, p.key, answer)
		}
		value = binary.LittleEndian.Uint64([]byte(answer))
	case errors.Is(err, errNil):
	case errors.Is(err, errNotSent), errors.Is(err, errNoAnswer), strings.HasPrefix(err.Error(), "UNKNOWN"):
		outcome = check.Pending
	case strings.HasPrefix(err.Error(), "TRYAGAIN"):
		outcome = check.Rejected
	default:
		return fmt.Errorf("a read of watched key %d: %w", p.key, err)
	}
	return p.history.Return(check.Read, outcome, p.key, value, now)
}

func (o *outside) closeProbes() error {
	var errs []error
	for _, p := range o.probes {
		p.resp.close()
		errs = append(errs, p.history.Close())
	}
	return errors.Join(errs...)
}

// halt stops nodes, whose probes are connected by then.
func (x *chaos) halt(nodes ...int) error {
	for _, i := range nodes {
		if !x.halted[i] { // else it would never answer
			x.outside.connect(i)
		}
	}
	for _, i := range nodes {
		x.halted[i] = true
	}
	return x.signal(syscall.SIGSTOP, nodes...)
}

// goOn lets nodes go on that were halted, with reads in their sockets.
func (x *chaos) goOn(nodes ...int) error {
	x.outside.ask(nodes...)
	for _, i := range nodes {
		x.halted[i] = false
	}
	return x.signal(syscall.SIGCONT, nodes...)
}
