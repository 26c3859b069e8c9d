package plant

// Of certificates, of who may connect, and of refused connections.
const (
	TCPPeer     Bug = "tcp-peer-not-compared"
	TCPInClear  Bug = "tcp-in-the-clear-beyond-loopback"
	TCPCrowdOne Bug = "tcp-places-not-shared-by-address"

	IdentKept      Bug = "identity-files-that-will-not-do-taken"
	IdentDropEarly Bug = "identity-authority-dropped-too-early"

	CtlCrowdOne  Bug = "control-places-not-shared-by-address"
	CtlAgain     Bug = "control-certificates-checked-once"
	CtlBreak     Bug = "control-closed-before-dialled-anew"
	CtlRefused   Bug = "control-one-refusal-counts"
	CtlRefusedIn Bug = "control-refusal-of-who-is-connected"

	RefusedTrusted Bug = "refusal-trusted-unasked"
)
