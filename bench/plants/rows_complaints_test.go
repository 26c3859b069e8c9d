package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.ProbeUnprovable, "where no death can be proven, none is looked for at every turn", unit("heal/membership", "TestClosedConnectionBetweenHosts")),
		one(plant.H29Mute, "what stands still for the patience is complained about", unit("heal/membership/blame", "TestWhatStandsStill")),
		one(plant.H29OldView, "after each view complaints begin anew", unit("heal/membership/blame", "TestTable")),
		one(plant.H34Gap, "what stood still while its watcher did is nobody's fault", unit("heal/membership/blame", "TestOwnStandstill")),
		one(plant.JudgeIncoming, "a complaint counts against both ends", unit("heal/membership/blame", "TestGraphs")),
		one(plant.AgreeUnasked, "an acceptor lets a member go over complaints only if it comes to the same name", unit("heal/membership", "TestAcceptorJudgesForItself")),
	)
}
