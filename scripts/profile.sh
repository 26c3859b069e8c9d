#!/bin/sh
# The profile that guides the compiler when bin/node is built (make profile):
# nodes under writes, reads and a mix, by generators inside them, one write at a
# time, and Redis clients in the domains memory and file. Ports 17000 to 17105.
set -eu
out=out/profile
rm -rf $out
mkdir -p $out
node=$PWD/bin/node
for tool in redis-benchmark curl; do
	command -v $tool >/dev/null || { echo "profile: $tool is missing: apt-get install redis-tools curl" >&2; exit 1; }
done

inside() { # name, flags of node bench
	name=$1
	shift
	"$node" bench --out $out/bench --profile --time 5s --runs 1 --keys 300000 --pool-size 1GiB "$@"
	mv $out/bench/node-0.pprof $out/$name.pprof
}

inside writes-3 --nodes 3 --workload write-only --window 256
inside writes-6 --nodes 6 --workload write-only --window 256
inside writes-6-deep --nodes 6 --workload write-only --window 2048
inside reads --nodes 3 --workload ycsb-c --window 256
inside one-write --nodes 2 --workload write-only --window 1 --on-worker --loaded 1 --spin 10ms
inside mix --nodes 6 --workload taobench-a --window 64

served() { # domain
	"$node" cluster --nodes 3 --dir $out/served --domain "$1" --admin-pprof --resp-port 17000 --admin-port 17100 >$out/served.log 2>&1 &
	cluster=$!
	trap 'kill $cluster 2>/dev/null || true' EXIT
	left=600
	until grep -q '^ready' $out/served.log; do
		left=$((left - 1))
		if [ $left -eq 0 ] || ! kill -0 $cluster 2>/dev/null; then
			cat $out/served.log >&2
			exit 1
		fi
		sleep 0.1
	done
	for command in set get; do
		# Longer than the profile; ended after it.
		redis-benchmark -p 17000 -q -n 100000000 -c 256 -t $command -d 150 -r 20000 >/dev/null &
		load=$!
		curl -sf -o "$out/$1-$command.pprof" 'http://127.0.0.1:17100/debug/pprof/profile?seconds=3'
		kill $load
		wait $load || true
	done
	kill $cluster
	wait $cluster || true
	"$node" cluster --destroy --dir $out/served
}

served memory
served file

go tool pprof -proto $out/*.pprof >$out/merged
mv $out/merged cmd/node/node.pgo
ls -l cmd/node/node.pgo
