//go:build !verbs

package ibverbs

// Built tells whether this program has libibverbs.
const Built = false
