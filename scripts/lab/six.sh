#!/bin/sh
# Six rxe devices for six nodes in one network namespace. To be sourced in the
# lab machine (lab.sh run --files with this file among them); errors end the
# command from there on (set -eu):
#
#   . /files/six.sh
#   six_up          rxe0 to rxe5 with 10.6.0.1 to 10.6.5.1; fails with a word why
#   six_address I   the address of rxeI
#   six_cut I       rxeI's link down; six_heal I brings it up again
#
# Each device sits on an interface v$I of its own; its other end b$I is in the
# bridge br6, so that every packet between two devices crosses real interfaces
# and can be cut, delayed and lost there (tc qdisc add dev v$I ... netem).
#
# Devices in several network namespaces do not work on this kernel: rxe sends
# with the route of the first. In one namespace the kernel would deliver packets
# to its own addresses over lo. So the rules of the local table come after ours:
# what is sent from one of our addresses to another takes the table of the
# sender, whose only route leaves over its interface; what comes in over one of
# our interfaces is looked up in the local table as usual.

set -eu

six_address() { echo "10.6.$1.1"; }
six_mac() { printf '02:06:00:00:00:%02x' "$1"; }

six_up() {
	modprobe rdma_rxe || return 1
	modprobe veth || return 1
	modprobe -q bridge || { echo "six: no bridge in this machine" >&2; return 1; }
	for f in all default; do
		sysctl -q -w net.ipv4.conf.$f.rp_filter=0 net.ipv4.conf.$f.accept_local=1 net.ipv4.conf.$f.arp_ignore=1 || return 1
	done
	ip link add br6 type bridge && ip link set br6 up || return 1
	for i in 0 1 2 3 4 5; do
		ip link add "v$i" type veth peer name "b$i" || return 1
		ip link set "v$i" address "$(six_mac "$i")"
		ip link set "v$i" mtu 4200 && ip link set "b$i" mtu 4200 # RoCE packets of 4096 bytes
		ip link set "b$i" master br6 && ip link set "b$i" up
		sysctl -q -w "net.ipv4.conf.v$i.rp_filter=0" "net.ipv4.conf.v$i.accept_local=1"
		ip address add "$(six_address "$i")/16" dev "v$i" noprefixroute || return 1
		ip link set "v$i" up
	done
	for i in 0 1 2 3 4 5; do
		for j in 0 1 2 3 4 5; do
			[ "$i" = "$j" ] || ip neighbour replace "$(six_address "$j")" lladdr "$(six_mac "$j")" nud permanent dev "v$i" || return 1
		done
		ip route add 10.6.0.0/16 dev "v$i" src "$(six_address "$i")" table $((60 + i)) || return 1
		# To itself over lo; to the others over its interface.
		ip rule add pref 40 from "$(six_address "$i")" to "$(six_address "$i")" lookup local
		ip rule add pref 50 iif lo from "$(six_address "$i")" to 10.6.0.0/16 lookup $((60 + i))
	done
	ip rule add pref 100 lookup local && ip rule del pref 0 || return 1
	for i in 0 1 2 3 4 5; do
		rdma link add "rxe$i" type rxe netdev "v$i" || return 1
	done
	for i in 0 1 2 3 4 5; do
		tries=0
		until grep -q ACTIVE "/sys/class/infiniband/rxe$i/ports/1/state"; do
			tries=$((tries + 1))
			[ $tries -lt 100 ] || { echo "six: rxe$i does not become active" >&2; return 1; }
			sleep 0.1
		done
	done
}

six_cut() { ip link set "b$1" down; }
six_heal() { ip link set "b$1" up; }
