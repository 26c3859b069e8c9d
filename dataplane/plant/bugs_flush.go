package plant

// Of flushes that run beside the worker.
const (
	FlushEarly      Bug = "flush-counts-when-it-starts"
	FlushLateTail   Bug = "flush-counts-through-the-tail-at-its-end"
	SuperFlight     Bug = "superblock-claims-the-flush-it-goes-out-with"
	FlushNotAwaited Bug = "superblock-written-during-a-flush"
	FlushError      Bug = "failed-flush-beside-the-worker-ignored"
	FlushJoined     Bug = "second-flush-joins-the-one-under-way"
	FlushExtended   Bug = "burst-of-a-flush-under-way-extended"
	FlushFolios     Bug = "pool-written-in-large-pieces"
	FlushUnwoken    Bug = "sleeping-worker-not-woken-by-its-flush"
	FlushLandsEarly Bug = "flush-lands-before-its-drain"

	FlusherDropsNext Bug = "flusher-drops-what-is-posted-at-a-jobs-end"
	FlusherAbandoned Bug = "flusher-not-awaited-at-the-end"
	FlusherLeaves    Bug = "flusher-ends-with-a-job-left"
)
