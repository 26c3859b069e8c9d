package plant

// Of orders and the drain. They stand in All too, by hand: an init function
// would keep the list in the program that ships.
const (
	DrainOpen Bug = "drain-takes-writes"
)
