// Package demo is the product's main job, once: a local cluster under a
// published workload loses a node by SIGKILL, heals it by HEAL and once more
// by full copy, and verifies itself: acknowledged writes, replicas, and the
// linearizability of watched keys.
//
// It drives node processes as a user would (node serve, signals) and their
// load generators over the nodes' loopback HTTP (bench/agent). What it reports
// it read from the nodes' status and from the generators' files; what it
// verifies it read back through the client API.
package demo
