package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"healkv/pmem"
	"healkv/rdma"
	"healkv/rdma/verbs"
)

// Want is what the user means to do. With a Provider or a Domain what it needs
// and is not there fails instead of being a gap.
type Want struct {
	Provider string // "": any
	Verbs    rdma.Verbs
	Domain   pmem.Domain // DomainAuto: any
	Dir      string      // where the pools will be; with Domain

	Nodes     int
	Shards    int
	RingBytes uint64
	Clients   int // at most; 0: as many as the front end takes by default
}

// Report is what Examine found.
type Report struct {
	Checks  []Check       `json:"checks"`
	Devices []verbs.Found `json:"rdma_devices"`
}

// Gaps and Failures count the checks in these states.
func (r *Report) Gaps() int     { return r.count(Gap) }
func (r *Report) Failures() int { return r.count(Fail) }

func (r *Report) count(s State) (n int) {
	for i := range r.Checks {
		if r.Checks[i].State == s {
			n++
		}
	}
	return n
}

// examination is one run.
type examination struct {
	*Host
	want Want
	Report
}

// Examine looks at everything.
//
// Errors: ErrProvider of rdma for a provider nobody knows.
func Examine(h *Host, w Want) (*Report, error) {
	if w.Provider != "" && !slices.Contains([]string{"shm", "tcp", "verbs"}, w.Provider) {
		return nil, rdma.CheckProvider(w.Provider)
	}
	x := &examination{Host: h, want: w}
	x.kernel()
	x.processor()
	x.openFiles()
	x.lockedMemory()
	x.hugePages()
	x.sharedMemory()
	x.storage()
	x.rdma()
	x.ebpf()
	x.xdp()
	return &x.Report, nil
}

func (x *examination) ok(area, name, format string, args ...any) {
	x.Checks = append(x.Checks, Check{area, name, OK, fmt.Sprintf(format, args...), ""})
}

// gap notes what is missing; asked: it was asked for, so it fails.
func (x *examination) gap(asked bool, area, name, found, advice string) {
	s := Gap
	if asked {
		s = Fail
	}
	x.Checks = append(x.Checks, Check{area, name, s, found, advice})
}

func (x *examination) kernel() {
	release := x.word("proc/sys/kernel/osrelease")
	var major, minor int
	_, _ = fmt.Sscanf(release, "%d.%d", &major, &minor)
	if major*1000+minor < 5014 {
		x.gap(false, "kernel", "version", or(release, "unknown"), "5.14 or newer fills page tables at once; before it the first access to each page is slow")
		return
	}
	x.ok("kernel", "version", "%s", release)
}

func (x *examination) processor() {
	asked := x.want.Domain == pmem.DomainDAX
	switch x.Flush {
	case "CLWB", "CLFLUSHOPT":
		x.ok("processor", "flush instruction", "%s", x.Flush)
	case "":
		x.gap(asked, "processor", "flush instruction", "none that HealKV knows", "the domain dax needs an amd64 processor; use the domain file")
	default:
		x.gap(false, "processor", "flush instruction", x.Flush, "it waits for one line after the other; a processor with CLWB or CLFLUSHOPT flushes them together")
	}

	processors, note := x.Processors, ""
	if quota, period, ok := strings.Cut(x.word("sys/fs/cgroup/cpu.max"), " "); ok && quota != "max" {
		q, _ := strconv.Atoi(quota)
		p, _ := strconv.Atoi(period)
		if p > 0 && q > 0 && q/p < processors {
			processors, note = q/p, fmt.Sprintf(" (limited by cgroup cpu.max %s %s)", quota, period)
		}
	}
	spare := processors - x.want.Shards
	found := fmt.Sprintf("%d for %d shard workers%s: %d spare", processors, x.want.Shards, note, max(spare, 0))
	if spare < 2 {
		x.gap(false, "processor", "spare cores", found, "a worker keeps its core busy; recovery and the Go runtime want one each beside them: fewer shards, or more cores (taskset, cpuset, the pod's CPU limit)")
		return
	}
	x.ok("processor", "spare cores", "%s", found)
}

// lockNeed is what verbs registers, for every shard of the node's process.
func (w *Want) lockNeed() uint64 {
	return uint64(w.Shards) * verbs.LockedMemory(w.Nodes, w.RingBytes)
}

func (x *examination) lockedMemory() {
	need := x.want.lockNeed()
	switch {
	case x.may(capIPCLock):
		x.ok("memory", "locked memory", "%s, and the capability IPC_LOCK lifts it", size(x.LockLimit))
	case x.LockLimit == Unlimited:
		x.ok("memory", "locked memory", "unlimited")
	case x.LockLimit < need:
		x.gap(x.want.Provider == "verbs", "memory", "locked memory",
			fmt.Sprintf("at most %s; verbs registers about %s with %d nodes, %d shards and rings of %s", size(x.LockLimit), size(need), x.want.Nodes, x.want.Shards, size(x.want.RingBytes)),
			"ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, memlock in /etc/security/limits.conf, or the capability IPC_LOCK (Kubernetes: securityContext.capabilities.add)")
	default:
		x.ok("memory", "locked memory", "at most %s, about %s needed for verbs", size(x.LockLimit), size(need))
	}
}

// hugePagesUsed is the size that verbs takes: a ring is a few MiB, and a page
// is one or the other's.
const hugePagesUsed = "2048kB"

// hugePages lists all sizes; only the free pages of one of them are of use.
func (x *examination) hugePages() {
	const all = "sys/kernel/mm/hugepages"
	dirs, _ := fs.ReadDir(x.Files, all)
	var found []string
	free := 0
	for _, d := range dirs {
		pages := strings.TrimPrefix(d.Name(), "hugepages-")
		n := x.number(path.Join(all, d.Name(), "nr_hugepages"))
		if n == 0 {
			continue
		}
		f, use := x.number(path.Join(all, d.Name(), "free_hugepages")), ""
		if pages == hugePagesUsed {
			free = f
		} else {
			use = ", not used"
		}
		found = append(found, fmt.Sprintf("%s: %d reserved, %d free%s", pages, n, f, use))
	}
	if free == 0 {
		x.gap(false, "memory", "huge pages", or(strings.Join(found, "; "), "none reserved"),
			"rings and staging memory take small pages; reserve some of 2 MiB: echo 512 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages (vm.nr_hugepages in sysctl.conf, if 2 MiB is the default size)")
		return
	}
	x.ok("memory", "huge pages", "%s", strings.Join(found, "; "))
}

const sharedMemoryMin = 1 << 30

func (x *examination) sharedMemory() {
	asked := x.want.Provider == "shm"
	s, err := x.Space("/dev/shm")
	switch {
	case err != nil:
		x.gap(asked, "memory", "tmpfs", fmt.Sprintf("/dev/shm: %v", err), "mount a tmpfs there: index and, with shm, rings need one")
	case s.Free < sharedMemoryMin:
		x.gap(false, "memory", "tmpfs", fmt.Sprintf("/dev/shm: %s free of %s", size(s.Free), size(s.Total)),
			"index, rings and pools of the domain memory lie there; enlarge it: mount -o remount,size=8G /dev/shm (docker run --shm-size, Kubernetes: an emptyDir with medium Memory)")
	default:
		x.ok("memory", "tmpfs", "/dev/shm: %s free of %s", size(s.Free), size(s.Total))
	}
}

func (x *examination) storage() {
	var mounts []string
	for line := range strings.Lines(x.word("proc/self/mountinfo")) {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 6 || len(r) < 3 {
			continue
		}
		for _, o := range strings.Split(l[5]+","+r[2], ",") {
			if o == "dax" || o == "dax=always" {
				mounts = append(mounts, l[4])
				break
			}
		}
	}
	blocks, _ := fs.Glob(x.Files, "sys/block/pmem*")
	for i := range blocks {
		blocks[i] = path.Base(blocks[i])
	}
	switch {
	case len(mounts) > 0:
		x.ok("storage", "DAX mounts", "%s", strings.Join(mounts, ", "))
	case len(blocks) > 0:
		x.gap(false, "storage", "DAX mounts", "none; persistent memory without one: "+strings.Join(blocks, ", "),
			fmt.Sprintf("ndctl create-namespace -m fsdax; mkfs.ext4 -b 4096 /dev/%s; mount -o dax=always", blocks[0]))
	default:
		x.gap(false, "storage", "DAX mounts", "none, and no persistent memory",
			"the domain file survives power loss on any disk; to try dax without hardware: scripts/lab/lab.sh")
	}
	if x.want.Domain == pmem.DomainAuto {
		return
	}
	if err := x.TryDomain(x.want.Dir, x.want.Domain); err != nil {
		x.gap(true, "storage", "domain "+x.want.Domain.String(), fmt.Sprintf("not in %s: %v", x.want.Dir, err), domainAdvice(err))
		return
	}
	x.ok("storage", "domain "+x.want.Domain.String(), "works in %s", x.want.Dir)
}

func domainAdvice(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "make the directory, or name another with --dir"
	case errors.Is(err, fs.ErrPermission):
		return "run as a user who may write there, or name another directory with --dir"
	case errors.Is(err, pmem.ErrDomain):
		return "mount what the domain needs there, name another directory with --dir, or ask for another --domain"
	}
	return "name another directory with --dir"
}

func (x *examination) ebpf() {
	_, err := fs.Stat(x.Files, "sys/kernel/btf/vmlinux")
	btf, may := err == nil, x.may(capBPF, capSysAdmin)
	switch {
	case btf && may:
		x.ok("kernel", "eBPF", "BTF, and the privilege to load programs")
	case !btf:
		x.gap(false, "kernel", "eBPF", "no BTF", "a kernel with CONFIG_DEBUG_INFO_BTF; only scheduling and drain probes of the benchmarks need it")
	default:
		x.gap(false, "kernel", "eBPF", fmt.Sprintf("BTF; no privilege (unprivileged_bpf_disabled is %s)", or(x.word("proc/sys/kernel/unprivileged_bpf_disabled"), "unknown")),
			"the capabilities BPF and PERFMON, or root; only probes of the benchmarks need it")
	}
}

func (x *examination) xdp() {
	switch err := x.XDPSocket(); {
	case err == nil:
		x.ok("kernel", "AF_XDP", "sockets can be opened")
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT):
		x.gap(false, "kernel", "AF_XDP", "not in this kernel", "a kernel with CONFIG_XDP_SOCKETS; no provider of this version needs it")
	default:
		x.gap(false, "kernel", "AF_XDP", err.Error(), "the capability NET_RAW, or root; no provider of this version needs it")
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
