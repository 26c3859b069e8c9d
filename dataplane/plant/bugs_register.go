package plant

// Of what an acceptor decides about votes and leases together.
const (
	GuardFirst Bug = "only-the-first-lease-in-the-way-runs-out"
)
