package plant

// Of lives: forced cold starts and the way back. They stand in All too, by
// hand: an init function would keep the list in the program that ships.
const (
	ForcedLiveUntil Bug = "forced-keeps-live-until"
	ForcedRunning   Bug = "forced-beside-a-running-member"
	FailedForgotten Bug = "lives-that-end-as-shadows-not-counted"
	BackoffAtOnce   Bug = "admission-asked-for-at-once"
	BlankEnd        Bug = "blank-end-of-a-log-counts-as-its-end"
	OlderCounts     Bug = "older-copy-counts-in-a-cold-start"
	SeenForgotten   Bug = "flushed-positions-not-in-the-superblock"
	WorkerMalformed Bug = "malformed-stream-goes-unnoticed"
)
