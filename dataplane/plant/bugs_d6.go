package plant

// Of certificates, of who may connect, and of refused connections.
const (
	TCPPeer    Bug = "tcp-peer-not-compared"
	TCPInClear Bug = "tcp-in-the-clear-beyond-loopback"

	IdentKept      Bug = "identity-files-that-will-not-do-taken"
	IdentDropEarly Bug = "identity-authority-dropped-too-early"
)

func init() {
	All = append(All, TCPPeer, TCPInClear, IdentKept, IdentDropEarly)
}
