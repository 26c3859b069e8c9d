package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.TCPPeer, "a data connection's certificate is of the node that is meant", unit("rdma/tcp", "TestTheNodeThatIsMeant")),
		one(plant.TCPInClear, "beyond loopback nothing goes in the clear unless that is said", unit("rdma/tcp", "TestConfig")),
		one(plant.IdentKept, "files that will not do leave what they held before in use", unit("heal/identity", "TestKeeperKeepsWhatWasGood")),
		one(plant.IdentDropEarly, "an authority is dropped when no certificate is by it any more", unit("heal/identity", "TestAuthorityChangesInSteps")),
	)
}
