// Package netns makes several hosts of one: a network namespace for each, joined
// by a switch, so that real node processes speak over real interfaces which can
// be cut, made deaf in one direction, and slowed. Linux, as root.
//
// A Network has hosts 0 to n-1 and one more, Outside, for clients. Host i is the
// namespace healkv-ID-i with the interface eth0 and the address Address(i); the
// other end of its cable is port p<i> of the bridge sw in healkv-ID-sw. No
// interface is ever in the namespace of the caller, so nothing of it can meet
// the machine's own network, and with a namespace goes everything in it.
//
// # How links are broken
//
// Unplug takes the switch's end down: the host sees its carrier go, nothing else.
// Down takes the host's own interface down: its routes go too. Drop loses what
// one host sends to another and nothing else: the sender takes a hardware address
// that nobody has for the other's, without a word. That needs no packet filter,
// which small kernels lack, and cuts one direction as a filter does.
//
// Whatever was done, AwaitReach compares the network with what it should be by
// datagrams from everybody to everybody: a cut that cuts nothing is an error.
//
// # What is left behind
//
// Close removes everything. Of a run that was killed the namespaces stay; the
// next New finds its lock free and removes them, with what the run said it has
// in memory (Scratch).
//
// Sources: ip-netns(8), veth(4), setns(2).
package netns
