package plant

// Of limits: disks that fail, memory that is not there any more, descriptors
// that run out.
const (
	FaultReader    Bug = "fault-of-a-reader-ends-the-program"
	FaultInside    Bug = "faulted-reader-stays-inside"
	FaultRejected  Bug = "write-cut-by-a-fault-called-not-applied"
	FaultBuddy     Bug = "fault-in-the-buddys-walk-ends-the-program"
	PoolFinal      Bug = "failed-pool-ends-the-node"
	PoolAtOnce     Bug = "failed-pool-opened-again-without-a-pause"
	IndexStarved   Bug = "starved-index-takes-new-keys"
	IndexGrowNever Bug = "starved-index-never-grows-again"
	IndexSpins     Bug = "full-file-system-asked-at-every-key"
	MendNever      Bug = "failed-acceptor-file-stays-failed"
	MendUnwritten  Bug = "failed-acceptor-file-flushed-and-not-written"
	MendVotes      Bug = "acceptor-votes-with-a-failed-file"
)
