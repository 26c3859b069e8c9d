#!/bin/sh
# Runs every fuzz target for the given time, one after the other. Go takes one
# target at a time, so they are found by name.
set -eu

time=${1:-3s}
go=${GO:-go}
count=0
for file in $(grep -rlE '^func Fuzz' --include='*_test.go' . | sort); do
	for target in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/p' "$file"); do
		echo "$(dirname "$file") $target"
		"$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -parallel 2 "$(dirname "$file")"
		count=$((count + 1))
	done
done
echo "$count fuzz targets, $time each"
[ "$count" -gt 0 ]
