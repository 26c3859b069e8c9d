package check

import "fmt"

// Loss is one key whose acknowledged write a node does not have.
type Loss struct {
	Key   uint64 // id
	Acked uint64 // the newest acknowledged TS
	Has   uint64 // what the node has; 0 is nothing
}

func (l Loss) String() string {
	if l.Has == 0 {
		return fmt.Sprintf("key id %d: TS %#x was acknowledged, the node has nothing", l.Key, l.Acked)
	}
	return fmt.Sprintf("key id %d: TS %#x was acknowledged, the node has the older %#x", l.Key, l.Acked, l.Has)
}

// AckResult says what comparing a node with the acknowledged writes showed.
type AckResult struct {
	Keys     uint64 // ids looked at
	Compared uint64 // keys with an acknowledged write: all were compared
	Missing  uint64 // of these: the node has nothing
	Older    uint64 // of these: the node has an older TS
	Newer    uint64 // of these: the node has a newer one, of a write without an acknowledgement; allowed
	Losses   []Loss // the first few
}

// OK says whether nothing acknowledged is lost.
func (r AckResult) OK() bool { return r.Missing == 0 && r.Older == 0 }

const lossesKept = 10

// MergeAcks raises every entry of dst to that of table: the newest timestamp
// acknowledged by any of several generators. Tables may differ in length; the
// longer one is returned.
func MergeAcks(dst, table []uint64) []uint64 {
	if len(dst) < len(table) {
		dst = append(dst, make([]uint64, len(table)-len(dst))...)
	}
	for i, ts := range table {
		dst[i] = max(dst[i], ts)
	}
	return dst
}

// Acks compares the acknowledged timestamps by key id (0 for none) with what a
// node has: at returns the TS the node has for a key id, 0 for nothing, and is
// asked once for every key with an acknowledged write.
func Acks(acked []uint64, at func(id uint64) uint64) AckResult {
	r := AckResult{Keys: uint64(len(acked))}
	for id, want := range acked {
		if want == 0 {
			continue
		}
		r.Compared++
		has := at(uint64(id))
		switch {
		case has == want:
			continue
		case has > want:
			r.Newer++
			continue
		case has == 0:
			r.Missing++
		default:
			r.Older++
		}
		if len(r.Losses) < lossesKept {
			r.Losses = append(r.Losses, Loss{Key: uint64(id), Acked: want, Has: has})
		}
	}
	return r
}
