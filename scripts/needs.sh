#!/bin/sh
# Installs the Debian packages that the tests use: redis-cli and
# redis-benchmark drive the Redis front end, gcc links the race detector, and
# libibverbs-dev with pkg-config builds the verbs provider in. With the argument
# "verify" also what runs TLC: a Java runtime, and Maven to get it. With "netns"
# what makes network namespaces, with "peers" the servers HealKV is compared with.
# Nothing happens where they are there already.
set -eu

missing=
command -v redis-cli >/dev/null && command -v redis-benchmark >/dev/null || missing="$missing redis-tools"
command -v gcc >/dev/null || missing="$missing gcc libc6-dev"
command -v pkg-config >/dev/null && pkg-config --exists libibverbs || missing="$missing pkg-config libibverbs-dev"
if [ "${1:-}" = verify ]; then
	command -v java >/dev/null || missing="$missing default-jre-headless"
	command -v mvn >/dev/null || missing="$missing maven"
fi
if [ "${1:-}" = netns ]; then
	command -v ip >/dev/null && command -v ss >/dev/null || missing="$missing iproute2"
fi
if [ "${1:-}" = peers ]; then
	command -v etcd >/dev/null || missing="$missing etcd-server"
	command -v redis-server >/dev/null || missing="$missing redis-server"
	command -v java >/dev/null || missing="$missing default-jre-headless"
	[ -e /usr/share/java/zookeeper.jar ] || missing="$missing zookeeper"
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing packages:$missing (as root: apt-get install$missing)" >&2
	exit 1
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
