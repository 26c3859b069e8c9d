package plant

// Of the cleaner for the long run.
const (
	SpaceRelease  Bug = "emptied-segment-released-before-the-next-checkpoint"
	SpaceUnlisted Bug = "copy-out-of-a-missed-range-not-listed"
	SpaceUnstable Bug = "copy-of-the-unstable-marked-as-stable"
	SpaceForgets  Bug = "missed-range-forgotten-by-a-later-life"
	SpacePinAhead Bug = "pin-rises-before-the-records-are-read"
)
