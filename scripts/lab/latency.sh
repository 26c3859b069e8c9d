#!/bin/sh
# ib_write_lat of 64 bytes between two devices. To be sourced in the lab machine:
#
#   . /files/latency.sh
#   write_latency SERVER CLIENT ADDRESS    prints typical, least, below which 99 % are, most, in µs;
#                                          fails with what perftest said if there is no figure
#
# perftest counts cycles, and to tell microseconds it first measures how many
# there are in one: in vain on a machine that is busy, and then it says "inf". So
# it is asked for cycles. Their number is the kernel's, which has measured it for
# its own clock: the time stamp counter.

set -eu

write_latency() {
	mhz=$(awk '/^cpu MHz/ { print $4; exit }' /proc/cpuinfo)
	for try in 1 2 3 4 5; do
		timeout 60 ib_write_lat -C -p 19054 -d "$1" -x 1 -s 64 -n 1000 -F >/tmp/first 2>&1 &
		first=$!
		i=0 # 19054 is 4A6E
		until grep -q -i :4A6E /proc/net/tcp /proc/net/tcp6 || [ $i -ge 100 ]; do i=$((i + 1)); sleep 0.1; done
		code=0
		timeout 60 ib_write_lat -C -p 19054 -d "$2" -x 1 -s 64 -n 1000 -F "$3" >/tmp/second 2>&1 || code=$?
		wait $first || code=$?
		[ $code -eq 0 ] || continue
		# The last line: bytes, iterations, least, most, typical, mean, deviation, 99 %, 99.9 %.
		awk -v mhz="${mhz:-0}" '
			$1 == 64 && $2 == 1000 && NF >= 8 && mhz > 0 && $5 + 0 > 0 {
				printf "typical %.2f us, least %.2f, 99 %% below %.2f, most %.2f; 1000 round trips, %.0f cycles a us\n", $5/mhz, $3/mhz, $8/mhz, $4/mhz, mhz
				found = 1
			}
			END { exit !found }' /tmp/second && return 0
	done
	echo "no figure in $try attempts (exit code $code, ${mhz:-no} MHz):"
	cat /tmp/first /tmp/second
	return 1
}
