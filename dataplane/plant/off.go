//go:build !plant

package plant

// On says that bugs can be planted in this build.
const On = false

// Is reports whether the bug is planted: never.
func Is(Bug) bool { return false }

// At is Is for a bug of one node: never.
func At(Bug, int) bool { return false }
