#!/bin/sh
# make failover: what every kind of fault costs a local cluster of six nodes,
# judged by its bounds; the report is in out/failover. Exit status 1 if one was
# not kept.
#
#   scripts/failover.sh NODE TIMES [FLAGS of node demo]
#
# Some bounds are stated with huge pages: the nodes mount a tmpfs with them, which
# only root may. Nothing has to be reserved for that; but a kernel whose setting
# forbids huge pages in tmpfs altogether is told otherwise meanwhile, and memory
# is compacted first so that there are some. Where this cannot be done, it is
# said, and those bounds are not judged.
#
# FAILOVERLIMIT bounds the time in seconds (default 120 and 60 for each time).
set -eu

node=$1 times=$2
shift 2
limit=${FAILOVERLIMIT:-$((120 + 60 * times))}
setting=/sys/kernel/mm/transparent_hugepage/shmem_enabled
demo=
# Nodes die with the demo.
trap '[ -z "$demo" ] || kill $demo 2>/dev/null || true' EXIT
trap 'exit 1' INT TERM HUP

if [ "$(id -u)" -ne 0 ]; then
	echo "failover: not root: no huge pages; what is stated with them will not be judged" >&2
else
	if grep -q '\[deny\]' "$setting" 2>/dev/null; then
		if echo never >"$setting" 2>/dev/null; then
			trap 'echo deny >"$setting"; [ -z "$demo" ] || kill $demo 2>/dev/null || true' EXIT
			echo "failover: $setting was deny; never until the end"
		else
			echo "failover: $setting is deny and cannot be changed: no huge pages" >&2
		fi
	fi
	echo 1 >/proc/sys/vm/compact_memory 2>/dev/null || true
fi

begun=$(date +%s)
code=0
timeout -k 30 "$limit" "$node" demo --failover "$times" --check --out out/failover --keys 100000 --rate 20000 \
	--steady 3s --away 3s --after 3s --full=false --overwrite 0 "$@" &
demo=$!
wait $demo || code=$?
demo=
[ $code -ne 124 ] || echo "failover: stopped after $limit s" >&2
echo "failover: exit status $code after $(($(date +%s) - begun)) s; report: out/failover/report.html"
exit $code
