package plant

// Of clients that live on a worker's thread.
const (
	AttendNext  Bug = "next-life-not-attended"
	AttendNever Bug = "attendant-left-is-called"
)
