#!/bin/sh
# Several hosts over TCP in the lab machine: the tests of bench/netns with what
# the development machine lacks: links slowed by netem. Two emulated processors
# carry three nodes, a little load and a long lease; more is asked for by flags,
# for a host with nothing else to do.
#
#   scripts/lab/netns.sh [-netns.nodes 6 -netns.faults "slowed,unplugged" and other flags of the test]
#
# LAB_TIMEOUT bounds the machine's life in seconds.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
limit=${LAB_TIMEOUT:-420}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
mkdir "$work/files"
# Without C: there are few libraries in the machine.
(cd "$top" && CGO_ENABLED=0 "${GO:-go}" test -c -tags process -o "$work/files/netns.test" ./bench/netns)
(cd "$top" && CGO_ENABLED=0 "${GO:-go}" build -o "$work/files/node" ./cmd/node)
args=
for a; do args="$args '$a'"; done
code=0
"$here/lab.sh" run --files "$work/files" --timeout "$limit" "
modprobe bridge && modprobe tcp_diag || exit 1
cd /files
./netns.test -test.v -test.run '^TestNetns' -test.timeout ${limit}s -netns.node /files/node -netns.nodes 3 -netns.required -netns.faults slowed -netns.lease 20s -netns.keys 1000 -netns.rate 4 $args
" >"$work/console" || code=$?
slowed=$(grep -a -c 'links slowed' "$work/console" || true)
if [ "$code" -ne 0 ] || [ "$slowed" -eq 0 ]; then
	cat "$work/console" >&2
	echo "lab: netns: exit code $code, links were slowed in $slowed tests" >&2
	exit 1
fi
grep -a -e '^--- ' -e '^    netns_test' -e '^    trial_test' -e '^    faults_test' -e '^    network_test' "$work/console"
