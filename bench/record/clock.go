package record

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// clockBase and clockOffset tie Go's monotonic clock, which reads the vDSO and
// hides its origin, to CLOCK_MONOTONIC: same clock, known origin, no system call.
var clockBase, clockOffset = calibrate()

func calibrate() (base time.Time, offset int64) {
	width := int64(math.MaxInt64)
	for range 16 {
		before := clockGettime()
		t := time.Now()
		if after := clockGettime(); after-before < width {
			width, base, offset = after-before, t, before+(after-before)/2
		}
	}
	return base, offset
}

func clockGettime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("record: no monotonic clock: " + err.Error())
	}
	return ts.Nano()
}

// Now is CLOCK_MONOTONIC in ns, comparable between the processes of one host up
// to the calibration, which is good to about a microsecond.
func Now() int64 { return clockOffset + int64(time.Since(clockBase)) }
