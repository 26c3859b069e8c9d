#!/bin/sh
# Everything there is of the specification: what CI runs, then the larger
# configurations of docs/spec/large, one after the other with all processors.
# Hours. TLC_MEMORY is the heap of each run, 8g if not set.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
sh scripts/tlc-ci.sh
sh scripts/tlc-ci.sh -jobs 1 -workers "$(nproc)" -memory "${TLC_MEMORY:-8g}" docs/spec/large/*.cfg
