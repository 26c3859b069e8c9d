// Package matrix is the list of faults a cluster must live through, and of the
// kinds of cluster that must live through each: data, no doing. The simulator
// (heal/simulation) and the clusters of processes (`node chaos --matrix`) carry
// the cells out; a cell of a row and a column that cannot be says why not.
//
// Every cell is judged as every run is: what was promised is still there, the
// histories are linearizable, all nodes are live in the end. And the longest
// stall of writes is bounded: at one node that may serve, or of all. Where all
// data is gone (reboot of all) it ends with nodes that serve nothing and say so.
//
// Units: bounds are times, given for a length of the lease.
package matrix
