package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.ColdLeft, "who learns in a cold start that its pool is an older copy stays in the view", unit("heal", "TestStaleInAColdStart")),
		one(plant.ViewOfNobody, "no view is taken from which nobody could start cold", unit("heal/membership", "TestViewOfNobody")),
		one(plant.ColdMute, "who has an older copy tells the members of the cold start", unit("heal", "TestStaleInAColdStart")),
		one(plant.ForcedInCold, "no cold start is forced without a member that still runs in the one before", unit("heal/rejoin", "TestForcedInACutOffColdStart")),
	)
}
