package plant

// Of the first view, and of acceptors' files that come back older.
const (
	BootstrapAbsent Bug = "first-view-has-who-is-not-there"
	BootstrapUsed   Bug = "first-view-beside-a-used-pool"
	BootstrapFew    Bug = "first-view-of-a-minority"
	OlderVotes      Bug = "older-acceptor-file-unnoticed"
	OlderByAsking   Bug = "older-acceptor-file-catches-up-by-asking"
	OlderUnflagged  Bug = "older-acceptor-file-unmarked"
	OlderGrants     Bug = "older-acceptor-file-grants-leases"
	TurnsForgotten  Bug = "turns-of-others-not-in-the-file"
	OlderGivenUp    Bug = "older-acceptor-file-given-up-on-a-failing-disk"
)
