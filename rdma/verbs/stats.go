//go:build verbs

package verbs

import "golang.org/x/sys/unix"

// ReadStats is what recovery has cost this endpoint. Where peers read its
// memory itself, nothing of what is moved passes its processor: Copies and Spent
// stay 0.
type ReadStats struct {
	Windows uint64 // parts of its memory registered for peers
	Copies  uint64 // pieces copied for them into staging areas
	Copied  uint64 // bytes
	Spent   uint64 // processor time of these copies, ns
	Readers int    // at the moment

	Direct uint64 // bytes that it read out of peers' memory itself
	Staged uint64 // and out of peers' staging areas
}

// ReadStats may be asked by any goroutine.
func (e *Endpoint) ReadStats() ReadStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := &e.exposed
	return ReadStats{Windows: x.windows.Load(), Copies: x.copies.Load(), Copied: x.copied.Load(), Spent: x.spent.Load(), Readers: len(x.readers),
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
	count("recovery_copy_processor_ns", r.Spent)
	count("recovery_read_bytes", r.Direct)
	count("recovery_staged_bytes", r.Staged)
}

// processorTime is what the thread has used, in ns. The goroutine is locked to
// it.
func processorTime() uint64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	return uint64(t.Nano())
}
