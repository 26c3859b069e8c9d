package plant

// Of the way back's fixed part.
const (
	SpareLength Bug = "spare-ring-of-any-length"
	CountNever  Bug = "restored-log-never-counted"
	CtlEarly    Bug = "whom-a-node-meets-before-it-listens-is-forgotten"
	KeptTwice   Bug = "kept-number-taken-twice"
	KeptCopied  Bug = "kept-number-copied"
	KeptPassed  Bug = "kept-number-passed"
	RoundNear   Bug = "first-proposal-right-above-the-own-file"
)
