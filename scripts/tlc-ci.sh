#!/bin/sh
# Checks the specification as CI does: docs/spec/*.cfg must finish without a
# violation; each of docs/spec/hazards/*.cfg leaves one cure out and must be
# violated as its first line says, and finish without a violation with the cure.
#
#   scripts/tlc-ci.sh [-jobs N] [-workers N] [-memory 2g] [CFG ...]
#
# Without configurations it runs all of CI's. It prints a table, appends its
# counts to the file that HEALKV_TALLY names, and fails if anything differs, a
# count is zero, or a model has no configuration.
set -eu

jobs=2 workers=1 memory=2g
while [ $# -gt 0 ]; do
	case $1 in
	-jobs) jobs=$2 && shift 2 ;;
	-workers) workers=$2 && shift 2 ;;
	-memory) memory=$2 && shift 2 ;;
	-*) echo "tlc-ci: unknown option $1" >&2 && exit 1 ;;
	*) break ;;
	esac
done
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
all=
if [ $# -eq 0 ]; then
	set -- docs/spec/*.cfg docs/spec/hazards/*.cfg
	all=yes
fi

mkdir -p out/tlc
dir=$(mktemp -d out/tlc/ci.XXXXXX)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

# One line a run: configuration, with or without -cured, what must come out.
# "holds", or the name of what is violated.
for cfg in "$@"; do
	want=$(sed -n '1s/.*, expect \([A-Za-z0-9]*\).*/\1/p' "$cfg")
	[ -n "$want" ] || { echo "tlc-ci: $cfg: the first line does not say what to expect" >&2 && exit 1; }
	if [ "$want" = holds ]; then
		echo "$cfg as-is holds"
	else
		echo "$cfg as-is $want"
		echo "$cfg -cured holds"
	fi
done >"$dir/plan"
runs=$(wc -l <"$dir/plan")


check() { # NUMBER CFG as-is|-cured WANT
	begin=$(date +%s)
	option=
	[ "$3" = as-is ] || option=-cured
	[ "$4" = holds ] || option=-quick
	rc=0
	# shellcheck disable=SC2086 # no option or one
	sh scripts/tlc.sh -workers "$workers" -memory "$memory" $option "$2" >"$dir/$1.log" 2>&1 || rc=$?
	result=$(tail -1 "$dir/$1.log")
	case $rc:$result in
	0:"tlc: "*" finished, "*) got=holds ;;
	12:"tlc: "*" violated "*) got=$(expr "$result" : '.* violated \([A-Za-z0-9]*\),') ;;
	*) got=failed ;;
	esac
	states=$(expr "$result" : '.* \([0-9]*\) distinct,' || true)
	verdict=ok
	[ "$got" = "$4" ] || verdict=WRONG
	[ "${states:-0}" -gt 0 ] || verdict=WRONG
	echo "$2 $3 $4 $got ${states:-0} $(($(date +%s) - begin)) $verdict" >"$dir/$1.result"
}

echo "specification: $runs runs of TLC"
n=0
while read -r cfg option want; do
	n=$((n + 1))
	if [ $n -eq 1 ]; then
		check $n "$cfg" "$option" "$want"
		continue
	fi
	check $n "$cfg" "$option" "$want" &
	# POSIX sh has no "wait for any": go in step.
	[ $(((n - 1) % jobs)) -ne 0 ] || wait
done <"$dir/plan"
wait

printf '%-34s %-12s %-9s %-9s %10s %6s\n' configuration cures expected found states s
wrong=0 states=0 configs=0 shown=0 n=0
while [ $n -lt "$runs" ]; do
	n=$((n + 1))
	if ! read -r cfg option want got found seconds verdict <"$dir/$n.result"; then
		echo "tlc-ci: run $n left no result" >&2
		exit 1
	fi
	cures=all
	left=$(sed -n 's/^ *Without *= {\(.*\)}.*/\1/p' "$cfg" | tr -d '" ')
	[ "$option" = -cured ] || [ -z "$left" ] || cures="without $left"
	mark=
	[ "$verdict" = ok ] || mark=" <-- WRONG" wrong=$((wrong + 1))
	printf '%-34s %-12s %-9s %-9s %10s %6s%s\n' "${cfg#docs/spec/}" "$cures" "$want" "$got" "$found" "$seconds" "$mark"
	states=$((states + found)) configs=$((configs + 1))
	if [ "$want" != holds ] && [ "$verdict" = ok ]; then shown=$((shown + 1)); fi
	[ "$verdict" = ok ] || { echo "--- $cfg $option" && tail -60 "$dir/$n.log"; } >>"$dir/wrong"
done
[ ! -s "$dir/wrong" ] || cat "$dir/wrong"
echo "specification: $configs configurations, $states distinct states, $shown hazards shown without their cure"

if [ -n "$all" ]; then
	for model in synchronous strict read-enforced eventual scope; do
		grep -lq "Model = \"$model\"" docs/spec/*.cfg || { echo "tlc-ci: no configuration for the model $model" >&2 && wrong=$((wrong + 1)); }
	done
	[ "$shown" -gt 0 ] || { echo "tlc-ci: no hazard was shown" >&2 && wrong=$((wrong + 1)); }
fi
if [ -n "${HEALKV_TALLY:-}" ]; then
	{
		printf '{"group":"specification","name":"configurations","count":%d}\n' "$configs"
		printf '{"group":"specification","name":"distinct states","count":%d}\n' "$states"
		printf '{"group":"specification","name":"hazards shown without their cure","count":%d}\n' "$shown"
	} >>"$HEALKV_TALLY"
fi
[ "$wrong" -eq 0 ] && [ "$states" -gt 0 ] || { echo "tlc-ci: $wrong wrong" >&2 && exit 1; }
