#!/bin/sh
# make lab-test: everything that needs the lab machine, one part after the
# other. Each part bounds its own time, prints what it counted and fails on zero.
#
#   scripts/lab/test.sh [RESETS]     hard resets of part "resets" (default 3; 20 are the full run)
#
# LABHISTORY: operations that the part "cluster direct" judges (default 10000; 100000 are the full run).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
resets=${1:-3}
begun=$(date +%s)
parts=0
failed=
hangs=0
hung=${LAB_DIR:-$here/../../out/lab}/hung
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

# part runs one more time what ended because the machine's kernel hung: that says
# something of the emulated machine, and nothing of us unless it happens again.
part() {
	name=$1 && shift
	echo "lab-test: $name"
	from=$(date +%s)
	rm -f "$hung"
	"$@" && ok=1 || ok=
	if [ -z "$ok" ] && [ -e "$hung" ]; then
		echo "lab-test: $name: the machine's kernel hung, once more; its stack:"
		grep -a -A 30 'BUG: soft lockup' "$hung" | tr -d '\r' | head -n 60
		hangs=$((hangs + 1))
		rm -f "$hung"
		"$@" && ok=1 || ok=
	fi
	if [ -n "$ok" ]; then
		parts=$((parts + 1))
		echo "lab-test: $name passed in $(($(date +%s) - from)) s"
	else
		failed="$failed $name"
		echo "lab-test: $name FAILED after $(($(date +%s) - from)) s"
	fi
}

verbs() {
	log=$work/verbs
	code=0
	"$here/verbs.sh" -test.short -test.v >"$log" 2>&1 || code=$?
	passed=$(grep -a -c '^--- PASS' "$log" || true)
	# The machine has the device, its interface, root: nothing may be left out.
	skipped=$(grep -a -c '^ *--- SKIP' "$log" || true)
	if [ "$code" -ne 0 ] || [ "$passed" -eq 0 ] || [ "$skipped" -ne 0 ]; then
		grep -a -A 3 '^ *--- SKIP' "$log" || true
		tail -n 80 "$log"
		code=1
	fi
	grep -a -e '^ .*µs' -e '^lab: ib' "$log" || true
	echo "lab: verbs: $passed tests passed, $skipped skipped"
	return $code
}

"$here/lab.sh" prepare
part smoke "$here/smoke.sh"
part pools "$here/dax.sh" pools
part verbs verbs
part "cluster direct" "$here/cluster.sh" direct "${LABHISTORY:-10000}"
part "cluster staged" "$here/cluster.sh" staged 1000
part "slow links" "$here/netns.sh"
part resets "$here/dax.sh" resets "$resets"

echo "lab-test: $parts parts passed in $(($(date +%s) - begun)) s, $hangs hangs of the machine's kernel${failed:+, failed:$failed}"
[ -z "$failed" ] && [ "$parts" -gt 0 ]
