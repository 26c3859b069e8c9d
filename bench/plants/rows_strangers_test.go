package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.TCPPeer, "a data connection's certificate is of the node that is meant", unit("rdma/tcp", "TestTheNodeThatIsMeant")),
		one(plant.TCPInClear, "beyond loopback nothing goes in the clear unless that is said", unit("rdma/tcp", "TestConfig")),
		one(plant.TCPCrowdOne, "those of one address who have shown no token have a bound of their own", unit("rdma/tcp", "TestStrangersOfOneAddress")),
		one(plant.IdentKept, "files that will not do leave what they held before in use", unit("heal/identity", "TestKeeperKeepsWhatWasGood")),
		one(plant.IdentDropEarly, "an authority is dropped when no certificate is by it any more", unit("heal/identity", "TestAuthorityChangesInSteps")),
		one(plant.CtlCrowdOne, "those of one address who have not proved who they are have a bound of their own", unit("heal/control", "TestStrangersOfOneAddress")),
		one(plant.CtlAgain, "what is connected is checked again against present authorities and the clock", unit("heal/control", "TestConnectionsAreCheckedAgain")),
		one(plant.CtlBreak, "a link is dialled anew before the connection it has is closed", unit("heal/control", "TestAuthorityIsReplacedUnderLoad")),
		one(plant.CtlRefused, "a refusal is told of after several in a row", unit("heal/control", "TestRefusalsCount")),
		one(plant.CtlRefusedIn, "nobody is called refused who is connected", unit("heal/control", "TestRefusedIsTold")),
		one(plant.RefusedTrusted, "a refused connection proves no death unless that was asked for (H37)", unit("heal/membership", "TestRefusedIsNotTrustedByItself")),
	)
}
