package plant

// Of restarts: sums of index pages, checkpoints, pages that are not loaded yet.
const (
	IndexSum        Bug = "index-page-sum-not-kept"
	IndexSumRedo    Bug = "index-page-sum-not-finished-after-a-kill"
	IndexSumIgnored Bug = "index-page-sum-ignored"
	UnsureMissing   Bug = "index-page-in-doubt-read-as-empty"
	ColdEmpty       Bug = "checkpoint-cold-page-read-as-empty"
	CkptTableSum    Bug = "checkpoint-table-checksum-ignored"
	CkptTableFirst  Bug = "checkpoint-table-before-its-pages"
	CkptUnsynced    Bug = "checkpoint-table-without-fsync"
	CkptAhead       Bug = "checkpoint-in-force-before-the-log-is-durable"
	CkptHole        Bug = "checkpoint-table-written-before-the-log-is-durable"
	CkptNeeds       Bug = "checkpoint-opened-above-the-logs-end"
	CkptSlot        Bug = "checkpoint-slot-reused-too-early"
	CkptStale       Bug = "checkpoint-page-not-written-again"
	CkptReplay      Bug = "checkpoint-replayed-from-its-end"
	CkptLocks       Bug = "checkpoint-forgets-locks-above-stable"
	CkptGone        Bug = "checkpoint-word-of-a-segment-that-went"
	FreeUnflushed   Bug = "free-segment-header-of-the-last-life-not-flushed-again"
)
