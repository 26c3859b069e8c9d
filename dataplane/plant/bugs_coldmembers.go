package plant

// Of who takes part in a cold start, and of proposals that wait. They stand in
// All too, by hand: an init function would keep the list in the program that
// ships.
const (
	ColdHearsay Bug = "older-copy-known-to-a-third-member-takes-part"
	ColdKnowing Bug = "member-that-knows-its-older-copy-stays-in-the-cold-view"
	ForcedLong  Bug = "forced-by-hellos-of-long-ago"
)
