package plant

// Of hash seeds, refused connections, and what is full or hangs.
const (
	SeedUncompared Bug = "hash-seed-not-compared"
	SeedRehashed   Bug = "record-of-another-hash-seed-adopted"

	RefusedForGood Bug = "refused-life-stays-over"
	RefusedProves  Bug = "refusal-taken-for-a-proof"
	RefusedPolls   Bug = "refused-life-polled-without-a-pause"

	VoteWaits Bug = "vote-waits-for-the-disk-whatever-comes"

	FactDropped Bug = "fact-dropped-unsaid"
)
