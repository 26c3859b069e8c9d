package membership

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Two pools that hash keys with different seeds hold different keys, whatever is
// copied from one to the other: a node with another seed would become live with
// everything, and find half of nothing. So it is kept out from the first message
// on: its beats are not heard, so it counts as not there; it gets no votes, so
// it has no life to be admitted; and it does not vote.

// seedDigest is what peers and people are told of the hash seed, which is a
// secret: who knows it can choose keys that collide.
func seedDigest(cluster string, seed uint64) string {
	b := binary.LittleEndian.AppendUint64([]byte("healkv hash seed "+cluster), seed)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// sameSeed compares the digest of node n's hash seed to ours.
func (s *Service) sameSeed(n proto.NodeID, digest string) error {
	if digest == s.seed || plant.Is(plant.SeedUncompared) {
		return nil
	}
	if digest == "" {
		digest = "none"
	}
	return fmt.Errorf("%w: the digest of this node's hash_seed is %q, that of node %d's is %.16q: all nodes need the same; give the one that is wrong the hash_seed of the others and format it anew, since what its pools hold is keyed with its own",
		ErrConfig, s.seed, n, digest)
}

// seedsDiffer names a node whose hash seed differs from ours, if there is one.
// all: so many do that ours is the wrong one.
func (s *Service) seedsDiffer() (differ error, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	others := 0
	for _, n := range s.others() {
		if p := &s.peers[n]; p.seed != "" {
			others++
			differ = s.sameSeed(n, p.seed)
		}
	}
	return differ, others >= s.majority
}
