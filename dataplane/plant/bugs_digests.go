package plant

// Of digests: sums over ranges of keys, kept in step, compared, and what is
// fetched after them.
const (
	DigestOverwrite Bug = "digest-not-updated-on-overwrite"
	DigestCursor    Bug = "digest-walk-cursor-too-low"
)
