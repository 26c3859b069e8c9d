package plant

// Of members that leave the view as planned, and of nodes without a life.
const (
	HeirUnasked     Bug = "view-left-to-members-that-do-not-answer"
	ShadowAnyLife   Bug = "shadow-kept-for-a-node-without-its-life"
	DrainedAdmitted Bug = "drained-node-stays-where-it-was-admitted-late"
	RenewalsPile    Bug = "another-renewal-at-every-beat"
	RegisterOlder   Bug = "pool-newer-than-the-register-is-taken"
)
