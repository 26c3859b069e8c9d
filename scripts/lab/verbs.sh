#!/bin/sh
# Tests of the verbs provider in the lab machine, on Soft-RoCE: rxe6 over a veth
# pair of its own, and for what needs two devices rxe0 and rxe1 of six.sh.
#
#   scripts/lab/verbs.sh [go test flags, such as -test.run '^TestConformance$']
#   scripts/lab/verbs.sh -test.run Latency -test.v     the figures
#
# Beside the tests ib_write_lat of perftest runs on the same device: its latency
# of 64 bytes is what the one of a 64-byte stream entry is to be read beside;
# without it the exit code is 1.
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
cp "$here/six.sh" "$here/latency.sh" "$work/"
"$here/lab.sh" run --files "$work" --memory 2048 --timeout "${LAB_TIMEOUT:-900}" "
. /files/six.sh
. /files/latency.sh
six_up
set +e
ip link add w0 mtu 4200 type veth peer name w1 mtu 4200 || exit 1
ip addr add 10.7.0.1/24 dev w0
ip link set w0 up && ip link set w1 up
rdma link add rxe6 type rxe netdev w0 || exit 1
i=0
until ibv_devinfo -d rxe6 2>/dev/null | grep -q PORT_ACTIVE; do
	i=\$((i + 1))
	[ \$i -lt 50 ] || { echo 'rxe6 does not become active'; exit 1; }
	sleep 0.1
done
ibv_devinfo -v -d rxe6 | grep -E 'active_mtu|GID\\[|max_cqe:|max_qp_wr|max_qp_rd_atom'
latency=\$(write_latency rxe6 rxe6 10.7.0.1)
told=\$?
echo \"lab: ib_write_lat, 64 bytes: \$latency\"
cd /files
HEALKV_VERBS_DEVICE=rxe6 HEALKV_VERBS_NETDEV=w0 HEALKV_VERBS_PEERS=rxe0,rxe1 ./verbs.test -test.timeout ${LAB_TIMEOUT:-900}s $args
code=\$?
[ \$code -ne 0 ] || exit \$told
exit \$code
"
