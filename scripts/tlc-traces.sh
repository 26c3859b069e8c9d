#!/bin/sh
# Has the specification look at what the shipped code did: the simulator writes
# traces of small clusters (heal/simulation, TestTraces), and TLC must accept
# each as a behaviour of docs/spec/Heal.tla (docs/spec/Trace.tla). Mutations of
# these traces, and traces of the code with a bug planted, must be refused.
#
#   scripts/tlc-traces.sh [-seeds N] [-first N] [-mutants N] [-models "MODEL ..."] [-jobs N] [-keep DIR] [-plain]
#
# It prints a table, appends its counts to the file that HEALKV_TALLY names, and
# fails if a trace is refused that must not be or the other way round, or if a
# count is zero. -keep leaves traces and TLC's output in DIR.
# -plain leaves mutations and planted bugs out.
set -eu

seeds=2 first=1 mutants=5 jobs=2 keep= plain=
models="synchronous strict read-enforced eventual scope"
while [ $# -gt 0 ]; do
	case $1 in
	-seeds) seeds=$2 && shift 2 ;;
	-first) first=$2 && shift 2 ;;
	-mutants) mutants=$2 && shift 2 ;;
	-models) models=$2 && shift 2 ;;
	-jobs) jobs=$2 && shift 2 ;;
	-keep) keep=$2 && shift 2 ;;
	-plain) plain=1 mutants=0 && shift ;;
	*) echo "tlc-traces: unknown option $1" >&2 && exit 1 ;;
	esac
done
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
go=${GO:-go}

# Bugs of which some trace must be refused: name (dataplane/plant), model, how
# many seeds. A bug does not show in every trace, and which those are changes
# with the code.
planted() {
	[ -z "$plain" ] || return 0
	cat <<-END
		H1-flush-before-promotion eventual 6
		H5-timestamp-keeps-its-epoch strict 6
		H6-shadow-fed-from-the-tail eventual 64
		H7-gone-members-records-stay-locked eventual 24
		H10-first-marker-at-the-tail strict 4
		H13-leftover-stays-locked eventual 32
		H16-stable-moves-before-all-settled eventual 4
		applied-record-readable-at-once read-enforced 4
		own-write-readable-at-once scope 4
		one-acknowledgement-is-enough synchronous 8
	END
}

mkdir -p out/tlc
if [ -n "$keep" ]; then
	mkdir -p "$keep"
	dir=$(cd "$keep" && pwd)
else
	dir=$(mktemp -d "$root/out/tlc/traces.XXXXXX")
	trap 'rm -rf "$dir"' EXIT
	trap 'exit 1' INT TERM
fi

begin=$(date +%s)
"$go" test -c -o "$dir/simulation.test" ./heal/simulation
[ -n "$plain" ] || "$go" test -c -tags plant -o "$dir/planted.test" ./heal/simulation
traces() { # PROGRAM MODEL FIRST SEEDS MUTANTS
	"$1" -test.run '^TestTraces$' -sim.traces "$dir" -sim.tracemodel "$2" -sim.tracefirst "$3" -sim.traceseeds "$4" -sim.tracemutants "$5" >"$dir/log" 2>&1 ||
		{ cat "$dir/log" >&2 && echo "tlc-traces: no traces were written" >&2 && exit 1; }
}
for model in $models; do
	traces "$dir/simulation.test" "$model" "$first" "$seeds" "$mutants"
done
planted | while read -r bug model many; do
	case " $models " in
	*" $model "*) (HEALKV_PLANT=$bug && export HEALKV_PLANT && traces "$dir/planted.test" "$model" 1 "$many" 0) ;;
	esac
done
echo "traces: written in $(($(date +%s) - begin)) s"

check() { # MODEL
	(
		cd "$dir/$1"
		cp "$root"/docs/spec/Heal.tla "$root"/docs/spec/Trace.tla "$root"/docs/spec/traces/TraceWords.tla .
		sed "s/^\( *Model *=\).*/\1 \"$1\"/" "$root"/docs/spec/traces/Trace.cfg >Trace.cfg
		{
			echo "---- MODULE TraceData ----"
			echo "EXTENDS TraceWords"
			echo "Traces == <<"
			comma=
			for part in *.part; do
				echo "$comma"
				cat "$part"
				comma=,
			done
			echo ">>"
			echo "===="
		} >TraceData.tla
	)
	sh scripts/tlc.sh -quick "$dir/$1/Trace.cfg" >"$dir/$1/log" 2>&1 || true
}
n=0
for model in $models; do
	check "$model" &
	n=$((n + 1))
	[ $((n % jobs)) -ne 0 ] || wait
done
wait

found_in() { # BUG TRACE THROUGH LINES
	printf '%-64s %6s %8s  refused\n' "$2" "$4" "$3" >>"$dir/found.$1"
}
printf '%-64s %6s %8s  %s\n' trace lines through outcome
wrong=0 accepted=0 lines=0 mutated=0 bugs=0 states=0
for model in $models; do
	log=$dir/$model/log
	case $(tail -1 "$log") in
	"tlc: Trace finished, "*) found=$(expr "$(tail -1 "$log")" : '.* \([0-9]*\) distinct,') ;;
	*) tail -40 "$log" && echo "tlc-traces: $model: TLC failed" >&2 && wrong=$((wrong + 1)) && found=0 ;;
	esac
	states=$((states + found))
	for part in "$dir/$model"/*.part; do
		name=$(basename "$part" .part)
		of=$(sed '1,/^lines |->/d' "$part" | wc -l)
		through=$(sed -n "s/^<<\"through\", \"$name\", \([0-9]*\)>>$/\1/p" "$log" | tail -1)
		outcome=refused
		! grep -qxF "<<\"accepted\", \"$name\">>" "$log" || outcome=accepted
		broken=$(sed -n "s/^<<\"broken\", \"$name\", [0-9]*, {\(.*\)}>>$/\1/p" "$log" | head -1)
		mark=
		if planted | grep -q "^${name#*!} "; then
			[ $outcome = accepted ] || found_in "${name#*!}" "$name" "${through:-0}" "$of"
			continue
		fi
		case $name:$outcome in
		*!*:refused) ;;
		*!*:accepted) mark=" <-- WRONG" wrong=$((wrong + 1)) ;;
		*:accepted) accepted=$((accepted + 1)) lines=$((lines + of)) ;;
		*) mark=" <-- WRONG: line $((${through:-0} + 1))" wrong=$((wrong + 1)) ;;
		esac
		[ $outcome = accepted ] || mutated=$((mutated + 1))
		printf '%-64s %6s %8s  %s%s%s\n' "$name" "$of" "${through:-0}" "$outcome" "${broken:+ ($broken)}" "$mark"
		if [ -n "$mark" ] && [ $outcome = refused ]; then
			sed '1,/^lines |->/d' "$part" | sed -n "$((${through:-0} + 1))p"
		fi
	done
done
for bug in $(planted | while read -r bug model many; do
	case " $models " in *" $model "*) echo "$bug" ;; esac
done); do
	if [ -s "$dir/found.$bug" ]; then
		bugs=$((bugs + 1))
		head -1 "$dir/found.$bug"
	else
		wrong=$((wrong + 1))
		printf '%-64s %s\n' "$bug" "all its traces accepted <-- WRONG"
	fi
done
echo "traces: $accepted accepted with $lines observations, $states distinct states, $mutated mutations and $bugs planted bugs refused"
if [ -n "${HEALKV_TALLY:-}" ]; then
	{
		printf '{"group":"traces","name":"accepted","count":%d}\n' "$accepted"
		printf '{"group":"traces","name":"observations","count":%d}\n' "$lines"
		printf '{"group":"traces","name":"distinct states","count":%d}\n' "$states"
		printf '{"group":"traces","name":"mutations refused","count":%d}\n' "$mutated"
		printf '{"group":"traces","name":"planted bugs refused","count":%d}\n' "$bugs"
	} >>"$HEALKV_TALLY"
fi
[ "$wrong" -eq 0 ] && [ "$accepted" -gt 0 ] && [ "$states" -gt 0 ] && { [ -n "$plain" ] || { [ "$mutated" -gt 0 ] && [ "$bugs" -gt 0 ]; }; } ||
	{ echo "tlc-traces: $wrong wrong, or nothing found" >&2 && exit 1; }
