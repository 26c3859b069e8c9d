//go:build !race && verbs

package verbs

const raceEnabled = false
