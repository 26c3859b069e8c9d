package plant

// Of orders and the drain. They stand in All too, by hand: an init function
// would keep the list in the program that ships.
const (
	DrainOpen    Bug = "drain-takes-writes"
	DrainSilent  Bug = "drain-not-announced-called-done"
	EndWaits     Bug = "end-waits-for-the-order-under-way"
	ResumeEnding Bug = "resume-while-the-process-ends"
)
