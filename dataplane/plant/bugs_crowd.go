package plant

// Of flushes where processors are short.
const (
	CrowdAlone Bug = "crowd-not-felt"
	CrowdSum   Bug = "crowd-never-over"
)
