package heal

import "healkv/dataplane/proto"

// Kinds of requests between live members that compare what they serve.
const (
	kindSums  = "heal.sums"  // your sums over all ranges of keys
	kindLook  = "heal.look"  // your current records in these parts
	kindGet   = "heal.get"   // that record
	kindDoubt = "heal.doubt" // you lack something of mine, or have something older: look yourself
)

type sumsRequest struct {
	To    proto.Member
	Shard int
}

type sumsReply struct {
	NotYet bool // the sums are not complete
	Sums   []byte
	Bits   int
}

type lookRequest struct {
	To    proto.Member
	Shard int
	Bits  int
	Parts []uint32
}

type lookReply struct{ Data []byte } // entries

type getRequest struct {
	To       proto.Member
	Shard    int
	Hash, TS uint64
}

type getReply struct {
	Image       []byte // empty: there is no such record any more
	Pos         uint64 // that it is sealed with
	Incarnation uint32
}

type doubtRequest struct {
	To     proto.Member
	Shard  int
	Bits   int
	Ranges []uint32
}

// doubtsMax bounds how many doubts of others wait to be looked at.
const doubtsMax = 64

// doubt is what another live member wants looked at.
type doubt struct {
	from   proto.Member
	shard  int
	bits   int
	ranges []uint32
}
