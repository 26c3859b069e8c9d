package healkv

import "healkv/heal"

// countCompared fills in what this life has found by comparing itself with other
// live nodes.
func countCompared(x heal.Compared, c map[string]uint64) {
	c["digest_rounds"], c["digest_ranges_compared"], c["digest_recounts"] = x.Rounds, x.Ranges, x.Recounts
	c["divergent_ranges"], c["divergent_keys"] = x.Divergent, x.Keys
	c["divergent_keys_repaired"], c["divergent_keys_unresolved"] = x.Repaired, x.Unresolved
}
