#!/bin/sh
# Runs every fuzz target for the given number of inputs, one after the other.
# Go takes one target at a time, so they are found by name. The budget is a
# count and never a time: up to go1.26 a run limited by time may fail at its
# end with "context deadline exceeded" and no failing input (go.dev/issue/75804).
# Minimising what is only interesting is bounded too; it may take a minute else.
set -eu

inputs=${1:-20000}
case $inputs in
*[!0-9]* | '')
	echo "fuzz.sh: $inputs: want a number of inputs for each target, such as 20000" >&2
	exit 2
	;;
esac
go=${GO:-go}
count=0
for file in $(grep -rlE '^func Fuzz' --include='*_test.go' . | sort); do
	for target in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/p' "$file"); do
		echo "$(dirname "$file") $target"
		"$go" test -run '^$' -fuzz "^$target\$" -fuzztime "${inputs}x" -fuzzminimizetime 100x \
			-parallel 2 "$(dirname "$file")"
		count=$((count + 1))
	done
done
echo "$count fuzz targets, $inputs inputs each"
[ "$count" -gt 0 ]
