package verbs

// What remote reads move at once, and how much of the peer's log is registered
// for one reader at a time. In every build: `node doctor` computes the need
// anywhere.
const (
	pieceBytes  = 1 << 20
	windowBytes = 64 << 20
	windowsMax  = 2
)

// Bounds of the small things, whole pages.
const (
	pageBytes    = 4 << 10
	slotsMax     = 20 << 10  // lines on their way, of one lane
	queuesOfLane = 128 << 10 // two queue pairs and their share of the completion queue: drivers pin these too
)

// LockedMemory is what the endpoint of one shard registers at most in good
// order, in bytes; RLIMIT_MEMLOCK is to allow it for every shard of the node.
//
//   - The ring that is sent from, and for each peer the mirror it writes to:
//     2*nodes-1 rings, since a lane that broke keeps its mirror until the worker
//     has gone over to the one that was opened anew.
//   - The lines and queues of these lanes.
//   - One peer that recovers by reading this node's log: windows of it, the next
//     one before the oldest goes; or the staging area.
//   - The buffer that this node's own recovery reads into.
func LockedMemory(nodes int, ringBytes uint64) uint64 {
	peers := uint64(max(nodes-1, 0))
	rings := (2*peers + 1) * ringBytes
	lanes := 2 * peers * (pageBytes + slotsMax + queuesOfLane)
	return rings + lanes + (windowsMax+1)*windowBytes + 2*pieceBytes
}
