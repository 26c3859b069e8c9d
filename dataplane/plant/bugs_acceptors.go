package plant

// Of the first view.
const (
	BootstrapAbsent Bug = "first-view-has-who-is-not-there"
	BootstrapUsed   Bug = "first-view-beside-a-used-pool"
	BootstrapFew    Bug = "first-view-of-a-minority"
)
