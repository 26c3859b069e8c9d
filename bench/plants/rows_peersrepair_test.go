package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.MendFirst, "every live member is asked before anything is decided about a damaged record", unit("heal/mending", "TestDecide")),
		one(plant.MendOldest, "of what the members hold of a key the newest counts", unit("heal/mending", "TestDecide")),
		one(plant.MendRecovering, "what a member in a recovery, or in another view, says counts for nothing", unit("heal/mending", "TestDecide")),
		one(plant.MendLocked, "what is locked at a member is never put in the place of a damaged record", unit("heal/mending", "TestDecide")),
		one(plant.MendDamagedIsMissing, "what is damaged at a member is not missing there", unit("heal/mending", "TestDecide")),
		one(plant.MendBound, "a refused key is cured by a write above every timestamp that the damaged record can have", unit("heal", "TestMendLostEverywhere")),
		one(plant.MendInFlight, "a damaged record that is under way is not replaced before all have it", unit("heal", "TestMendUnderWay")),
	)
}
