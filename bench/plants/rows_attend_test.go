package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.AttendNext, "a client on a worker's thread goes on with the node's next life", unit("dataplane", "TestAttendLives")),
		one(plant.AttendNever, "who has left the worker's thread is not called there again", unit("dataplane", "TestAttend")),
	)
}
