#!/bin/sh
# Tests of the verbs provider in the lab machine, on Soft-RoCE over a veth pair.
#
#   scripts/lab/verbs.sh [go test flags, such as -test.run '^TestConformance$']
#   scripts/lab/verbs.sh -test.run Latency -test.v     the figures
#
# Beside the tests ib_write_lat of perftest runs on the same device: its latency
# of 64 bytes is what the one of a 64-byte stream entry is to be read beside.
#
# Needs libibverbs-dev and pkg-config to build. LAB_TIMEOUT bounds the machine's
# life in seconds.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
pkg-config --exists libibverbs || { echo "verbs.sh: no libibverbs; as root: apt-get install libibverbs-dev pkg-config" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
(cd "$top" && "${GO:-go}" test -c -tags verbs -o "$work/verbs.test" ./rdma/verbs)
[ $# -gt 0 ] || set -- -test.v
args=
for a; do args="$args '$a'"; done
"$here/lab.sh" run --files "$work" --memory 2048 --timeout "${LAB_TIMEOUT:-400}" "
ip link add v0 mtu 4200 type veth peer name v1 mtu 4200 || exit 1
ip addr add 10.7.0.1/24 dev v0
ip link set v0 up && ip link set v1 up
rdma link add rxe0 type rxe netdev v0 || exit 1
i=0
until ibv_devinfo -d rxe0 2>/dev/null | grep -q PORT_ACTIVE; do
	i=\$((i + 1))
	[ \$i -lt 50 ] || { echo 'rxe0 does not become active'; exit 1; }
	sleep 0.1
done
ibv_devinfo -v -d rxe0 | grep -E 'active_mtu|GID\\[|max_cqe:|max_qp_wr|max_qp_rd_atom'
# perftest measures the frequency of the processor first, in vain on a machine
# that is busy: then it says inf.
for try in 1 2 3; do
	timeout 60 ib_write_lat -p 19054 -d rxe0 -x 1 -s 64 -n 1000 -F >/tmp/first 2>&1 &
	i=0
	until grep -q -i :4A6E /proc/net/tcp /proc/net/tcp6 || [ \$i -ge 100 ]; do i=\$((i + 1)); sleep 0.1; done
	timeout 60 ib_write_lat -p 19054 -d rxe0 -x 1 -s 64 -n 1000 -F 10.7.0.1 >/tmp/second 2>&1
	wait
	grep -E '^ *64 ' /tmp/second | grep -v inf | while read -r _ _ min max typical _ _ most _; do
		echo \"lab: ib_write_lat, 64 bytes: typical \$typical us, least \$min, 99 % below \$most, most \$max; 1000 round trips\"
	done | tee /tmp/latency
	[ ! -s /tmp/latency ] || break
done
[ -s /tmp/latency ] || echo 'lab: ib_write_lat: the machine is too busy to tell'
cd /files
HEALKV_VERBS_DEVICE=rxe0 HEALKV_VERBS_NETDEV=v0 ./verbs.test -test.timeout ${LAB_TIMEOUT:-400}s $args
"
