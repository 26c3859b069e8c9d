package dataplane

import "time"

var clockBase = time.Now()

// Now is the monotonic clock of deadlines, in nanoseconds since the process
// started. CLOCK_MONOTONIC: it does not count a suspended machine.
func Now() int64 { return int64(time.Since(clockBase)) }
