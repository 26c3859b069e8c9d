package load

import (
	"errors"
	"time"

	"healkv/bench/record"
	"healkv/dataplane"
)

// Session is what a generator needs of dataplane.Session.
type Session interface {
	Submit(op *dataplane.Op) error
	Kick()
	Poll(done []*dataplane.Op) int
	Wait(timeout time.Duration) bool
}

// Errors of this package. ErrWrongValue means that the store is broken.
var (
	ErrConfig     = errors.New("load: bad configuration")
	ErrWrongValue = errors.New("load: a read returned a value that no write made")
	ErrStuck      = errors.New("load: operations were not answered long after their deadline")
)

// verdict is what becomes of an access after an error.
type verdict uint8

const (
	again  verdict = iota // certainly not applied: submit it again later
	giveUp                // counted, and over
	stop                  // the node has ended or refuses the operation as such
)

// classify sorts an error. Sentinels are mostly returned as they are, so the
// comparison usually hits before errors.Is has to look inside.
func classify(err error) (record.ErrorKind, verdict) {
	switch err {
	case dataplane.ErrTryAgain:
		return record.ErrTryAgain, again
	case dataplane.ErrOverload:
		return record.ErrOverload, again
	}
	switch {
	case errors.Is(err, dataplane.ErrTryAgain):
		return record.ErrTryAgain, again
	case errors.Is(err, dataplane.ErrOverload):
		return record.ErrOverload, again
	case errors.Is(err, dataplane.ErrDeadline):
		return record.ErrDeadline, again
	case errors.Is(err, dataplane.ErrNoRoom):
		return record.ErrNoRoom, giveUp
	case errors.Is(err, dataplane.ErrUnknown):
		return record.ErrUnknown, giveUp
	}
	return record.ErrOther, stop
}

// clock is time as a generator sees it; tests have their own.
type clock interface {
	now() int64
	sleep(ns int64)
}

type hostClock struct{}

func (hostClock) now() int64     { return record.Now() }
func (hostClock) sleep(ns int64) { time.Sleep(time.Duration(ns)) }
