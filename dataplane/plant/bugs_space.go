package plant

// Of the cleaner for the long run.
const (
	CountBusy          Bug = "count-of-live-bytes-fills-a-busy-turn"
	SpaceUnlisted      Bug = "copy-out-of-a-missed-range-not-listed"
	SpaceUnstable      Bug = "copy-of-the-unstable-marked-as-stable"
	SpaceForgets       Bug = "missed-range-forgotten-by-a-later-life"
	TombstoneUnstable  Bug = "H24-tombstone-dropped-before-it-is-stable"
	TombstoneAway      Bug = "H24-tombstone-dropped-while-a-member-is-away"
	TombstoneBarrier   Bug = "H24-tombstone-dropped-before-all-have-rolled-forward"
	TombstoneEpoch     Bug = "H24-tombstone-of-the-present-view-dropped"
	TombstoneOlder     Bug = "H24-tombstone-dropped-above-older-records"
	TombstoneUnflushed Bug = "H24-tombstone-gone-before-older-segments-are-zeroed"
	SpacePinAhead      Bug = "pin-rises-before-the-records-are-read"
)
