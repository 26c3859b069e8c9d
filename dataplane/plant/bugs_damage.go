package plant

// Damage: what a medium did to bytes that were written whole.
const (
	DamageSplit         Bug = "damage-split-forgets-damaged-records"
	DamageHeader        Bug = "damage-worker-trusts-damaged-headers"
	DamageFloor         Bug = "damage-write-below-a-damaged-record"
	DamageBeside        Bug = "damage-reader-stops-at-the-first-record"
	DamageMiss          Bug = "damage-taken-for-a-miss"
	DamageSettle        Bug = "damage-settled-by-an-older-record"
	DamageHide          Bug = "damage-repair-takes-another-keys-word"
	DamageMoved         Bug = "damage-cleaner-frees-damaged-segments"
	DamageGap           Bug = "damage-gap-goes-unnoticed"
	DamageDoubt         Bug = "damage-doubtful-pool-is-not-called-so"
	DamageCold          Bug = "damage-doubtful-pool-starts-cold"
	DamageFlag          Bug = "damage-doubt-not-noted-before-the-salvage"
	DamageMarker        Bug = "damage-lost-marker-leaves-ranges"
	DamageBlank         Bug = "damage-blank-segment-header-is-free"
	DamageForward       Bug = "damage-rolled-forward-unverified"
	DamageAdopt         Bug = "damage-equal-record-not-adopted"
	DamageForged        Bug = "damage-bytes-of-a-value-taken-for-a-record"
	DamageMarkerTrusted Bug = "damage-marker-trusted-in-a-doubtful-pool"
	DamageScrub         Bug = "damage-scrubber-skips-bodies"
)
