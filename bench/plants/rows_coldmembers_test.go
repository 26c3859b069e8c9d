package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.ColdHearsay, "no pool takes part in a cold start that any member of it knows to be older", unit("heal", "TestOlderPoolKnownToAThird")),
		one(plant.ColdKnowing, "who learns in a cold start that its pool is older leaves it, whatever it was to be healed by", unit("heal/rejoin", "TestStaleWithAFullCopyInAColdStart")),
		one(plant.ForcedLong, "an order to start cold is judged by who answers now", unit("heal", "TestForcedByWhoIsThereNow")),
	)
}
