package plant

// Of the cleaner for the long run.
const (
	SpaceRelease Bug = "emptied-segment-released-before-the-next-checkpoint"
)
