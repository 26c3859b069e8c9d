package heal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"healkv/dataplane/proto"
)

// Kinds of requests between lives, over the control plane.
const (
	kindHello = "heal.hello" // prepare a connection to me
	kindAwait = "heal.await" // answer when you have installed this epoch
	kindRange = "heal.range" // begin the list of what I missed, and keep it readable
	kindPage  = "heal.page"  // one page of that list, as soon as it is there
	kindEnd   = "heal.end"   // I am done; are you still the same life?
	kindCold  = "heal.cold"  // I am done with my leftovers in the cold view
)

var (
	errNoLife  = errors.New("heal: this node has no life at the moment")
	errNotMe   = errors.New("heal: meant for another life of this node")
	errNoRange = errors.New("heal: no range for this node: full copy")
	errView    = errors.New("heal: the views differ")
	errFull    = errors.New("heal: the log has no room for what is to be recovered")
	errSeed    = errors.New("heal: the buddy's records are hashed with another hash_seed: all nodes need the same; format the node that has the wrong one anew")
	errFacts   = fmt.Errorf("heal: %d facts wait here already: tell it again", factsMax)
	errPage    = errors.New("heal: malformed page of a range")
)

type helloRequest struct {
	From      proto.Member
	Prev      proto.Incarnation // the life before, 0 if none
	Tails     []uint64          // of the recovered logs, by shard
	Blank     bool              // nothing in the pool for a cold start
	Remembers []remembered      // how far From's pools remember all others to have flushed (H19)
}

type helloReply struct {
	Me        proto.Member
	Stale     bool              // I saw Prev flush beyond Tails, or was told so (H19)
	Blank     bool              // my pool has nothing for a cold start
	Prev      proto.Incarnation // mine, as in the request
	Tails     []uint64
	Remembers []remembered
}

type awaitRequest struct {
	To    proto.Member
	Epoch proto.Epoch
}

type awaitReply struct{ Installed proto.Epoch }

type rangeRequest struct {
	To    proto.Member
	From  proto.Member
	Epoch proto.Epoch
	Shard int
	Full  bool
}

type rangeReply struct {
	ID         uint64
	NoRange    bool
	RangeBytes uint64 // bytes of the log range the records are picked from
	StoreBytes uint64 // bytes of the buddy's log in use
}

type pageRequest struct {
	To  proto.Member
	ID  uint64
	Off int
	// Read: every record listed below this log position has been read; the
	// buddy need not keep it where it is any longer.
	Read uint64
}

type pageReply struct {
	Data    []byte
	More    bool
	Records uint64 // bytes of the records in the runs, up to here
	// Short: the buddy's log has hardly any room left, and what it keeps for this
	// range is in the cleaner's way.
	Short bool
}

type endRequest struct {
	To proto.Member
	ID uint64
}

type coldRequest struct {
	From  proto.Member
	Epoch proto.Epoch
}

// run is a stretch of neighbouring records in the buddy's exposed pool, all
// of one lock state and one segment.
type run struct {
	pos         uint64 // log position of the first
	off         int64  // arena offset of the first
	bytes       int
	incarnation uint32 // that wrote them: seeds their checksums
	locked      bool
}

// appendRun encodes r after the run before it. Neighbours cost a few bytes.
func appendRun(dst []byte, r, before *run) []byte {
	flag := uint64(0)
	if r.locked {
		flag = 1
	}
	dst = binary.AppendVarint(dst, int64(r.pos-before.pos))
	dst = binary.AppendVarint(dst, r.off-before.off)
	dst = binary.AppendUvarint(dst, uint64(r.bytes)<<1|flag)
	return binary.AppendVarint(dst, int64(r.incarnation)-int64(before.incarnation))
}

// decodeRun is the inverse; it comes from a peer.
func decodeRun(b []byte, before *run) (r run, rest []byte, err error) {
	var v [4]int64
	for i := range v {
		var n int
		if i == 2 {
			var u uint64
			u, n = binary.Uvarint(b)
			v[i] = int64(u)
		} else {
			v[i], n = binary.Varint(b)
		}
		if n <= 0 {
			return run{}, nil, errPage
		}
		b = b[n:]
	}
	inc := int64(before.incarnation) + v[3]
	r = run{pos: before.pos + uint64(v[0]), off: before.off + v[1], bytes: int(v[2] >> 1), incarnation: uint32(inc), locked: v[2]&1 == 1}
	if r.off < 0 || r.bytes <= 0 || v[2] < 0 || inc < 0 || inc > 1<<32-1 {
		return run{}, nil, fmt.Errorf("%w: offset %d, bytes %d", errPage, r.off, r.bytes)
	}
	return r, b, nil
}
