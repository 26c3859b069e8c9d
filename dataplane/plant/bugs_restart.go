package plant

// Of restarts: sums of index pages, checkpoints, pages that are not loaded yet.
const (
	IndexSum        Bug = "index-page-sum-not-kept"
	IndexSumRedo    Bug = "index-page-sum-not-finished-after-a-kill"
	IndexSumIgnored Bug = "index-page-sum-ignored"
	UnsureMissing   Bug = "index-page-in-doubt-read-as-empty"
	ColdEmpty       Bug = "checkpoint-cold-page-read-as-empty"
)
