package plant

// Of the register, of leases and of what the control plane says about them.
const (
	CtlFrameVersion Bug = "control-frames-of-any-version"
	LapseUnawaited  Bug = "acceptor-answers-before-the-lease-ends"
	LeaveAll        Bug = "leaves-when-all-have-answered"
	NextUnpromised  Bug = "next-ballot-not-promised"
	LeadDeclines    Bug = "lead-answers-a-decline"
	LeadKept        Bug = "lead-kept-after-a-refusal"
)
