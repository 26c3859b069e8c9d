package healkv

import "healkv/pmem"

// countCheckpoints adds up what became of a shard's index checkpoints and of
// the pages of an index that was taken over, inside Do.
func countCheckpoints(p *pmem.Pool, c map[string]uint64) {
	s := p.Checkpoints()
	c["checkpoints"] += s.Taken
	c["checkpoints_failed"] += s.Failed
	c["checkpoint_written_bytes"] += s.Bytes
	c["index_pages_in_doubt"] += uint64(p.Store().Index().Doubtful())
	c["index_pages_mended"] += uint64(p.Store().Index().Damaged())
	c["log_beyond_checkpoint_bytes"] += p.Store().Tail() - min(s.Began, p.Store().Tail())
}
