package plant

// Of digests: sums over ranges of keys, kept in step, compared, and what is
// fetched after them.
const (
	DigestOverwrite Bug = "digest-not-updated-on-overwrite"
	DigestCursor    Bug = "digest-walk-cursor-too-low"
	DigestRange     Bug = "digest-differing-range-omitted"
	DigestTombstone Bug = "digest-list-without-tombstones"
	DigestExtra     Bug = "digest-extra-record-kept"
	DigestBegun     Bug = "digest-compared-before-the-walk-is-done"
	DigestErased    Bug = "digest-keeps-what-was-given-up"
	CompareOnce     Bug = "comparison-with-one-look-at-the-own-records"
	CompareLocked   Bug = "comparison-of-locked-records"
	CompareFenced   Bug = "comparison-with-a-node-that-may-not-serve"
	CompareVote     Bug = "comparison-brings-back-what-one-member-has"
)
