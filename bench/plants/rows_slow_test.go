package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.SuspectGap, "silence while this node stood still itself is nobody's", unit("heal/membership/suspect", "TestOwnGap")),
		one(plant.SuspectFlaps, "what gets better is told when it has been so for a while", unit("heal/membership/suspect", "TestClasses")),
		one(plant.SlowOnce, "a member is slow for two patiences before it is complained about", unit("heal/membership/blame", "TestPaces")),
		one(plant.SlowAll, "nobody is slow who is no slower than the others", unit("heal/membership/blame", "TestPaces")),
		one(plant.SlowOwn, "what was slow before this node stood still begins anew", unit("heal/membership/blame", "TestPacesOwnStandstill")),
		one(plant.SlowMinority, "nobody is demoted beside a shadow, or if fewer than a majority would stay live", unit("heal/membership/blame", "TestJudgeSlow")),
		one(plant.SlowWitness, "more than half of the other live members find it slow", unit("heal/membership/blame", "TestJudgeSlow")),
		one(plant.SlowOften, "after a live member went there is rest", unit("heal/membership", "TestRestAfterADemotion")),
		one(plant.SlowPromoted, "a member that was demoted stays a shadow until it keeps up", unit("heal/membership", "TestSlowMember")),
	)
}
