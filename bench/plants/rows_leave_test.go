package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.HeirUnasked, "a view is left only to a live member that answers", unit("./heal/membership", "TestLeaveToTheDead")),
		one(plant.ShadowAnyLife, "a shadow whose node speaks for no life is removed", unit("./heal/membership", "TestShadowWithoutALife")),
		one(plant.DrainedAdmitted, "a drained node leaves at once when it was admitted late", unit(".", "TestDrainedAdmittedLate")),
		one(plant.RenewalsPile, "one task of a kind at a time", unit(".", "TestOneTask")),
		one(plant.RegisterOlder, "a pool that knows views which the register has forgotten is refused", unit(".", "TestStrangePool")),
	)
}
