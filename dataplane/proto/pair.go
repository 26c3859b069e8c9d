package proto

// Pair is what a coordinator sees of one member as a follower of one shard's
// stream: how far its own stream goes, and how far that member has come with
// it. All positions are of the coordinator's stream, in bytes.
type Pair struct {
	Shard   uint8
	Member  Member
	Tail    uint64 // end of the own stream
	Applied uint64 // acknowledged by the member
	Durable uint64 // acknowledged by the member
	// AckNanos is how long an entry took lately from its publication until the
	// member had applied it, smoothed, in ns; 0: not measured.
	AckNanos int64
	Linked   bool // the transport has a connection to the member, as far as it can tell
}
