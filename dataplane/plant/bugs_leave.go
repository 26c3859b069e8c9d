package plant

// Of members that leave the view as planned.
const (
	HeirUnasked Bug = "view-left-to-members-that-do-not-answer"
)
