package resp

import (
	"time"

	"healkv/dataplane"
)

// Session is what an event loop needs of a *dataplane.Session; the rules are
// those written there. One goroutine uses it.
type Session interface {
	// GetNow appends the value of key to dst, or says why there is none, unless
	// an op has to be submitted for that: done is false then.
	GetNow(key, dst []byte) (value []byte, done bool, err error)
	// Submit hands op over; it never blocks. dataplane.ErrOverload asks to
	// poll first. Ops on one key take effect in the order of Submit.
	Submit(op *dataplane.Op) error
	Kick()
	// Poll stores completed ops in done and returns how many; it never blocks.
	Poll(done []*dataplane.Op) int
	// Arm asks for one call of notify once Poll has something; false: it has
	// already. Disarm takes that back.
	Arm() bool
	Disarm()
	SetTimeout(d time.Duration)
	Close()
}

// Backend is the node behind the front end. Its methods may be called from any
// goroutine.
type Backend interface {
	// NewSession makes a session whose Arm is ended by notify, which any
	// goroutine may call.
	NewSession(notify func()) Session
	LiveKeys() uint64
	// Info is asked once per INFO command.
	Info() []InfoSection
	// Ready reports whether the node serves. Commands are submitted in any
	// case (the session rejects them with a reason); INFO shows it.
	Ready() bool
}

// InfoSection is one part of the answer to INFO. Names and values hold no line
// breaks; those that do are shown with spaces in their place.
type InfoSection struct {
	Name   string
	Fields []InfoField
}

// InfoField is one line of an InfoSection.
type InfoField struct{ Name, Value string }

var _ Session = (*dataplane.Session)(nil)
