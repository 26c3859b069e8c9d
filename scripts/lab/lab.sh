#!/bin/sh
# The lab machine: a QEMU machine with Debian's stock kernel in software
# emulation, for what the development machine lacks: Soft-RoCE (real verbs
# through libibverbs), a DAX mount, netem. Nothing is installed but Debian
# packages; everything made lies in out/lab.
#
#   scripts/lab/lab.sh prepare                  packages, kernel, initramfs
#   scripts/lab/lab.sh run [options] COMMAND    boot, run COMMAND in a shell there, power off
#       --files DIR      DIR is there as /files, read only, copied at the boot
#       --results DIR    what the command leaves in /results comes back into DIR
#       --memory MIB     memory of the machine (default 4096)
#       --memmap         512 MiB of its memory are persistent memory, /dev/pmem0
#       --nvdimm FILE    FILE (made with 512 MiB if absent) is an NVDIMM: it outlives the machine
#       --timeout S      the machine is stopped after S seconds (default 300)
#       --net N          virtio network N, shared with other machines by socket: listen:PORT or connect:PORT
#       --kill-after S   pull the plug S seconds after the command prints "lab: ready"
#       --said FILE      what the command writes to /dev/said stands in FILE (appended) at once:
#                        it is known outside whatever becomes of the machine
#
# The exit code is the command's; 124 after the timeout, 125 if the machine
# failed, 137 after --kill-after. Accelerator is always TCG: a /dev/kvm that
# hangs its guests is common in nested machines.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
lab=${LAB_DIR:-$top/out/lab}
packages="qemu-system-x86 busybox-static ibverbs-providers ibverbs-utils perftest rdma-core ndctl zstd cpio kmod e2fsprogs iproute2 libibverbs-dev pkg-config"
modules="rdma_rxe ib_uverbs rdma_ucm veth nd_pmem nd_e820 nfit dax device_dax ext4 crc32c_generic crc32_generic crc32_pclmul sch_netem bridge
	virtio_pci virtio_net virtio_console virtio_blk 9p 9pnet_virtio tcp_diag"
tools="dash modprobe ip ss rdma ibv_devices ibv_devinfo ibv_rc_pingpong ib_write_lat ib_write_bw ib_read_bw ndctl mkfs.ext4 tc sysctl"

say() { echo "lab: $*" >&2; }
die() { say "$*"; exit 125; }

install_packages() {
	missing=
	for p in $packages; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
	done
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
		die "missing packages:$missing (as root: apt-get install$missing)"
	fi
	say "installing$missing"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of words
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# fetch_kernel unpacks Debian's kernel package; it is not installed.
fetch_kernel() {
	[ -e "$lab/vmlinuz" ] && return 0
	name=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/ *Depends: \(linux-image-[0-9].*-amd64\)$/\1/p' | head -n 1)
	if [ -z "$name" ]; then
		apt-get update -qq
		name=$(apt-cache depends linux-image-amd64 | sed -n 's/ *Depends: \(linux-image-[0-9].*-amd64\)$/\1/p' | head -n 1)
	fi
	[ -n "$name" ] || die "apt knows no linux-image-amd64: apt-get update?"
	say "fetching $name"
	rm -rf "$lab/kernel" && mkdir -p "$lab/kernel"
	(cd "$lab/kernel" && apt-get download -qq "$name" 2>/dev/null && dpkg-deb -x "$name"_*.deb . && rm "$name"_*.deb) || die "cannot download $name"
	depmod -b "$lab/kernel" "${name#linux-image-}"
	cp "$lab/kernel/boot/vmlinuz-"* "$lab/vmlinuz.new"
	mv "$lab/vmlinuz.new" "$lab/vmlinuz" # at once: what is there is taken for whole
}

# with_libraries copies a program and what it is linked with.
with_libraries() {
	path=$(command -v "$1") || die "no program $1"
	mkdir -p "$root$(dirname "$path")"
	cp -L "$path" "$root$path"
	ldd "$path" 2>/dev/null | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | while read -r l; do
		[ -e "$root$l" ] || { mkdir -p "$root$(dirname "$l")" && cp -L "$l" "$root$l"; }
	done
}

make_initramfs() {
	[ -e "$lab/initramfs" ] && [ "$lab/initramfs" -nt "$here/lab.sh" ] && [ "$lab/initramfs" -nt "$here/init" ] && return 0
	say "building the initramfs"
	root=$lab/root
	rm -rf "$root"
	mkdir -p "$root"/bin "$root"/proc "$root"/sys "$root"/dev "$root"/tmp "$root"/run "$root"/results "$root"/files "$root"/mnt "$root"/etc "$root"/lib/modules
	cp "$(command -v busybox)" "$root/bin/busybox"
	for t in $tools; do with_libraries "$t"; done
	# The provider plug-ins are opened by name.
	for d in /usr/lib/*-linux-gnu/libibverbs; do
		[ -d "$d" ] && mkdir -p "$root$d" && cp -L "$d"/librxe* "$root$d/"
	done
	mkdir -p "$root/etc/libibverbs.d" && cp /etc/libibverbs.d/rxe.driver "$root/etc/libibverbs.d/"
	mkdir -p "$root/etc/ndctl" && echo "root:x:0:0:root:/:/bin/sh" >"$root/etc/passwd"
	version=$(basename "$lab/kernel/lib/modules/"*)
	for m in $modules; do # -C: the host's own rules for modules do not count
		modprobe -C /dev/null -d "$lab/kernel" -S "$version" --show-depends "$m" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p'
	done | sort -u | while read -r f; do
		to=$root/lib/modules/${f#"$lab/kernel/lib/modules/"}
		mkdir -p "$(dirname "$to")" && cp "$f" "$to"
	done
	cp "$lab/kernel/lib/modules/$version"/modules.builtin* "$lab/kernel/lib/modules/$version/modules.order" "$root/lib/modules/$version/"
	depmod -b "$root" "$version"
	cp "$here/init" "$root/init"
	chmod 755 "$root/init"
	(cd "$root" && find . | cpio -o -H newc --quiet | zstd -q -3 -f -o "$lab/initramfs.new")
	mv "$lab/initramfs.new" "$lab/initramfs" # at once: another machine may be booting from the old one
}

# prepare is done by one process at a time: two machines may start together.
prepare() {
	mkdir -p "$lab"
	(
		flock 9
		install_packages
		fetch_kernel
		make_initramfs
		# Machines that were killed with their scripts leave their directories; none
		# lives for a day.
		find "$lab" -maxdepth 1 -type d -name 'run.*' -mtime +0 -exec rm -rf {} +
	) 9>"$lab/lock"
}

run() {
	files= results= memory=4096 memmap= nvdimm= timeout=300 net= kill_after= said=
	while [ $# -gt 0 ]; do
		case $1 in
		--files) files=$2 && shift 2 ;;
		--results) results=$2 && shift 2 ;;
		--memory) memory=$2 && shift 2 ;;
		--memmap) memmap="memmap=512M!4G" && shift ;;
		--nvdimm) nvdimm=$2 && shift 2 ;;
		--timeout) timeout=$2 && shift 2 ;;
		--net) net=$2 && shift 2 ;;
		--kill-after) kill_after=$2 && shift 2 ;;
		--said) said=$2 && shift 2 ;;
		--) shift && break ;;
		-*) die "unknown option $1" ;;
		*) break ;;
		esac
	done
	[ $# -gt 0 ] || die "run: no command"
	prepare
	work=$(mktemp -d "$lab/run.XXXXXX")
	qemu=
	trap '[ -z "$qemu" ] || kill $qemu 2>/dev/null || true; rm -rf "$work"' EXIT
	trap 'exit 125' INT TERM HUP
	mkdir "$work/share" "$work/share/results"
	printf '%s\n' "$*" >"$work/share/command"
	[ -z "$files" ] || cp -rL "$files" "$work/share/files"
	# tsc=reliable: the emulated processors have one time stamp counter between
	# them, but do not promise it. Without it the kernel takes the HPET as its clock,
	# and each look at the time is a system call and a wait for the emulator: Go
	# programs, which look all the time, then spend most of theirs there.
	# softlockup_panic: a kernel that hangs (seen once in ext4 on DAX under the
	# emulator) ends with its stack on the console, not when the time is over.
	set -- -M q35,nvdimm=on -accel tcg,thread=multi -cpu max -smp 2 -nodefaults -no-reboot -nographic \
		-m "$memory,slots=2,maxmem=$((memory + 1024))M" \
		-kernel "$lab/vmlinuz" -initrd "$lab/initramfs" \
		-append "console=ttyS0 quiet panic=-1 oops=panic mitigations=off net.ifnames=0 tsc=reliable softlockup_panic=1 watchdog_thresh=30 $memmap" \
		-serial "file:$work/console" \
		-virtfs "local,path=$work/share,mount_tag=share,security_model=none" \
		-object rng-random,filename=/dev/urandom,id=r0 -device virtio-rng-pci,rng=r0
	if [ -n "$nvdimm" ]; then
		[ -e "$nvdimm" ] || truncate -s 512M "$nvdimm"
		set -- "$@" -object "memory-backend-file,id=nv,share=on,mem-path=$nvdimm,size=512M" -device nvdimm,id=nvdimm1,memdev=nv
	fi
	if [ -n "$said" ]; then
		set -- "$@" -device virtio-serial-pci -chardev "file,id=said,path=$said,append=on" -device virtserialport,chardev=said,name=said
	fi
	case $net in
	'') ;;
	listen:*) set -- "$@" -netdev "socket,id=n0,listen=127.0.0.1:${net#listen:}" -device virtio-net-pci,netdev=n0 ;;
	connect:*) set -- "$@" -netdev "socket,id=n0,connect=127.0.0.1:${net#connect:}" -device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:57 ;;
	*) die "--net $net: want listen:PORT or connect:PORT" ;;
	esac
	: >"$work/console"
	timeout -k 5 "$timeout" qemu-system-x86_64 "$@" >"$work/qemu" 2>&1 &
	qemu=$!
	killed=
	if [ -n "$kill_after" ]; then
		while kill -0 $qemu 2>/dev/null && ! grep -q '^lab: ready' "$work/console"; do sleep 0.1; done
		if kill -0 $qemu 2>/dev/null; then
			sleep "$kill_after"
			# SIGKILL to the machine itself: nothing in it gets a chance to end well.
			# What of it ended before the plug was pulled is a failure below.
			pkill -KILL -P $qemu 2>/dev/null && killed=1
		fi
	fi
	code=0
	wait $qemu 2>/dev/null || code=$?
	qemu=
	tr -d '\r' <"$work/console"
	cat "$work/qemu" >&2
	if [ -n "$results" ]; then
		mkdir -p "$results"
		cp -r "$work/share/results/." "$results/"
	fi
	if grep -a -q 'BUG: soft lockup' "$work/console"; then
		cp "$work/console" "$lab/hung"
		die "the machine's kernel hung: $lab/hung has its stack"
	fi
	[ -z "$killed" ] || exit 137
	[ "$code" -ne 124 ] || { say "stopped after $timeout s"; exit 124; }
	[ "$code" -eq 0 ] || die "qemu ended with $code"
	[ -s "$work/share/code" ] || die "the machine ended before the command did: see the console above"
	exit "$(cat "$work/share/code")"
}

case ${1:-} in
prepare) prepare ;;
run) shift && run "$@" ;;
*) sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
