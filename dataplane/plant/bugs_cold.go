package plant

// Of cold starts. They stand in All too, by hand: an init function would keep
// the list in the program that ships.
const (
	ColdLeft     Bug = "stale-member-leaves-a-cold-view"
	ViewOfNobody Bug = "view-without-anybody-taken"
	ColdMute     Bug = "older-copy-does-not-tell-the-cold-members"
	ForcedInCold Bug = "forced-without-a-member-in-its-cold-life"
)
