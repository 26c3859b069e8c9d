// Package local is a cluster of node processes on one machine: its directory,
// its place in memory, and the supervisor that runs the processes in the
// foreground. It is what `node cluster`, `node status` and the demo stand on.
// It knows nothing of the protocol: a node is a process with a configuration
// file and a /status page.
//
// A cluster directory D holds cluster.toml and, for every node i, node-i with
// node.toml, pool, state and log. What has to lie in memory (rings, doorbells,
// sockets, indexes, and pools of the memory domain) lies in the run directory
// R = /dev/shm/healkv-<first 8 of the cluster id>-<uid>, whose name is short
// because a socket's path may have 108 characters:
//
//	R/owner       the path of D: R is removed when D is gone
//	R/m           a tmpfs with huge pages where we may mount one, else a folder
//	R/m/run       run_dir of all nodes
//	R/m/index-i   index_dir of node i
//	R/m/pool-i    pool_dir of node i, memory domain only
//
// Files have mode 0600, directories 0700.
package local
