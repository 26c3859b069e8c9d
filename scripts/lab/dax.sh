#!/bin/sh
# DAX in the lab machine (make lab-test):
#
#   scripts/lab/dax.sh pools           pools on a real DAX mount: MAP_SYNC, CLWB, killed processes; and its absence
#   scripts/lab/dax.sh resets [N]      power loss of all: a cluster of six nodes on an NVDIMM that is reset N
#                                      times under load (default 3). After each all six must come back by
#                                      a cold start, whose time is shown, with every acknowledged write;
#                                      a write that fails, or a node that ends, before the reset is a
#                                      failure
#   scripts/lab/dax.sh noticed         that it is: a node is killed under load, one life
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
cd "$top"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
go=${GO:-go}

pools() {
	mkdir "$work/files"
	CGO_ENABLED=0 $go test -tags lab -c -o "$work/files/pmem.test" ./pmem
	code=0
	"$here/lab.sh" run --memmap --files "$work/files" --timeout 240 '
		set -e
		export HEALKV_DAX_DIR=/mnt/dax HEALKV_NODAX_DIR=/mnt/dax
		mkdir -p /mnt/dax
		mkfs.ext4 -q -b 4096 /dev/pmem0 2>&1
		mount -t ext4 -o dax=always /dev/pmem0 /mnt/dax
		/files/pmem.test -test.v -test.timeout 180s -test.run "^(TestLabPoolOnDAX|TestDAX|TestFlushInstructions)$" 2>&1
		/files/pmem.test -test.v -test.timeout 180s -test.run "^TestKilledProcess$/^dax$" 2>&1
		umount /mnt/dax
		mount -t ext4 -o dax=never /dev/pmem0 /mnt/dax
		/files/pmem.test -test.v -test.timeout 60s -test.run "^TestLabNotOnDAX$" 2>&1
	' >"$work/console" || code=$?
	grep -a -e '^ *---' -e '^    ' -e '^panic' "$work/console" || true
	passed=$(grep -a -c '^--- PASS' "$work/console" || true)
	if [ "$code" -ne 0 ] || [ "$passed" -ne 5 ] || grep -a -q -e '--- SKIP' "$work/console"; then
		tail -n 40 "$work/console" >&2
		echo "lab: dax pools: exit code $code, $passed of 5 tests passed" >&2
		exit 1
	fi
	echo "lab: dax pools: 5 tests passed on a DAX mount"
}

# life boots the machine with the NVDIMM as the last life left it.
life() {
	"$here/lab.sh" run --nvdimm "$work/nvdimm" --said "$work/said" --files "$work/files" --timeout 300 "$@" >"$work/console"
}

# What runs in it. The namespace and the file system are made in the first life.
boot='
	set -e
	mkdir -p /mnt/dax
	if ! [ -s /files/journal ]; then
		ndctl create-namespace -f -e namespace0.0 -m fsdax -M mem >/dev/null
		mkfs.ext4 -q -b 4096 /dev/pmem0 2>&1
	fi
	mount -t ext4 -o dax=always /dev/pmem0 /mnt/dax
	export LAB_RESET_DIR=/mnt/dax/cluster LAB_RESET_NODE=/files/node LAB_RESET_JOURNAL=/files/journal LAB_RESET_SAID=/dev/said
	/files/reset.test -test.v -test.timeout 280s -test.run "^TestLabReset$" 2>&1
'

build() {
	mkdir "$work/files"
	CGO_ENABLED=0 $go build -tags= -o "$work/files/node" ./cmd/node
	CGO_ENABLED=0 $go test -tags lab -c -o "$work/files/reset.test" ./bench/reset
	: >"$work/said"
	cp "$work/said" "$work/files/journal"
}

acknowledged() { grep -a -c '^[0-9]* [0-9]*$' "$work/said" || true; }

# judged tells what the life that has just ended found of the lives before it,
# and fails if it found nothing out, or something else than was acknowledged.
judged() {
	line=$(grep -a '^lab: judged' "$work/console") || return 1
	back=$(grep -a '^lab: cold start: ' "$work/console") || { echo "lab: no cold start after reset $done" >&2; return 1; }
	took=$(echo "$back" | sed -n 's/.* serving a read \([^ ]*\) after .*/\1/p')
	[ -n "$took" ] || return 1
	times="$times${times:+, }$took"
	set -- $line
	[ "$3" = "$acked" ] || { echo "lab: $3 acknowledged writes were judged, $acked were said" >&2; return 1; }
	echo "lab: after reset $done: ${back#lab: }"
	echo "lab: after reset $done: ${line#lab: judged }"
	keys=$(echo "$line" | sed -n 's/.*nodes: \([0-9]*\) keys acknowledged.*/\1/p')
	looked=$((looked + nodes * keys))
}

resets() {
	build
	nodes=6 # of bench/reset
	times=
	done=0
	acked=0
	looked=0
	begun=$(date +%s)
	while [ "$done" -lt "$1" ]; do
		cp "$work/said" "$work/files/journal"
		# Between 0 and 8 s after the first acknowledgements.
		after=$(od -An -N2 -tu2 /dev/urandom | awk '{printf "%.3f", $1 / 8192}')
		code=0
		life --kill-after "$after" "$boot" || code=$?
		now=$(acknowledged)
		# The plug may have been pulled after something had failed.
		if [ "$code" -ne 137 ] || [ "$now" -le "$acked" ] || grep -a -q -e '^lab: failed' -e '^--- FAIL' -e '^panic' "$work/console"; then
			tail -n 60 "$work/console" >&2
			echo "lab: life $((done + 1)) ended with $code, $((now - acked)) writes acknowledged$(grep -a '^lab: failed' "$work/console" | sed 's/^lab:/;/')" >&2
			exit 1
		fi
		[ "$done" -eq 0 ] || judged || { tail -n 60 "$work/console" >&2; exit 1; }
		done=$((done + 1))
		echo "lab: reset $done of $1, $after s after the load began: $((now - acked)) more writes acknowledged, $now in all"
		[ "$done" -ne 1 ] || grep -a '^lab: first start' "$work/console"
		acked=$now
	done
	cp "$work/said" "$work/files/journal"
	life "export LAB_RESET_LAST=1; $boot" || { tail -n 60 "$work/console" >&2; exit 1; }
	judged || { tail -n 60 "$work/console" >&2; exit 1; }
	echo "lab: $done hard resets under load in $(($(date +%s) - begun)) s: $acked acknowledged writes, all present after each; $looked keys looked at, 0 lost, 0 failed writes, 0 nodes ended"
	echo "lab: cold starts of $nodes nodes, from the start of their processes until each has served a read: $times"
	[ "$done" -gt 0 ] && [ "$acked" -gt 0 ] && [ "$looked" -gt 0 ]
}

noticed() {
	build
	code=0
	life --kill-after 30 "export LAB_RESET_KILL=1; $boot" || code=$?
	if [ "$code" -eq 0 ] || [ "$code" -eq 137 ] || ! grep -a -q '^lab: failed: reset: the load was disturbed' "$work/console"; then
		tail -n 60 "$work/console" >&2
		echo "lab: a node was killed under load, and nobody noticed: exit code $code" >&2
		exit 1
	fi
	echo "lab: noticed: $(grep -a '^lab: failed' "$work/console" | sed 's/^lab: failed: //')"
}

case ${1:-} in
pools) pools ;;
resets) resets "${2:-3}" ;;
noticed) noticed ;;
*) sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
