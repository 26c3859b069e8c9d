package shm

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"healkv/dataplane/plant"
	"healkv/rdma/futex"
)

// bell is a mapped doorbell line.
type bell struct {
	line *bellLine
	mem  *mapping // nil for the stand-in after Close
}

// ring ends the owner's sleep, present or about to begin; true if that took a
// system call. To be called after what the owner shall see was stored: the
// load of sleeping pairs with the store in prepare, as in Dekker's algorithm,
// so either the owner sees the news when it looks once more, or we see its
// mark.
//
// S4: rung is stored last. Who finds it equal to the sleep's number knows that
// the word was changed and the futex was woken; a waker that was killed before
// leaves it to the next one.
func (b *bellLine) ring() bool {
	n := b.sleeping.Load()
	if n == 0 || b.rung.Load() == n {
		return false
	}
	b.word.Add(1)
	futex.Wake(&b.word)
	b.rung.Store(n)
	return true
}

// sleeper is the owner's side of its bell. Worker only.
type sleeper struct {
	line     *bellLine
	number   uint64 // of the last sleep; never repeats
	old      uint32 // the futex word before the mark
	prepared bool
}

// prepare marks the owner as sleeping. S3: the word is read first, so a ring
// that sees the mark changes the word we wait on.
func (s *sleeper) prepare() {
	s.number++
	s.old = s.line.word.Load()
	s.prepared = true
	if !plant.Is(plant.ShmMark) {
		s.line.sleeping.Store(s.number)
	}
}

func (s *sleeper) cancel() {
	s.prepared = false
	s.line.sleeping.Store(0)
}

// sleep waits for a ring; a negative timeout waits for ever. It returns at
// once if a ring came after prepare.
func (s *sleeper) sleep(timeout time.Duration) {
	if !s.prepared {
		panic("shm: Sleep without PrepareSleep")
	}
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	left := timeout
	for timeout != 0 && s.line.word.Load() == s.old {
		errno := futex.Wait(&s.line.word, s.old, left)
		if errno == syscall.ETIMEDOUT {
			break
		}
		if errno != 0 && errno != syscall.EINTR && errno != syscall.EAGAIN {
			panic("shm: futex wait: " + errno.Error())
		}
		if timeout > 0 {
			if left = time.Until(deadline); left <= 0 {
				break
			}
		}
	}
	s.cancel()
}

// ownBell lets any goroutine ring the worker without asking whether the
// endpoint was closed meanwhile: the line is unmapped when nobody can hold it
// any more, which only the collector knows.
type ownBell struct{ at atomic.Pointer[bell] }

func (o *ownBell) open(m *mapping) {
	b := &bell{line: bellOf(m.mem), mem: m}
	runtime.AddCleanup(b, func(m *mapping) { m.close() }, m)
	o.at.Store(b)
}

func (o *ownBell) ring() bool {
	b := o.at.Load()
	did := b.line.ring()
	runtime.KeepAlive(b)
	return did
}

// close puts a line in place that nobody sleeps on.
func (o *ownBell) close() *bellLine {
	stand := &bell{line: new(bellLine)}
	o.at.Store(stand)
	return stand.line
}
