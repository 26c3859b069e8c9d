package plant

// Repair of damaged records from the peers.
const (
	MendFirst            Bug = "mend-first-answer"
	MendOldest           Bug = "mend-lower-timestamp"
	MendRecovering       Bug = "mend-member-in-recovery-counts"
	MendLocked           Bug = "mend-locked-value-visible"
	MendDamagedIsMissing Bug = "mend-damaged-counts-as-missing"
	MendInFlight         Bug = "mend-record-under-way"
	MendBound            Bug = "mend-refusal-has-no-bound"
	MendUnflushed        Bug = "mended-header-waits-for-a-write"
)
