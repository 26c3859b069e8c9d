#!/bin/sh
# Is the lab machine what the tests take it for? One boot: RDMA by Soft-RoCE
# (ib_write_lat of 64 bytes, beside which the provider's latency is read), six
# devices that reach one another, a DAX mount, netem, what doctor says there, and
# what two nodes say of which one has verbs and the other has not.
# Figures are those of software emulation.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
mkdir "$work/files"
cp "$here/six.sh" "$here/latency.sh" "$work/files/"
(cd "$top" && "${GO:-go}" build -tags verbs -o "$work/files/node" ./cmd/node)
(cd "$top" && CGO_ENABLED=0 "${GO:-go}" build -tags= -o "$work/files/plain" ./cmd/node)

# shellcheck disable=SC2016 # expanded in the machine
commands='
. /files/six.sh
. /files/latency.sh
pass() { echo "lab: pass $*"; }
six_up && pass "six rxe devices"

# Between devices of two nodes; the second of each pair begins when the first listens.
pair() { # program, then its options
	timeout 60 "$@" >/tmp/first 2>&1 &
	first=$!
	i=0
	until grep -q -i :$port /proc/net/tcp /proc/net/tcp6 || [ $i -ge 100 ]; do i=$((i + 1)); sleep 0.1; done
}
port=4A6D # 19053
pair ibv_rc_pingpong -p 19053 -d rxe0 -g 1 -n 200 -s 4096
timeout 60 ibv_rc_pingpong -p 19053 -d rxe5 -g 1 -n 200 -s 4096 10.6.0.1 >/tmp/second 2>&1 && wait $first && pass "ibv_rc_pingpong rxe0 rxe5: $(tail -n 1 /tmp/second)"
if said=$(write_latency rxe1 rxe4 10.6.1.1); then pass "ib_write_lat rxe1 rxe4, 64 bytes: $said"; else echo "$said"; fi

# A link that is cut and healed, and one that is slow.
six_cut 2
ip -o link show b2 | grep -q "state DOWN" && six_heal 2 && pass "a link is cut and healed"
tc qdisc add dev v3 root netem delay 20ms && pass "netem"
tc qdisc del dev v3 root

mkfs.ext4 -q -b 4096 /dev/pmem0 2>&1 && mkdir -p /mnt/dax && mount -t ext4 -o dax=always /dev/pmem0 /mnt/dax && pass "a DAX mount"
/files/node doctor --domain dax --dir /mnt/dax >/tmp/doctor && pass "doctor: the domain dax can be had"
cat /tmp/doctor
/files/node doctor --provider verbs --device rxe3 >/tmp/verbs && pass "doctor: verbs on rxe3 can be had"
if /files/node doctor --provider verbs --device rxe9 >/tmp/refused; then cat /tmp/refused; else pass "doctor: no rxe9: exit status $?"; fi
grep -q "rxe5 port 1" /tmp/doctor && pass "doctor: sees six devices"
if /files/node doctor --domain dax --dir /tmp >/tmp/refused; then cat /tmp/refused; else pass "doctor: no dax on a tmpfs: exit status $?"; fi

# Two nodes that were made for tcp; then one of them is to use verbs.
mixed() {
	/files/node cluster --dir /tmp/mixed --nodes 2 --provider tcp --domain memory --pool-size 64MiB --segment-size 2MiB --max-keys 4096 \
		--ring-size 4MiB --spin 0s --lease 10s --drift 1s >/tmp/made 2>&1 &
	made=$!
	i=0
	until grep -q "^ready" /tmp/made || [ $i -ge 600 ]; do i=$((i + 1)); sleep 0.2; done
	kill -TERM $made
	wait $made || { cat /tmp/made; return 1; }
	sed -i "s/^provider = .*/provider = \"verbs\"/; s/^device = .*/device = \"rxe3\"/" /tmp/mixed/node-1/node.toml
	if /files/plain serve --config /tmp/mixed/node-1/node.toml >/tmp/unbuilt 2>&1 || ! grep "not built in.*libibverbs-dev.*make build" /tmp/unbuilt; then
		cat /tmp/unbuilt
		return 1
	fi
	/files/plain serve --config /tmp/mixed/node-0/node.toml >/tmp/mixed-0 2>&1 &
	zero=$!
	/files/node serve --config /tmp/mixed/node-1/node.toml >/tmp/mixed-1 2>&1 &
	one=$!
	what="the same at all nodes .verbs must be built in"
	i=0
	until grep -q "level=ERROR.*this node has .*tcp.*, node 1 has .*verbs.*$what" /tmp/mixed-0 && grep -q "level=ERROR.*this node has .*verbs.*, node 0 has .*tcp.*$what" /tmp/mixed-1; do
		i=$((i + 1))
		[ $i -lt 300 ] || { cat /tmp/mixed-0 /tmp/mixed-1; break; }
		sleep 0.2
	done
	kill -KILL $zero $one
	wait $zero $one || true
	[ $i -lt 300 ]
}
if mixed; then pass "providers that differ: both nodes say which and what to do, and so does a node without verbs"; fi
true
'
code=0
"$here/lab.sh" run --memmap --files "$work/files" --timeout 420 "$commands" >"$work/console" || code=$?
passed=$(grep -a -c '^lab: pass' "$work/console" || true)
if [ "$code" -ne 0 ] || [ "$passed" -ne 12 ]; then
	cat "$work/console" >&2
	echo "lab: smoke: exit code $code, $passed of 12 checks passed" >&2
	exit 1
fi
grep -a '^lab: pass' "$work/console"
echo "lab: smoke: $passed of 12 checks passed"
