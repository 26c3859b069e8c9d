#!/bin/sh
# A cluster of six nodes over verbs in the lab machine, each on a Soft-RoCE
# device of its own: the demo with TAOBench A and a judged history, in which a
# node is killed and heals.
#
#   scripts/lab/cluster.sh direct [OPERATIONS]   pools in memory: heals by RDMA READ of the
#                                                buddy's log, at least so many operations judged
#                                                (default 100000)
#   scripts/lab/cluster.sh staged [OPERATIONS]   pools on DAX, which cannot be registered for
#                                                long: through the staging area (default 5000)
#
# LAB_TIMEOUT bounds the history in seconds (default 600); the machine is stopped
# 300 s later, so that of a history that takes too long the demo itself tells.
# LAB_RESULTS is a directory in which report and logs are left. For hosts that are
# slow or busy: LAB_LEASE and LAB_DRIFT, LAB_RATE (accesses a second, all nodes
# together), LAB_WATCH (operations of the judged history a second, each node).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
part=${1:-direct}
case $part in
direct) operations=${2:-100000} machine= out=/tmp/demo domain=memory ;;
staged) operations=${2:-5000} machine=--memmap out=/mnt/dax/demo domain=dax ;;
*) sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
life=${LAB_TIMEOUT:-600}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
results=${LAB_RESULTS:-$work/results}
mkdir "$work/files"
cp "$here/six.sh" "$work/files/"
(cd "$top" && "${GO:-go}" build -tags verbs -o "$work/files/node" ./cmd/node)

# Two emulated processors for six nodes: workers that sleep as soon as they have
# nothing to do, a lease of many seconds, small pools and rings. No more load than
# leaves time to a node that starts: the history is what takes long.
commands='
. /files/six.sh
six_up
if [ '$domain' = dax ]; then
	mkfs.ext4 -q -b 4096 /dev/pmem0 && mkdir -p /mnt/dax && mount -t ext4 -o dax=always /dev/pmem0 /mnt/dax || exit 1
fi
sent() { cat /sys/class/infiniband/rxe$1/ports/1/hw_counters/sent_pkts; }
code=0
/files/node demo --out '$out' --provider verbs --verbs-device rxe0,rxe1,rxe2,rxe3,rxe4,rxe5 --nodes 6 --domain '$domain' \
	--keys 2000 --pool-size 64MiB --segment-size 2MiB --max-keys 16384 --ring-size 4MiB \
	--spin 0s --lease '${LAB_LEASE:-10s}' --drift '${LAB_DRIFT:-1s}' \
	--rate '${LAB_RATE:-120}' --watch-rate '${LAB_WATCH:-150}' --steady 3s --away 1s --after 3s --full=false --overwrite 0 \
	--history '$operations' --history-within '$life's || code=$?
for i in 0 1 2 3 4 5; do
	n=$(sent $i)
	[ "$n" -le 1000 ] || echo "lab: pass rxe$i has sent $n packets"
done
[ ! -e '$out'/report.json ] || cp '$out'/report.json /results/
for i in 0 1 2 3 4 5; do [ $code -eq 0 ] || cp '$out'/cluster/node-$i/log /results/node-$i.log || true; done
cat /proc/uptime
exit $code
'
code=0
# shellcheck disable=SC2086 # no option or one
"$here/lab.sh" run $machine --memory 4096 --files "$work/files" --results "$results" --timeout $((life + 300)) "$commands" >"$work/console" 2>&1 || code=$?

passed=0
wrong=
# want says what must be in a file: a regular expression of grep -E.
want() {
	if grep -a -q -E "$3" "$2"; then passed=$((passed + 1)); else wrong="$wrong; no $1"; fi
}
report=$results/report.json
if [ "$code" -eq 0 ] && [ -s "$report" ]; then
	want "provider verbs in the report" "$report" '"provider": ?"verbs"'
	want "device in the report" "$report" '"device": ?"rxe0 port 1'
	want "domain in the report" "$report" '"domain": ?"'$domain'"'
	want "linearizable history" "$report" '"linearizable": ?true'
	want "verification" "$report" '"ok": ?true'
	judged=$(sed -n 's/.*"history_ops": *\([0-9]*\).*/\1/p' "$report" | head -n 1)
	if [ "${judged:-0}" -ge "$operations" ]; then passed=$((passed + 1)); else wrong="$wrong; ${judged:-no} operations judged, want $operations"; fi
	want "recovery by heal" "$report" '"kind": ?"heal"'
	if [ "$part" = direct ]; then
		want "heal by RDMA READ alone, the buddy's processor at rest" "$work/console" \
			'heal over rxe2 .*: [1-9][0-9]* bytes of the log by RDMA READ, 0 out of staging areas; the buddy copied 0 pieces, 0 bytes, with 0 ns of processor time; to open, register [1-9][0-9]* windows and release, [1-9][0-9]? requests, it spent [1-9][0-9]* ns'
	else
		want "heal through the staging area" "$work/console" \
			'heal over rxe2 .*: 0 bytes of the log by RDMA READ, [1-9][0-9]* out of staging areas; the buddy copied [1-9][0-9]* pieces, [1-9][0-9]* bytes, with [1-9][0-9]* ns of processor time; to open, register 0 windows and release, [1-9][0-9]* requests, it spent [1-9][0-9]* ns'
	fi
	devices=$(grep -a -c '^lab: pass rxe' "$work/console" || true)
	if [ "$devices" -eq 6 ]; then passed=$((passed + 1)); else wrong="$wrong; $devices of 6 devices have sent packets"; fi
fi
if [ "$code" -ne 0 ] || [ "$passed" -ne 9 ]; then
	cat "$work/console" >&2
	echo "lab: cluster $part: exit code $code, $passed of 9 checks passed$wrong" >&2
	exit 1
fi
grep -a -E '^ *[0-9.]+s  |^ *history of|^Verified|^lab: pass|operations, ' "$work/console"
echo "lab: cluster $part: $passed of 9 checks passed, $judged operations judged"
