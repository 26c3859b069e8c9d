//go:build verbs

package verbs

import "golang.org/x/sys/unix"

// ReadStats is what recovery has cost this endpoint. All that its processor does
// for a peer that reads is to answer requests, and every answer is timed at its
// edges by the clock of its thread. Where peers read the memory itself there are
// few: to open, for each window, to release. Between them it does nothing.
type ReadStats struct {
	Requests uint64 // of peers that read, answered
	Spent    uint64 // processor time of these answers, ns; registering and copying are in it
	Windows  uint64 // parts of its memory registered for peers
	Copies   uint64 // pieces copied for them into staging areas
	Copied   uint64 // bytes
	Copying  uint64 // processor time of these copies, ns
	Readers  int    // at the moment

	Direct uint64 // bytes that it read out of peers' memory itself
	Staged uint64 // and out of peers' staging areas
}

// ReadStats may be asked by any goroutine.
func (e *Endpoint) ReadStats() ReadStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := &e.exposed
	return ReadStats{Requests: x.requests.Load(), Spent: x.spent.Load(), Windows: x.windows.Load(),
		Copies: x.copies.Load(), Copied: x.copied.Load(), Copying: x.copying.Load(), Readers: len(x.readers),
		Direct: e.readDirect.Load(), Staged: e.readStaged.Load()}
}

// Connections says what became of the connections of this endpoint's life, and
// how recoveries were read, for the counters of a node's status. Worker.
func (e *Endpoint) Connections(count func(name string, n uint64)) {
	c, r := e.Counters(), e.ReadStats()
	count("connections_broken", c.Broken+c.LostIn)
	count("connections_made_again", c.Remade)
	count("links_cut", c.Malformed)
	count("lanes_given_up", c.GivenUp)
	count("queue_errors", c.QueueErrors)
	count("recovery_windows", r.Windows)
	count("recovery_copies", r.Copies)
	count("recovery_copied_bytes", r.Copied)
	count("recovery_copy_processor_ns", r.Copying)
	count("recovery_requests", r.Requests)
	count("recovery_processor_ns", r.Spent)
	count("recovery_read_bytes", r.Direct)
	count("recovery_staged_bytes", r.Staged)
}

// processorTime is what the thread has used, in ns, in the kernel too. The
// goroutine is locked to it.
func processorTime() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic("verbs: the thread has no clock: " + err.Error()) // a 0 would be taken for a measurement
	}
	return uint64(t.Nano())
}
