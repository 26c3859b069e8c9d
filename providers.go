package healkv

// What is imported here can be asked for by name; shm is imported where it is
// used.
import (
	_ "healkv/rdma/tcp"
	_ "healkv/rdma/verbs"
)
